"""The words of a back-test: which decisions, what changed in one, and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mandamus.kernel.ids import DecisionId, Digest

FORMAT = "backtest/1"
EXAMPLES = 10
"""How many changes of a kind a report keeps; all of them go to whoever listens."""

SAMPLE = 1_000
"""How many decisions, spread over all, are replayed with the version that made them."""


class Kind(StrEnum):
    """How a decision would have changed, worst first; one that errs also flips, or does not."""

    DENY_TO_ALLOW = "deny-to-allow"
    ALLOW_TO_DENY = "allow-to-deny"
    APPROVALS = "approvals"
    ERRORS = "errors"
    MESSAGES = "messages"


FLIPS = (Kind.DENY_TO_ALLOW, Kind.ALLOW_TO_DENY, Kind.APPROVALS, Kind.ERRORS)
"""What can be asked to fail a back-test; other words for the same verdict are none."""


@dataclass(frozen=True)
class Base:
    """The set whose decisions are replayed: its name (or empty), its newest version, and all of them."""

    name: str
    active: Digest
    digests: frozenset[Digest]


@dataclass(frozen=True)
class Chosen:
    """Which decisions: made since a moment, in an environment, at a point; None and empty mean all."""

    since_us: int | None = None
    environment: str = ""
    point: str = ""

    def to_json(self) -> dict[str, Any]:
        """As a report names them."""
        return {"since_us": self.since_us, "environment": self.environment, "point": self.point}


@dataclass(frozen=True)
class Change:
    """One decision that would have come out otherwise.

    ``old_rules`` and ``new_rules`` are what the set said then and what the candidate says: rule, file, line, msg.
    ``old_error`` and ``error`` are why there was, and would be, no verdict; or empty.
    """

    decision: DecisionId
    run: str | None
    step: str | None
    point: str
    environment: str
    at_us: int
    kinds: tuple[Kind, ...]
    old: str
    new: str
    old_rules: Sequence[Mapping[str, Any]]
    new_rules: Sequence[Mapping[str, Any]]
    old_error: str = ""
    error: str = ""

    @property
    def flips(self) -> bool:
        """Whether more than words changed."""
        return self.kinds != (Kind.MESSAGES,)

    def to_json(self) -> dict[str, Any]:
        """As it is printed."""
        return {
            **vars(self),
            "kinds": [kind.value for kind in self.kinds],
            "old_rules": list(self.old_rules),
            "new_rules": list(self.new_rules),
        }


@dataclass
class Fidelity:
    """Whether the versions that made the decisions, replayed, say again exactly what is recorded."""

    checked: int = 0
    different: list[DecisionId] = field(default_factory=list)
    unverifiable: int = 0
    """Decisions whose version can no longer be read or compiled."""

    @property
    def kept(self) -> bool:
        """False when the past cannot be replayed here, so that nothing said about it can be relied on."""
        return not self.different and (self.checked > 0 or self.unverifiable == 0)

    def to_json(self) -> dict[str, Any]:
        """As it is stored; of the decisions that differ the first few are named."""
        return {
            "kept": self.kept,
            "checked": self.checked,
            "different": len(self.different),
            "unverifiable": self.unverifiable,
            "examples": self.different[:EXAMPLES],
        }


@dataclass
class Report:
    """The outcome of a back-test; `to_json` is what is stored.

    ``decisions`` were replayed, ``unjudged`` had an input that no set was asked about, ``evaluated`` is how many
    evaluations it took. ``unexercised`` are rules of the candidate that gave nothing in any decision.
    """

    base: Base
    candidate: Digest
    chosen: Chosen
    upto: DecisionId
    engine: str
    decisions: int = 0
    unjudged: int = 0
    evaluated: int = 0
    counts: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))
    examples: dict[Kind, list[Change]] = field(default_factory=lambda: {kind: [] for kind in Kind})
    unexercised: Sequence[Mapping[str, Any]] = ()
    fidelity: Fidelity = field(default_factory=Fidelity)
    duration_ms: int = 0

    def add(self, change: Change) -> None:
        """Count a change, and keep it as an example while there are few."""
        for kind in change.kinds:
            self.counts[kind] += 1
            if len(self.examples[kind]) < EXAMPLES:
                self.examples[kind].append(change)

    def fails(self, on: Sequence[Kind]) -> bool:
        """Whether the past cannot be replayed, or any decision changed in one of these ways."""
        return not self.fidelity.kept or any(self.counts[kind] for kind in on)

    def to_json(self) -> dict[str, Any]:
        """As it is stored and printed."""
        return {
            "format": FORMAT,
            "set": self.base.name,
            "base": self.base.active,
            "candidate": self.candidate,
            "chosen": self.chosen.to_json(),
            "upto": self.upto,
            "engine": self.engine,
            "decisions": self.decisions,
            "unjudged": self.unjudged,
            "evaluated": self.evaluated,
            "counts": {kind.value: count for kind, count in self.counts.items()},
            "examples": {kind.value: [each.to_json() for each in some] for kind, some in self.examples.items()},
            "unexercised": list(self.unexercised),
            "fidelity": self.fidelity.to_json(),
            "duration_ms": self.duration_ms,
        }
