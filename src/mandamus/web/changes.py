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
ITEM_BYTES = 220
ROW_BYTES = 160
"""What the markup around an object and around an attribute takes."""

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


def shown(data: Mapping[str, Any], room: int | None = None) -> Shown | None:
    """The change set of a step, or None while it is not planned; with ``room`` as much as about so many bytes hold."""
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
    left = Room(room)
    groups = [_group(action.value, [each for each in found.changes if each.action is action], left) for action in ORDER]
    groups.append(_group("drift", list(found.drift), left))
    shown_groups = tuple(group for group in groups if group.count)
    return Shown(tool, found.fidelity.value, found.sandbox, tuple(warnings), shown_groups)


class Room:
    """How many bytes of a page are left; None for as many as there are."""

    def __init__(self, size: int | None) -> None:
        self._left = size

    def take(self, item: Item) -> bool:
        """Whether there is room for an object with its attributes; then it is taken."""
        if self._left is None:
            return True
        size = ITEM_BYTES + len(item.address) + sum(map(len, item.notes))
        size += sum(ROW_BYTES + len(row.path) + len(row.before or "") + len(row.after or "") for row in item.rows)
        if size > self._left:
            self._left = 0
            return False
        self._left -= size
        return True


def _group(action: str, changes: list[Change], room: Room) -> Group:
    changes.sort(key=lambda change: (not change.destructive, change.address))
    destructive = action in DESTRUCTIVE or any(change.destructive for change in changes)
    items = []
    for change in changes[:OBJECTS_MAX]:
        item = _item(change)
        if not room.take(item):
            break
        items.append(item)
    return Group(action, len(changes), destructive, tuple(items), len(changes) - len(items))


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
