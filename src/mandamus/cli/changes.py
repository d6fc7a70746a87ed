"""A change set as a person reads it: the dangerous part first, each attribute before and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mandamus.cli.render import Painted, Screen, document, line
from mandamus.kernel.changeset import DESTRUCTIVE, Action, Change, ChangeSet
from mandamus.kernel.pointer import escaped, unescaped

ATTRIBUTES_MAX = 200
"""Attributes shown per object; the rest is counted."""

VALUE_CHARS_MAX = 2_000

_ORDER = (
    (Action.DELETE, "-", "red"),
    (Action.REPLACE, "-/+", "red"),
    (Action.FORGET, "x", "red"),
    (Action.UNKNOWN, "?", "yellow"),
    (Action.RUN, ">", "yellow"),
    (Action.UPDATE, "~", "yellow"),
    (Action.CREATE, "+", "green"),
    (Action.IMPORT, "<=", "green"),
    (Action.MOVE, "->", "blue"),
)
_ABSENT = object()


def show(screen: Screen, step: str, changes: ChangeSet) -> None:
    """Print one step's change set as data."""
    tool = changes.tool
    name = " ".join(str(tool[key]) for key in ("name", "version") if tool.get(key))
    screen.data(Painted(step, "bold"), f"  {line(name)}, {changes.fidelity}, sandbox ", _sandbox(changes.sandbox))
    if not changes.complete:
        screen.data("  ", Painted("incomplete", "yellow"), ": the tool could not say everything it would do")
    if changes.errored:
        screen.data("  ", Painted("errored", "red"), ": the tool ended in an error while it planned")
    for action, sign, colour in _ORDER:
        group = sorted((c for c in changes.changes if c.action is action), key=lambda c: (not c.destructive, c.address))
        if group:
            screen.data("  ", Painted(f"{action.value} {len(group)}", colour))
        for change in group:
            _change(screen, change, sign, colour)
    if changes.drift:
        screen.data("  ", Painted(f"drift {len(changes.drift)}", "yellow"), ": changed outside, as found by this plan")
        for change in changes.drift:
            _change(screen, change, "!", "yellow")
    screen.data("  ", summary(changes))


def summary(changes: ChangeSet) -> str:
    """One line: how many of each action, the destructive ones said twice."""
    counts = changes.summary()
    if not counts:
        return "no changes"
    text = ", ".join(f"{counts[action.value]} to {action.value}" for action, _, _ in _ORDER if action.value in counts)
    lost = sum(count for action, count in counts.items() if Action(action) in DESTRUCTIVE)
    return f"{text}; {lost} destructive" if lost else text


def _sandbox(mode: str) -> Painted:
    return Painted(mode, "green" if mode == "required" else "red")


def _change(screen: Screen, change: Change, sign: str, colour: str) -> None:
    notes = [
        f"destructive, {change.replace_order.replace('_', ' ')}" if change.replace_order else "",
        "destructive" if change.destructive and not change.replace_order else "",
        change.reason or "",
        f"was {change.previous_address}" if change.previous_address else "",
        f"import {document(change.importing)}" if change.importing else "",
        f"confidence {change.confidence}" if change.confidence != "exact" else "",
        change.source or "",
    ]
    told = line("; ".join(note for note in notes if note))
    screen.data(
        "    ", Painted(f"{sign:>3}", colour), f" {line(change.address)}", Painted(f"  # {told}" if told else "", "dim")
    )
    shown = list(_attributes(change))
    for path, before, after in shown[:ATTRIBUTES_MAX]:
        screen.data(f"          {line(path)}: ", before, after)
    if len(shown) > ATTRIBUTES_MAX:
        screen.data(f"          and {len(shown) - ATTRIBUTES_MAX} more attributes; --output json has them all")


def _attributes(change: Change) -> Iterator[tuple[str, str, str]]:
    """``(path, before and arrow, after)`` of every leaf that differs; a new or a lost object has one side only."""
    if change.diff:
        yield from _given(change.diff)
        return
    before, after = dict(_leaves(change.before)), dict(_leaves(change.after))
    paths = dict.fromkeys([*before, *after, *change.unknown])
    for path in sorted(paths):
        old, new = before.get(path, _ABSENT), after.get(path, _ABSENT)
        unknown = any(_within(path, pointer) for pointer in change.unknown)
        whole = path in change.unknown and any(_within(other, path) and other != path for other in paths)
        if whole or (old == new and not unknown):
            continue
        sensitive = any(_within(path, pointer) for pointer in change.sensitive)
        shown = "" if old is _ABSENT else f"{_value(old, sensitive=sensitive)} -> "
        if unknown:
            yield _named(path), shown, "(known after apply)"
        else:
            yield _named(path), shown, "(gone)" if new is _ABSENT else _value(new, sensitive=sensitive)


def _given(diff: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    for part in diff:
        sensitive = bool(part.get("sensitive"))
        before = f"{_value(part['before'], sensitive=sensitive)} -> " if part.get("before") is not None else ""
        after = "(known after apply)" if part.get("unknown") else _value(part.get("after"), sensitive=sensitive)
        forced = "  # forces replacement" if part.get("forces_replace") else ""
        yield _named(str(part.get("path", ""))), before, after + forced


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """JSON pointers (RFC 6901) of the scalars and the empty containers of a value, without nulls."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{path}/{escaped(str(key))}")
    elif isinstance(value, (list, tuple)) and value:
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}/{index}")
    elif value is not None:
        yield path, value


def _within(path: str, pointer: str) -> bool:
    return path == pointer or path.startswith(f"{pointer}/")


def _named(pointer: str) -> str:
    parts = pointer.lstrip("/").split("/")
    return ".".join(unescaped(part) for part in parts) or "value"


def _value(value: Any, *, sensitive: bool) -> str:
    if sensitive:
        return "(sensitive)"
    if isinstance(value, str) and value.startswith("redacted:"):
        return f"({value})"
    text = document(value)
    return text if len(text) <= VALUE_CHARS_MAX else f"{text[:VALUE_CHARS_MAX]}... ({len(text)} characters)"
