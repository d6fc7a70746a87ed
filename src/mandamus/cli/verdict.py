"""How a verdict of policy is shown: what denies, asks and spares, the reasons, and what was tried, as a tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mandamus.cli.render import Cell, Painted, Screen, document
from mandamus.kernel.errors import Exit
from mandamus.policy.explain import Explained
from mandamus.policy.explain_trace import Stop, Tried
from mandamus.policy.model import Outcome, Requirement, Violation

EXITS: Mapping[Outcome, Exit] = {
    Outcome.ALLOW: Exit.OK,
    Outcome.NEEDS_APPROVAL: Exit.WAITING,
    Outcome.DENY: Exit.DENIED,
}
_COLOURS = {Outcome.ALLOW: "green", Outcome.NEEDS_APPROVAL: "yellow", Outcome.DENY: "red"}
_VALUE_MAX = 100


def painted(outcome: Outcome) -> Painted:
    """The outcome in its colour."""
    return Painted(outcome.value.replace("_", " "), _COLOURS[outcome])


def show_said(
    screen: Screen,
    *,
    violations: Sequence[Violation],
    warnings: Sequence[Violation],
    requires: Sequence[Requirement],
    spared: Sequence[Violation],
) -> None:
    """Every member with its rule, place, reasons and remedy."""
    groups = (("deny", "red", violations), ("warn", "yellow", warnings), ("spared", "dim", spared))
    for word, colour, members in groups:
        for violation in members:
            _show_violation(screen, Painted(word, colour), violation)
    for need in requires:
        group = need.group or "the environment's approvers"
        what = "override" if need.override else "approval"
        screen.data(Painted(what, "yellow"), f"  {need.file}:{need.line}: {need.rule}: {need.msg}")
        screen.data(f"    needs    {need.count} of {group}")


def _show_violation(screen: Screen, word: Cell, one: Violation) -> None:
    screen.data(word, f"  {one.file}:{one.line}: {one.rule}: {one.msg}")
    if one.address:
        screen.data(f"    about    {one.address}")
    for path, value in one.because.items():
        screen.data(f"    because  {path} {_is(value)}")
    if one.remedy:
        screen.data(f"    remedy   {one.remedy}")
    if one.exemption:
        screen.data(f"    spared   by {one.exemption}")


def _is(value: Any) -> str:
    note = value.get("note") if isinstance(value, dict) else None
    if note == "undefined":
        return "is undefined"
    if note and "digest" in value:
        return f"= ({value['bytes']} bytes, {value['digest']})"
    return f"= {document(value)}"


def show_explained(screen: Screen, explained: Explained, *, full: bool) -> None:
    """What was tried in one set."""
    attached = explained.attached
    screen.data(Painted("tried", "bold"), f"  {attached.name or attached.set} ({attached.level.value})")
    for tried in explained.tried:
        for text in lines(tried, 1, full=full):
            screen.data(text)
    for one in explained.untried:
        why = one.why or "one of its comparisons with a constant does not hold"
        screen.data(f"  {one.file}:{one.line}: {one.rule} false: {why}")
    for note in explained.notes:
        screen.data(f"  note {note}")
    for rule in explained.differs:
        screen.data(Painted("  differs", "red"), f" {rule} gives something else now than the record says")
    if explained.trouble:
        screen.data(Painted("  trouble", "red"), f" {explained.trouble}")


def lines(tried: Tried, depth: int, *, full: bool) -> Iterator[str]:
    """One rule as lines of a tree."""
    margin = "  " * depth
    more = f" (x {tried.times - 1} more)" if tried.times > 1 else ""
    word = "true" if tried.true else "false"
    count = f" x {tried.true}" if tried.true > 1 else ""
    yield f"{margin}{tried.file}:{tried.line}: {tried.rule} {word}{count}{more}"
    for stop in tried.stops:
        yield f"{margin}  failed at {_stop(stop, full=full)}"
    for call in tried.calls:
        yield from lines(call, depth + 1, full=full)


def _stop(stop: Stop, *, full: bool) -> str:
    values = ", ".join(f"{name} = {_shown(value, full=full)}" for name, value in stop.values.items())
    more = f" (x {stop.times - 1} more)" if stop.times > 1 else ""
    return f"{stop.file}:{stop.line}: {stop.text}" + (f"  with {values}" if values else "") + more


def _shown(value: Any, *, full: bool) -> str:
    text = document(value)
    return text if full or len(text) <= _VALUE_MAX else f"{text[:_VALUE_MAX]}... ({len(text)} characters)"
