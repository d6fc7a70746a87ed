"""What may go wrong with a change, at one glance: a few words each, the worst first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mandamus.policy.model import Decision
from mandamus.web.changes import Shown

LOSES = {"delete": "deletes", "replace": "replaces", "forget": "forgets"}
WORST = ("bad", "warn", "ok")


@dataclass(frozen=True)
class Risk:
    """``level`` is ``bad``, ``warn`` or ``ok``."""

    level: str
    words: str


def glance(
    changes: Shown | None, decisions: Sequence[Decision], asked: Sequence[Any], *, protected: bool
) -> list[Risk]:
    """What the change set, policy, what is asked for and the environment say of it, the worst first."""
    found = [*_of_changes(changes), *_of_policy(decisions, asked)]
    if protected:
        found.append(Risk("warn", "the environment is protected"))
    if not any(each.level == "bad" for each in found) and changes is not None:
        found.append(Risk("ok", "nothing is destroyed"))
    return sorted(found, key=lambda each: WORST.index(each.level))


def _of_changes(changes: Shown | None) -> Iterable[Risk]:
    if changes is None:
        yield Risk("warn", "nothing is planned now")
        return
    for group in changes.groups:
        if group.action in LOSES:
            yield Risk("bad", f"{LOSES[group.action]} {_count(group.count, 'object')}")
        elif group.destructive:
            yield Risk("bad", f"{group.count} to {group.action}, some of it destructive")
        elif group.action == "drift":
            yield Risk("warn", f"{_count(group.count, 'object')} changed outside since the last apply")
    for words in changes.warnings:
        yield Risk("bad" if "sandbox" in words else "warn", words)


def _of_policy(decisions: Sequence[Decision], asked: Sequence[Any]) -> Iterable[Risk]:
    if any(each.override for each in asked):
        yield Risk("bad", "a yes overrides a rule of policy")
    warned = sum(len(each.verdict.warnings) for each in decisions)
    spared = sum(len(each.verdict.spared) for each in decisions)
    if warned:
        yield Risk("warn", f"policy warns {_count(warned, 'time')}")
    if spared:
        yield Risk("warn", f"{_count(spared, 'violation')} let pass")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
