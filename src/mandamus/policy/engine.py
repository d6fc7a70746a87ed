"""What the house asks of a Rego evaluator; the embedded OPA (`pool`) is one, an OPA server can be another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mandamus.policy.attribution import Attribution
from mandamus.policy.model import RULES, Bundle

DECIDE_QUERY = (
    "{"
    + ", ".join(f'"{rule}": [[type_name(v), v] | v := data.mandamus[input.point]["{rule}"]]' for rule in RULES)
    + "}"
)
"""Every rule of the point as ``[]`` (undefined) or ``[[type, value]]``: the type, because a set is a JSON array too."""


@dataclass(frozen=True)
class Refusal:
    """What OPA said of a module it would not take; ``message`` is its text with positions and snippets."""

    code: str
    message: str


@dataclass(frozen=True)
class Inspection:
    """What OPA found in modules: the syntax trees of those that parse, else why not; then why they do not compile."""

    trees: Mapping[str, Mapping[str, Any]]
    unparsed: Mapping[str, Refusal]
    uncompiled: Refusal | None


class Evaluator(Protocol):
    """Evaluates pinned bundles. Every method raises ``policy_unavailable`` with a `Fault` and never guesses."""

    @property
    def name(self) -> str:
        """Which engine in which version; recorded with every decision."""
        ...

    def evaluate(self, bundle: Bundle, data: bytes) -> Mapping[str, Any]:
        """The value of `DECIDE_QUERY` for this input document (canonical JSON), numbers exact."""
        ...

    def explain(self, attribution: Attribution, data: bytes) -> Mapping[int, Sequence[Any]]:
        """The members that each entry rule gave, by the rule's place in `attribution.heads`."""
        ...

    def inspect(self, modules: Mapping[str, str], data: bytes) -> Inspection:
        """Parse and compile modules that nobody has published yet."""
        ...

    def prepare(self, sets: Sequence[Attribution]) -> None:
        """Warm up for these sets in the background and return at once."""
        ...

    def close(self) -> None:
        """End every process; evaluations under way raise."""
        ...
