"""Time as it is handed in: nothing in the house reads the system clock by itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol


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
