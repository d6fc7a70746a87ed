"""The change set: what a step would change, in one schema for every tool (schema ``changeset/1``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mandamus.kernel import canonical
from mandamus.kernel.ids import Digest

SCHEMA = "changeset/1"


class Action(StrEnum):
    """What happens to one object."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"
    READ = "read"
    NOOP = "noop"
    IMPORT = "import"
    MOVE = "move"
    FORGET = "forget"
    RUN = "run"
    UNKNOWN = "unknown"


DESTRUCTIVE = frozenset({Action.DELETE, Action.REPLACE, Action.FORGET})


class Confidence(StrEnum):
    """How far the plan can be trusted: bound to the apply, predicted by the tool, or not known at all."""

    EXACT = "exact"
    PREDICTED = "predicted"
    OPAQUE = "opaque"


@dataclass(frozen=True)
class Change:
    """One object and what would happen to it.

    ``before`` and ``after`` are redacted; ``unknown`` and ``sensitive`` are JSON pointers (RFC 6901) into ``after``.
    """

    address: str
    type: str
    name: str
    action: Action
    mode: str = "managed"
    index: str | int | None = None
    module: str | None = None
    provider: str | None = None
    destructive: bool = False
    replace_order: str | None = None
    reason: str | None = None
    previous_address: str | None = None
    importing: Mapping[str, Any] | None = None
    before: Any = None
    after: Any = None
    unknown: tuple[str, ...] = ()
    sensitive: tuple[str, ...] = ()
    diff: tuple[Mapping[str, Any], ...] = ()
    scope: Mapping[str, Any] | None = None
    source: str | None = None
    confidence: Confidence = Confidence.EXACT


@dataclass(frozen=True)
class ChangeSet:
    """Everything one step would change.

    ``tool`` is ``{name, version, format}``; ``artifact`` binds the apply: ``{kind, sha256}`` of the saved plan or of
    the exact request; ``sandbox`` is ``required`` or ``none`` and is shown to approvers.
    """

    tool: Mapping[str, Any]
    fidelity: Confidence
    changes: tuple[Change, ...]
    artifact: Mapping[str, Any] | None = None
    complete: bool = True
    errored: bool = False
    sandbox: str = "required"
    variables: Mapping[str, Any] = field(default_factory=dict)
    checks: tuple[Mapping[str, Any], ...] = ()
    drift: tuple[Change, ...] = ()
    outputs: tuple[Mapping[str, Any], ...] = ()
    schema: str = SCHEMA

    def to_json(self) -> dict[str, Any]:
        """JSON-ready data in the schema's field names."""
        changes = {name: [vars(change) for change in getattr(self, name)] for name in ("changes", "drift")}
        return {**vars(self), **changes}

    def to_bytes(self) -> bytes:
        """Canonical bytes: what is stored, digested, judged and shown."""
        return canonical.dumps(self.to_json())

    @property
    def digest(self) -> Digest:
        """Digest of the canonical bytes."""
        return canonical.digest(self.to_bytes())

    def summary(self) -> dict[str, int]:
        """How many changes there are of each action, without noop and read."""
        found: dict[str, int] = {}
        for change in self.changes:
            if change.action not in (Action.NOOP, Action.READ):
                found[change.action.value] = found.get(change.action.value, 0) + 1
        return found


def from_json(data: Mapping[str, Any]) -> ChangeSet:
    """Rebuild a change set from its JSON form."""
    fields = dict(data)
    for name in ("changes", "drift"):
        fields[name] = tuple(_change(item) for item in data.get(name, ()))
    for name in ("checks", "outputs"):
        fields[name] = tuple(data.get(name, ()))
    fields["fidelity"] = Confidence(data["fidelity"])
    return ChangeSet(**fields)


def _change(data: Mapping[str, Any]) -> Change:
    fields = dict(data)
    fields["action"] = Action(data["action"])
    fields["confidence"] = Confidence(data.get("confidence", Confidence.EXACT))
    for name in ("unknown", "sensitive", "diff"):
        fields[name] = tuple(data.get(name, ()))
    return Change(**fields)
