"""From what the rules gave to what it means: pure, and a deny whenever a value is not exactly what it should be."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mandamus.kernel.errors import MandamusError
from mandamus.kernel.ids import Digest
from mandamus.policy.model import DENY, REQUIRE_APPROVAL, ROOT, RULES, WARN, Fault, Point, Requirement, Violation, fault

Locate = Callable[[str, object], tuple[str, int]]
"""File and line of the rule that gave a member: ``(rule, member)``."""

APPROVALS_MAX = 100
_REQUIREMENT_KEYS = frozenset({"msg", "group", "count", "remedy", "meta"})


@dataclass(frozen=True)
class Finding:
    """What one set says at one point."""

    violations: tuple[Violation, ...]
    warnings: tuple[Violation, ...]
    requires: tuple[Requirement, ...]


def members(point: Point, value: Mapping[str, Any], defined: Sequence[str]) -> dict[str, list[Any]]:
    """The members of each rule from the value of `engine.DECIDE_QUERY`; ``defined`` are the rules the set has.

    Raises ``policy_unavailable``: ``undefined`` for a rule that the set has and that gave nothing, ``shape_invalid``
    for anything but a set.
    """
    if value.keys() != set(RULES):
        raise _shape("the reply does not name the rules that were asked for")
    found: dict[str, list[Any]] = {}
    for rule in RULES:
        full = f"data.{ROOT}.{point.value}.{rule}"
        given = value[rule]
        if given == []:
            if rule in defined:
                raise fault(Fault.UNDEFINED, f"{full} is undefined", f"write it as `{rule} contains ... if {{...}}`")
            continue
        match given:
            case [["set", list() as inside]]:
                found[rule] = inside
            case [[str() as kind, _]]:
                raise _shape(f"{full} is of type {kind}, not a set")
            case _:
                raise _shape(f"{full} has no type")
    return found


def judge(point: Point, found: Mapping[str, Sequence[Any]], digest: Digest, locate: Locate) -> Finding:
    """The members as violations, warnings and requirements; raises ``shape_invalid`` for a member of another form."""

    def violations(rule: str) -> tuple[Violation, ...]:
        return tuple(_violation(point, rule, member, digest, locate) for member in found.get(rule, ()))

    requires = tuple(_requirement(point, member, digest, locate) for member in found.get(REQUIRE_APPROVAL, ()))
    return Finding(_sorted(violations(DENY)), _sorted(violations(WARN)), requires)


def _sorted(violations: Sequence[Violation]) -> tuple[Violation, ...]:
    return tuple(sorted(violations, key=lambda v: (v.file, v.line, v.msg)))


def _violation(point: Point, rule: str, member: object, digest: Digest, locate: Locate) -> Violation:
    full = f"{ROOT}.{point.value}.{rule}"
    file, line = locate(rule, member)
    with_place = _At(full, file, line)
    if isinstance(member, str):
        return Violation(full, with_place.text("the message", member), file, line, set=digest)
    if not isinstance(member, dict):
        raise with_place.wrong("is neither a string nor an object")
    meta = member.get("meta", {})
    if not isinstance(meta, dict):
        raise with_place.wrong("has a `meta` that is no object")
    others = {key: item for key, item in member.items() if key not in {"msg", "remedy", "meta"}}
    return Violation(
        full,
        with_place.text("`msg`", member.get("msg")),
        file,
        line,
        remedy=with_place.text("`remedy`", member["remedy"]) if "remedy" in member else "",
        meta={**others, **meta},
        set=digest,
    )


def _requirement(point: Point, member: object, digest: Digest, locate: Locate) -> Requirement:
    full = f"{ROOT}.{point.value}.{REQUIRE_APPROVAL}"
    file, line = locate(REQUIRE_APPROVAL, member)
    place = _At(full, file, line)
    if isinstance(member, str):
        return Requirement("", 1, place.text("the message", member), full, file, line, digest)
    if not isinstance(member, dict):
        raise place.wrong("is neither a string nor an object")
    unknown = sorted(member.keys() - _REQUIREMENT_KEYS)
    if unknown:
        # A misspelt `count` would ask for one approval where the author wanted two.
        raise place.wrong(f"has the unknown key `{unknown[0]}`")
    count = member.get("count", 1)
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= APPROVALS_MAX:
        raise place.wrong(f"has a `count` that is no whole number from 1 to {APPROVALS_MAX}")
    group = place.text("`group`", member["group"]) if "group" in member else ""
    msg = place.text("`msg`", member["msg"]) if "msg" in member else f"approval by {group or 'the approvers'}"
    return Requirement(group, count, msg, full, file, line, digest)


@dataclass(frozen=True)
class _At:
    rule: str
    file: str
    line: int

    def text(self, what: str, value: object) -> str:
        if not isinstance(value, str) or not value:
            raise self.wrong(f"needs {what} as a text that is not empty")
        return value

    def wrong(self, why: str) -> MandamusError:
        return _shape(f"{self.file}:{self.line}: a member of {self.rule} {why}")


def _shape(message: str) -> MandamusError:
    return fault(Fault.SHAPE_INVALID, message, "see docs/reference/policy.md for the members a rule may have")


def depth_exceeds(document: bytes, limit: int) -> bool:
    """Whether JSON text is nested deeper than the limit; each round takes the innermost brackets away."""
    if document.count(b"{") + document.count(b"[") <= limit:
        return False
    brackets = _STRING.sub(b"", document).translate(_ONE_KIND, _NO_BRACKET)
    for _ in range(limit):
        if not brackets:
            return False
        brackets = brackets.replace(b"()", b"")
    return bool(brackets)


_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_ONE_KIND = bytes.maketrans(b"[]{}", b"()()")
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))
