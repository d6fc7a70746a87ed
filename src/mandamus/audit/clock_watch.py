"""Notices a wall clock that was set back: the order of the log never depends on it, but people read its times."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mandamus.kernel.clock import Clock

STEP_US_MIN = 5_000_000
"""A clock that is set back by less is one that is kept in time."""


class Against(StrEnum):
    """What the wall clock does not agree with."""

    MONOTONIC = "monotonic"
    NEWEST = "newest"


@dataclass(frozen=True)
class Step:
    """By how many microseconds the wall clock is behind what it was compared with."""

    behind_us: int
    against: Against


class ClockWatch:
    """Compares the wall clock with the one that only goes forward, and with the newest event; for one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: tuple[int, float] | None = None

    def look(self) -> Step | None:
        """A step back since the last look, however long ago that was."""
        now = self._clock.now_us(), self._clock.monotonic_s()
        before, self._seen = self._seen, now
        if before is None:
            return None
        behind_us = before[0] + round((now[1] - before[1]) * 1_000_000) - now[0]
        return Step(behind_us, Against.MONOTONIC) if behind_us >= STEP_US_MIN else None

    def compare(self, newest_us: int | None) -> Step | None:
        """How far the wall clock is behind the newest event, written by this or another process."""
        behind_us = (newest_us or 0) - self._clock.now_us()
        return Step(behind_us, Against.NEWEST) if behind_us >= STEP_US_MIN else None
