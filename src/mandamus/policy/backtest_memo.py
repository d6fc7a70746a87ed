"""What was asked and answered before in a back-test: inputs that look the same to the set, and equal answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mandamus.kernel import canonical
from mandamus.policy.backtest_reads import Projection
from mandamus.policy.replay import Answer, Failed

KEPT = 50_000
"""How many questions and how many answers are remembered; then all are forgotten, which costs time and no truth."""

_TRIED = 2_000
_WORTHWHILE = 0.05
"""A memo that finds fewer than this share of its questions is given up."""


@dataclass
class Value:
    """One answer of the set, shared by all decisions that got it.

    ``given`` is what the rules gave, by rule; ``told`` their members by the place of the rule in
    `Attribution.heads`, where that was asked for; ``told`` is not to be relied on before ``placed``.
    """

    given: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    told: Mapping[int, Sequence[Any]] = field(default_factory=dict)
    placed: bool = False
    _at: dict[str, bytes] = field(default_factory=dict)

    def fired(self) -> list[str]:
        """The rules that gave anything."""
        return [rule for rule, pairs in self.given.items() if any(value for _, value in pairs)]

    def at(self, point: str, rules: Sequence[str]) -> bytes:
        """What the rules of a point gave, in the form in which a decision records it."""
        found = self._at.get(point)
        if found is None:
            found = self._at[point] = canonical.dumps({rule: self.given[rule] for rule in rules if rule in self.given})
        return found


@dataclass(slots=True)
class Question:
    """One input to ask about; ``value`` is its answer once there is one, and the input is empty from then on."""

    input: bytes
    value: Value | None = None


class Memo:
    """Finds what was asked before."""

    def __init__(self, projection: Projection | None) -> None:
        self._projection = projection
        self._questions: dict[bytes, Question] = {}
        self._values: dict[str, Value] = {}
        self._tried = 0
        self.asked = 0
        """How many questions were new."""

    def question(self, data: bytes) -> tuple[Question, bool]:
        """The question for an input, and whether it is new."""
        key = self._projection.key(data) if self._projection else None
        known = self._questions.get(key) if key else None
        self._tried += 1
        if known:
            return known, False
        self.asked += 1
        made = Question(data)
        if key:
            _keep(self._questions, key, made)
            if self._tried > _TRIED and self.asked > self._tried * (1 - _WORTHWHILE):
                self._projection = None
                self._questions.clear()
        return made, True

    def value(self, answer: Answer) -> Value:
        """The shared value of an answer."""
        if isinstance(answer, Failed):
            return Value(error=answer.error, placed=True)
        known = self._values.get(answer)
        if known is None:
            known = Value(canonical.loads(answer.encode()))
            _keep(self._values, answer, known)
        return known


def _keep(into: dict[Any, Any], key: Any, item: Any) -> None:
    if len(into) >= KEPT:
        into.clear()
    into[key] = item
