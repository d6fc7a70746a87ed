"""What a figure is, and how it is measured: medians of interleaved rounds, each beside its physical limit."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ROUNDS = 5


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    ``target`` is the bound that counts, ``at_least`` says on which side of it the value must be; None means that the
    figure is only told. ``limit`` is what the machine itself took for the bare work in the same rounds, in the same
    unit. ``value`` is None when it could not be measured here; ``note`` then says why.
    """

    name: str
    value: float | None
    unit: str
    target: float | None = None
    at_least: bool = False
    limit: float | None = None
    limit_name: str = ""
    note: str = ""

    @property
    def passed(self) -> bool | None:
        """Whether the target is met; None without a target or a value."""
        if self.value is None or self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target

    @property
    def ratio(self) -> float | None:
        """Value by limit."""
        return None if self.value is None or not self.limit else self.value / self.limit

    def to_json(self) -> Mapping[str, Any]:
        """As it stands in ``results.json``."""
        return {
            "value": self.value,
            "unit": self.unit,
            "target": self.target,
            "pass": self.passed,
            "limit": self.limit,
            "ratio": self.ratio,
        }


def seconds(action: Callable[[], object]) -> float:
    """Wall time of one call."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def interleaved(actions: Sequence[Callable[[], object]], rounds: int = ROUNDS) -> list[list[float]]:
    """Wall times per action, one of each per round: what disturbs the machine disturbs all of them."""
    taken: list[list[float]] = [[] for _ in actions]
    for _ in range(rounds):
        for times, action in zip(taken, actions, strict=True):
            times.append(seconds(action))
    return taken


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def p95(values: Sequence[float]) -> float:
    """The value that 95 of 100 do not exceed."""
    return sorted(values)[max(0, round(len(values) * 0.95) - 1)]


def table(figures: Sequence[Figure]) -> Iterator[str]:
    """The lines of the table that people read."""
    rows = [("FIGURE", "VALUE", "TARGET", "", "LIMIT", "RATIO", "")]
    for each in figures:
        value = "-" if each.value is None else f"{each.value:.3g} {each.unit}"
        bound = "" if each.target is None else f"{'>=' if each.at_least else '<='} {each.target:.3g}"
        passed = {True: "ok", False: "MISSED", None: ""}[each.passed]
        limit = "" if each.limit is None else f"{each.limit:.3g} {each.limit_name}"
        ratio = "" if each.ratio is None else f"{each.ratio:.2f}"
        rows.append((each.name, value, bound, passed, limit, ratio, each.note))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
