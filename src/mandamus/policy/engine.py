"""What the house asks of a Rego evaluator; the embedded OPA (`pool`) is one, an OPA server can be another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from mandamus.policy.attribution import Attribution
from mandamus.policy.model import BuiltinErrors, Bundle, Modules


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


@dataclass(frozen=True)
class Reply:
    """What a session was answered: the query's value (None when it has none), or why there is none.

    ``coverage`` and ``trace`` are OPA's own reports, where they were asked for; ``prints`` what rules printed.
    """

    value: Any = None
    refusal: Refusal | None = None
    coverage: Mapping[str, Any] | None = None
    trace: Sequence[Mapping[str, Any]] | None = None
    prints: Sequence[Mapping[str, Any]] = ()

    @property
    def printed(self) -> tuple[str, ...]:
        """What rules printed, each behind its place."""
        return tuple(f"{said.get('location', '')}: {said.get('message', '')}" for said in self.prints)


class Session(Protocol):
    """A worker of one's own, for work that is no decision; every method raises ``policy_unavailable`` and ends it."""

    def load(self, query: str, data: bytes, modules: Modules, slot: int = 0) -> Refusal | None:
        """Put modules, data (a JSON object, or empty) and the query into a slot and compile; why not, or None."""
        ...

    def be_lenient(self, query: str, slot: int = 0) -> None:
        """From now on a builtin that errs in the slot is undefined; ``query`` is the one that was loaded."""
        ...

    def choose(self, value: Any, slot: int = 0) -> None:
        """What `opa.CHOSEN` gives in the slot's query from now on."""
        ...

    def ask(
        self, data: bytes, slot: int = 0, *, trace: bool = False, cover: bool = False, deadline_s: float | None = None
    ) -> Reply:
        """The slot's query for an input document; without any the input is undefined."""
        ...


class Lends(Protocol):
    """An engine that lends whole workers."""

    def session(self) -> AbstractContextManager[Session]:
        """A worker of one's own, ended behind the block."""
        ...


def put(session: Session, bundle: Bundle, query: str) -> Refusal | None:
    """Load a set and a query about it, with the builtin errors that its text was written for; why not, or None."""
    refused = session.load(query, bundle.data, bundle.modules)
    if refused is None and bundle.builtin_errors is BuiltinErrors.UNDEFINED:
        session.be_lenient(query)
    return refused


class Evaluator(Protocol):
    """Evaluates pinned bundles. Every method raises ``policy_unavailable`` with a `Fault` and never guesses."""

    @property
    def name(self) -> str:
        """Which engine in which version; recorded with every decision."""
        ...

    def evaluate(self, bundle: Bundle, data: bytes) -> Mapping[str, Any]:
        """The value of the bundle's query for this input document (canonical JSON), numbers exact."""
        ...

    def explain(self, attribution: Attribution, data: bytes) -> Mapping[int, Sequence[Any]]:
        """The members that each entry rule gave, by the rule's place in `attribution.heads`."""
        ...

    def inspect(self, modules: Mapping[str, str], data: bytes, query: str = "true") -> Inspection:
        """Parse and compile modules that nobody has published yet, and a query that asks them."""
        ...

    def prepare(self, sets: Sequence[Attribution]) -> None:
        """Warm up for these sets in the background and return at once."""
        ...

    def close(self) -> None:
        """End every process; evaluations under way raise."""
        ...
