"""Time as it is handed in: nothing in the house reads the system clock by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol

from mandamus.kernel.errors import Code, MandamusError


class Clock(Protocol):
    """Wall time for records, monotonic time for leases and deadlines."""

    def now_us(self) -> int:
        """Microseconds since the Unix epoch, UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...


def rfc3339(at_us: int) -> str:
    """Microseconds since the epoch as RFC 3339 in UTC with six decimals, e.g. ``2026-01-31T12:00:00.000000Z``."""
    seconds, micros = divmod(at_us, 1_000_000)
    stamp = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{stamp}.{micros:06d}Z"


def moment_us(text: str) -> int:
    """Microseconds since the epoch of a moment as people write it; raises ``value_invalid``.

    A date alone is its midnight, and a time without a zone is UTC.
    """
    try:
        moment = datetime.fromisoformat(text)
        # A zone can lead out of the years there are.
        zoned = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise MandamusError(
            Code.VALUE_INVALID,
            f"{text[:40]!r} is no moment",
            remedy="write it as 2027-01-31 or 2027-01-31T18:00:00Z",
        ) from error
    return (zoned - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
