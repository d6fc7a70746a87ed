"""From what the rules said to what it means: pure, and a deny whenever a value is not exactly what it should be."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mandamus.kernel.attachment import Attached, Level
from mandamus.kernel.errors import MandamusError
from mandamus.policy.model import (
    DENY,
    OVERRIDABLE,
    REQUIRE_APPROVAL,
    WARN,
    Fault,
    Point,
    Requirement,
    Said,
    Violation,
    fault,
)

Locate = Callable[[str, object], tuple[str, int]]
"""File and line of the rule that gave a member: ``(full name of the rule, member)``."""

APPROVALS_MAX = 100
_OWN_KEYS = frozenset({"msg", "remedy", "meta", "address"})
_REQUIREMENT_KEYS = frozenset({"msg", "group", "count", "remedy", "meta", "notify"})
NOTIFY_MAX = 20
_SUBSCRIPTION = re.compile(r"[a-z][a-z0-9_-]{0,62}")


@dataclass
class Finding:
    """What a set says at one point, by what it means there; `Verdict` has the words."""

    violations: list[Violation] = field(default_factory=list)
    warnings: list[Violation] = field(default_factory=list)
    requires: list[Requirement] = field(default_factory=list)
    spared: list[Violation] = field(default_factory=list)
    notify: list[str] = field(default_factory=list)

    def add(self, other: Finding) -> None:
        """What another set says, too."""
        self.violations += other.violations
        self.warnings += other.warnings
        self.requires += other.requires
        self.spared += other.spared
        self.notify += other.notify


Spare = Callable[[Violation], str]
"""The id of the exemption that spares a violation, or empty."""


def judge(point: Point, said: Sequence[Said], attached: Attached, locate: Locate, spare: Spare) -> Finding:
    """What the members mean at the level the set is attached with; raises ``shape_invalid`` for one of another form."""
    found = Finding()
    for one in said:
        file, line = locate(one.rule, one.member)
        at = _At(one.rule, file, line, attached, _milder(one.level, attached.level))
        if one.kind == REQUIRE_APPROVAL:
            _ask(found, at, one.member)
        elif one.kind in (DENY, WARN):
            _object(found, point, at.violation(one.member), warns=one.kind == WARN, attached=attached, spare=spare)
        else:
            raise _shape(f"{at.where} says {one.kind!r}, and nobody knows what that is")
        if at.level is not Level.SHADOW:
            found.notify += at.notify(one.member)
    for violations in (found.violations, found.warnings, found.spared):
        violations.sort(key=lambda v: (v.file, v.line, v.msg))
    return found


def _milder(own: Level | None, attached: Level) -> Level:
    """A rule's own level can only loosen that of the set: a set that is tried out binds nobody."""
    return attached if own is None else min(own, attached, key=lambda level: level.strictness)


def _object(
    found: Finding, point: Point, violation: Violation, *, warns: bool, attached: Attached, spare: Spare
) -> None:
    """One member of ``deny`` or ``warn``."""
    exemption = "" if warns else spare(violation)
    if exemption:
        found.spared.append(replace(violation, exemption=exemption))
    elif violation.level is Level.SHADOW:
        found.spared.append(violation)
    elif warns or violation.level is Level.ADVISORY:
        found.warnings.append(violation)
    elif violation.level is Level.SOFT and attached.override and point in OVERRIDABLE:
        found.spared.append(violation)
        found.requires += [_override(violation, group, count) for group, count in attached.override.items()]
    else:
        found.violations.append(violation)


def _override(violation: Violation, group: str, count: int) -> Requirement:
    v = violation
    return Requirement(group, count, f"override of {v.rule}: {v.msg}", v.rule, v.file, v.line, v.set, override=True)


def _ask(found: Finding, at: _At, member: object) -> None:
    """One member of ``require_approval``."""
    requirement = at.requirement(member)
    if at.level.binds:
        found.requires.append(requirement)
        return
    said = Violation(at.rule, requirement.msg, at.file, at.line, set=at.attached.set, level=at.level)
    (found.warnings if at.level is Level.ADVISORY else found.spared).append(said)


@dataclass(frozen=True)
class _At:
    rule: str
    file: str
    line: int
    attached: Attached
    level: Level

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}: a member of {self.rule}"

    def violation(self, member: object) -> Violation:
        if isinstance(member, str):
            return self._violation(self.text("the message", member), {}, "", "")
        if not isinstance(member, dict):
            raise self.wrong("is neither a string nor an object")
        meta = member.get("meta", {})
        if not isinstance(meta, dict):
            raise self.wrong("has a `meta` that is no object")
        others = {key: item for key, item in member.items() if key not in _OWN_KEYS}
        remedy = self.text("`remedy`", member["remedy"]) if "remedy" in member else ""
        address = self.text("`address`", member["address"]) if "address" in member else ""
        return self._violation(self.text("`msg`", member.get("msg")), {**others, **meta}, remedy, address)

    def _violation(self, msg: str, meta: dict[str, Any], remedy: str, address: str) -> Violation:
        return Violation(
            self.rule,
            msg,
            self.file,
            self.line,
            remedy=remedy,
            meta=meta,
            set=self.attached.set,
            address=address,
            level=self.level,
        )

    def requirement(self, member: object) -> Requirement:
        place = (self.rule, self.file, self.line, self.attached.set)
        if isinstance(member, str):
            return Requirement("", 1, self.text("the message", member), *place)
        if not isinstance(member, dict):
            raise self.wrong("is neither a string nor an object")
        unknown = sorted(member.keys() - _REQUIREMENT_KEYS)
        if unknown:
            # A misspelt `count` would ask for one approval where the author wanted two.
            raise self.wrong(f"has the unknown key `{unknown[0]}`")
        count = member.get("count", 1)
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= APPROVALS_MAX:
            raise self.wrong(f"has a `count` that is no whole number from 1 to {APPROVALS_MAX}")
        group = self.text("`group`", member["group"]) if "group" in member else ""
        msg = self.text("`msg`", member["msg"]) if "msg" in member else f"approval by {group or 'the approvers'}"
        return Requirement(group, count, msg, *place)

    def notify(self, member: object) -> list[str]:
        """The subscriptions that are to be told, by name; one text or a list of texts."""
        given = member.get("notify", []) if isinstance(member, dict) else []
        names = [given] if isinstance(given, str) else given
        if not isinstance(names, list) or len(names) > NOTIFY_MAX:
            raise self.wrong(f"has a `notify` that is neither a name nor a list of at most {NOTIFY_MAX}")
        if not all(isinstance(name, str) and _SUBSCRIPTION.fullmatch(name) for name in names):
            raise self.wrong("has a `notify` that is no name of a subscription")
        return names

    def text(self, what: str, value: object) -> str:
        if not isinstance(value, str) or not value:
            raise self.wrong(f"needs {what} as a text that is not empty")
        return value

    def wrong(self, why: str) -> MandamusError:
        return _shape(f"{self.where} {why}")


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
