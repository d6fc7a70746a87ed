"""A change set as a person reads it: the dangerous part first, each attribute before and after."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mandamus.cli.render import Painted, Screen, document, line
from mandamus.kernel.attributes import ABSENT, attributes
from mandamus.kernel.changeset import DESTRUCTIVE, Action, Change, ChangeSet

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
    """``(path, before and arrow, after)`` of every attribute that differs."""
    for each in attributes(change):
        before = "" if each.before is ABSENT else f"{_value(each.before, sensitive=each.sensitive)} -> "
        if each.unknown:
            after = "(known after apply)"
        else:
            after = "(gone)" if each.after is ABSENT else _value(each.after, sensitive=each.sensitive)
        yield each.path, before, after + ("  # forces replacement" if each.forces_replace else "")


def _value(value: Any, *, sensitive: bool) -> str:
    if sensitive:
        return "(sensitive)"
    if isinstance(value, str) and value.startswith("redacted:"):
        return f"({value})"
    text = document(value)
    return text if len(text) <= VALUE_CHARS_MAX else f"{text[:VALUE_CHARS_MAX]}... ({len(text)} characters)"
