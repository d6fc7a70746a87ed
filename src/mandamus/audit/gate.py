"""Whether an effect or a change may begin while the log is in trouble: decisions on what was measured, pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

GIB = 1024**3
RESERVE = 0.1
"""Of the space that must be free, the part that is kept for the log itself: 1 % of a disk where 10 % must be free."""


class Mode(StrEnum):
    """What becomes of an effect when too few witnesses cosigned its intent."""

    NONE = "none"
    GRACE = "grace"
    REQUIRE = "require"


@dataclass(frozen=True)
class Demand:
    """What an effect needs of the witnesses. ``grace_s`` counts from the first checkpoint that was not cosigned."""

    mode: Mode
    grace_s: int = 0

    def to_json(self) -> dict[str, Any]:
        """As stored with an environment."""
        return {"mode": self.mode.value, "grace_s": self.grace_s}


class Row(StrEnum):
    """What can hold an effect up: the rows of docs/reference/fail-closed.md."""

    LAG = "lag"
    WITNESSES = "witnesses"
    SINK = "sink"
    DISK = "disk"
    RESERVE = "reserve"


@dataclass(frozen=True)
class Limits:
    """Seconds of lag that are warned of and that block; the part of the disk that must be free, from 0 to 1.

    ``disk_enough`` bytes are enough on a disk of any size.
    """

    lag_warned_s: float
    lag_blocked_s: float
    disk_free_min: float
    disk_enough: int


@dataclass(frozen=True)
class Disk:
    """The disk of the home, in bytes; ``free`` is what this user may still write."""

    free: int
    total: int


@dataclass(frozen=True)
class Quorum:
    """For how long the newest checkpoint lacks its quorum of witnesses; 0 when it has it. ``why`` is their words."""

    missing_s: float
    why: str = ""


@dataclass(frozen=True)
class Behind:
    """A sink, the published leaves that it lacks, and how many a required one may lack."""

    sink: str
    required: bool
    lag: int
    lag_max: int
    error: str = ""


@dataclass(frozen=True)
class Measured:
    """The state of the log at one time. No ``quorum`` was asked for where none is demanded."""

    lag_s: float
    disk: Disk
    quorum: Quorum | None = None
    sinks: tuple[Behind, ...] = ()


@dataclass(frozen=True)
class Blocked:
    """A row that says no, with what it says and what to do about it."""

    row: Row
    message: str
    remedy: str


def may_apply(measured: Measured, limits: Limits, demand: Demand) -> tuple[Blocked, ...]:
    """Every row that keeps effects from beginning; none when they may."""
    found = [_lag(measured.lag_s, limits), _witnesses(measured.quorum, demand)]
    found += [_sink(each) for each in measured.sinks]
    found += [may_change(measured.disk, limits)]
    return tuple(blocked for blocked in found if blocked is not None)


def may_change(disk: Disk, limits: Limits) -> Blocked | None:
    """What keeps verbs that change something from beginning: too little space on the disk."""
    for row, needed in ((Row.RESERVE, reserve(disk, limits)), (Row.DISK, free_min(disk, limits))):
        if disk.free < needed:
            percent = 100 * disk.free / max(disk.total, 1)
            message = f"{percent:.1f} % of the disk are free, and {_size(needed)} must be"
            if row is Row.RESERVE:
                message = f"{percent:.1f} % of the disk are free: the rest is the log's own reserve"
            return Blocked(row, message, "free space on the disk of the home; reading and verifying go on meanwhile")
    return None


def free_min(disk: Disk, limits: Limits) -> float:
    """The bytes that must be free for changes."""
    return min(disk.total * limits.disk_free_min, limits.disk_enough)


def reserve(disk: Disk, limits: Limits) -> float:
    """The bytes that are left to the log alone: for refusals, for break-glass, and for what was promised before."""
    return free_min(disk, limits) * RESERVE


def rows(blocked: Sequence[Blocked]) -> list[str]:
    """Their names as the log tells them."""
    return sorted({each.row.value for each in blocked})


def _lag(lag_s: float, limits: Limits) -> Blocked | None:
    if lag_s <= limits.lag_blocked_s:
        return None
    message = f"events wait for {lag_s:.0f} s to be published, {limits.lag_blocked_s:.0f} s are allowed"
    return Blocked(Row.LAG, message, "`mandamus audit verify` publishes them, or says why that cannot be")


def _witnesses(quorum: Quorum | None, demand: Demand) -> Blocked | None:
    if quorum is None or demand.mode is Mode.NONE or not quorum.missing_s:
        return None
    if demand.mode is Mode.GRACE and quorum.missing_s <= demand.grace_s:
        return None
    remedy = "start the witnesses again, or change HOME/witnesses; nothing is applied until enough answer"
    return Blocked(Row.WITNESSES, quorum.why, remedy)


def _sink(behind: Behind) -> Blocked | None:
    if not behind.required or behind.lag <= behind.lag_max:
        return None
    message = f"the required sink {behind.sink} lacks {behind.lag} leaves, {behind.lag_max} are allowed"
    return Blocked(Row.SINK, message, f"mend the sink, then run `mandamus audit export run {behind.sink}`")


def _size(count: float) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / 1024**2:.0f} MiB"
