"""Moments as people write them."""

from __future__ import annotations

from datetime import UTC, datetime

from mandamus.kernel.errors import Code, MandamusError


def moment_us(text: str) -> int:
    """Microseconds since the epoch; a date alone is its midnight, and a time without a zone is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise MandamusError(
            Code.USAGE, f"{text!r} is no moment", remedy="write it as 2027-01-31 or 2027-01-31T18:00:00Z"
        ) from error
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(zoned.timestamp() * 1_000_000)
