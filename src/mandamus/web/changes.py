"""A change set as a page shows it: the dangerous part first, each attribute before and after, secrets masked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mandamus.kernel.attributes import ABSENT, Attribute, attributes
from mandamus.kernel.changeset import DESTRUCTIVE, Action, Change, Confidence, from_json
from mandamus.web.render import document

ATTRIBUTES_MAX = 100
OBJECTS_MAX = 100

ORDER = (
    Action.DELETE,
    Action.REPLACE,
    Action.FORGET,
    Action.UNKNOWN,
    Action.RUN,
    Action.UPDATE,
    Action.CREATE,
    Action.IMPORT,
    Action.MOVE,
)

UNSURE = {
    Confidence.PREDICTED: "the tool predicts this; what it does may differ",
    Confidence.OPAQUE: "this tool cannot say what it will do; the exact call is shown",
}


@dataclass(frozen=True)
class Row:
    """One attribute; a side that is not there is None."""

    path: str
    before: str | None
    after: str | None
    note: str


@dataclass(frozen=True)
class Item:
    """One object with its attributes; ``more`` are not shown."""

    address: str
    notes: tuple[str, ...]
    rows: tuple[Row, ...]
    more: int


@dataclass(frozen=True)
class Group:
    """The objects to which the same happens; ``more`` are not shown."""

    action: str
    count: int
    destructive: bool
    items: tuple[Item, ...]
    more: int


@dataclass(frozen=True)
class Shown:
    """A change set. ``warnings`` are what makes it less than certain."""

    tool: str
    fidelity: str
    sandbox: str
    warnings: tuple[str, ...]
    groups: tuple[Group, ...]


def shown(data: Mapping[str, Any]) -> Shown | None:
    """The change set of a step, or None while it is not planned."""
    if not data:
        return None
    found = from_json(data)
    tool = " ".join(str(found.tool[key]) for key in ("name", "version") if found.tool.get(key))
    warnings = []
    if found.fidelity in UNSURE:
        warnings.append(UNSURE[found.fidelity])
    if not found.complete:
        warnings.append("the tool could not say everything it would do")
    if found.errored:
        warnings.append("the tool ended in an error while it planned")
    if found.sandbox != "required":
        warnings.append("it runs without a sandbox")
    groups = [_group(action.value, [each for each in found.changes if each.action is action]) for action in ORDER]
    groups.append(_group("drift", list(found.drift)))
    shown_groups = tuple(group for group in groups if group.count)
    return Shown(tool, found.fidelity.value, found.sandbox, tuple(warnings), shown_groups)


def _group(action: str, changes: list[Change]) -> Group:
    changes.sort(key=lambda change: (not change.destructive, change.address))
    destructive = action in DESTRUCTIVE or any(change.destructive for change in changes)
    items = tuple(_item(change) for change in changes[:OBJECTS_MAX])
    return Group(action, len(changes), destructive, items, max(len(changes) - OBJECTS_MAX, 0))


def _item(change: Change) -> Item:
    notes = (
        "destructive" if change.destructive else "",
        (change.replace_order or "").replace("_", " "),
        change.reason or "",
        f"was {change.previous_address}" if change.previous_address else "",
        f"imports {document(change.importing)}" if change.importing else "",
        change.source or "",
    )
    found = list(attributes(change))
    rows = tuple(_row(each) for each in found[:ATTRIBUTES_MAX])
    return Item(change.address, tuple(note for note in notes if note), rows, max(len(found) - ATTRIBUTES_MAX, 0))


def _row(found: Attribute) -> Row:
    after = "known after apply" if found.unknown else _value(found.after, sensitive=found.sensitive)
    note = "forces replacement" if found.forces_replace else ""
    return Row(found.path, _value(found.before, sensitive=found.sensitive), after, note)


def _value(value: Any, *, sensitive: bool) -> str | None:
    if value is ABSENT:
        return None
    return "sensitive" if sensitive else document(value)
