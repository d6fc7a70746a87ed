"""When each step was planned, judged, waiting and applied, as bars beside each other on one axis of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mandamus.audit.kinds import Kind
from mandamus.runs.model import StepRow

WIDTH = 1_000
"""Of the axis, in the units of its picture."""
WIDTH_MIN = 4
"""A bar that is thinner could not be seen."""

_BEGINS = {
    Kind.STEP_PLANNED.text: "judging",
    Kind.STEP_WAITING.text: "waiting",
    Kind.APPROVAL_RECORDED.text: "",
    Kind.STEP_MOVED.text: "planning",
    Kind.STEP_RETRYING.text: "planning",
    Kind.EFFECT_FINISHED.text: "",
    Kind.EFFECT_INDETERMINATE.text: "unsettled",
    Kind.STEP_FINISHED.text: "over",
}
"""What a step does from an event of its own on; empty for what it does already."""
_DEEDS = {"plan": "planning", "apply": "applying"}


@dataclass(frozen=True)
class Bar:
    """A stretch of time: what the step did, from when on and how long, in µs; ``x`` and ``width`` on the axis."""

    what: str
    from_us: int
    took_us: int
    x: int
    width: int

    @property
    def took(self) -> str:
        """How long, as people say it."""
        return duration(self.took_us)


@dataclass(frozen=True)
class Line:
    """A step and its bars, oldest first."""

    step: StepRow
    bars: tuple[Bar, ...]

    @property
    def told(self) -> str:
        """How long each thing took, in words."""
        total: dict[str, int] = {}
        for bar in self.bars:
            total[bar.what] = total.get(bar.what, 0) + bar.took_us
        return ", ".join(f"{what} {duration(took)}" for what, took in total.items())


@dataclass(frozen=True)
class Timeline:
    """The steps that have begun, from the first moment to the last one, in µs."""

    from_us: int
    to_us: int
    lines: tuple[Line, ...]

    @property
    def took(self) -> str:
        """How long it is."""
        return duration(self.to_us - self.from_us)


def timeline(
    steps: Sequence[StepRow],
    needs: Mapping[str, Sequence[str]],
    leaves: Sequence[Mapping[str, Any]],
    from_us: int,
    to_us: int,
) -> Timeline | None:
    """The timeline of some steps by their own events, oldest first; None while none of them has begun.

    A step is queued until the last that it needs has ended; what it waits for then is its plan.
    """
    events: dict[str, list[tuple[int, str]]] = {}
    for leaf in leaves:
        what = _begins(leaf)
        if what and leaf["step"] is not None:
            events.setdefault(leaf["step"], []).append((leaf["at"], what))
    ends = {step: some[-1][0] for step, some in events.items() if some[-1][1] == "over"}
    lines = []
    for row in steps:
        if row.name in events:
            ready_us = max((ends.get(need, from_us) for need in needs.get(row.name, ())), default=from_us)
            lines.append(Line(row, _bars(ready_us, events[row.name], from_us, to_us)))
    return Timeline(from_us, to_us, tuple(lines)) if lines else None


def duration(took_us: int) -> str:
    """A stretch of time as people say it."""
    seconds = took_us / 1_000_000
    if seconds < 1:
        return f"{took_us // 1000} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _begins(leaf: Mapping[str, Any]) -> str:
    if leaf["kind"] == Kind.EFFECT_INTENDED.text:
        return _DEEDS.get(leaf["data"]["phase"], "")
    return _BEGINS.get(leaf["kind"], "")


def _bars(ready_us: int, events: Sequence[tuple[int, str]], from_us: int, to_us: int) -> tuple[Bar, ...]:
    marks = [(min(ready_us, events[0][0]), "planning"), *events]
    if marks[0][0] > from_us:
        marks.insert(0, (from_us, "queued"))
    ends = [at for at, _ in marks[1:]] + [max(to_us, marks[-1][0])]
    whole = max(to_us - from_us, 1)
    return tuple(
        Bar(what, at, end - at, *_place(at - from_us, end - at, whole))
        for (at, what), end in zip(marks, ends, strict=True)
        if what != "over" and end > at
    )


def _place(at: int, took: int, whole: int) -> tuple[int, int]:
    width = max(took * WIDTH // whole, WIDTH_MIN)
    return min(at * WIDTH // whole, WIDTH - width), width
