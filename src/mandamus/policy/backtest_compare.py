"""One recorded decision beside what it would have been: pure, by the same rules by which decisions are made."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mandamus.kernel.errors import MandamusError
from mandamus.kernel.ids import Digest
from mandamus.policy import judge
from mandamus.policy.attribution import Attribution
from mandamus.policy.backtest_memo import Value
from mandamus.policy.backtest_model import Change, Kind
from mandamus.policy.backtest_rows import Recorded
from mandamus.policy.model import Bundle, Exemption, Fault, Outcome, Point, Requirement, Violation
from mandamus.policy.service import understood

_PIECES = re.compile(f"; (?=(?:{'|'.join(kind.value for kind in Fault)}): )")
_NEVER_ASKED = (Fault.INPUT_INVALID, Fault.INPUT_TOO_LARGE, Fault.INPUT_TOO_DEEP, Fault.INTERNAL)
_SILENT = "no set that binds has a rule for this point, and this environment is protected"


@dataclass
class _New:
    """What would have been decided, and what the candidate's part in it is."""

    outcome: Outcome
    requires: list[tuple[str, int, bool]]
    finding: judge.Finding
    error: str


class Comparison:
    """Compares rows with what one candidate gave."""

    def __init__(
        self, attribution: Attribution, protected: Callable[[str], bool], exemptions: Sequence[Exemption]
    ) -> None:
        self._attribution = attribution
        self._bundle = attribution.bundle
        self._protected = protected
        self._exemptions = exemptions
        self.rules = {point.value: [entry.rule for entry in self._bundle.at(point.value)] for point in Point}
        """The rules that the candidate is asked for, by point."""
        self._alike: dict[tuple[Digest, str], bool] = {}

    def compare(self, row: Recorded, value: Value | None, base: Bundle | None) -> Change | None:
        """How the decision would have changed; ``value`` is None where the candidate has nothing to ask."""
        if base is not None and self._same(row, value, base):
            return None
        new = self._judge(row, value)
        kinds = _kinds(row, new)
        if not kinds:
            return None
        return Change(
            decision=row.id,
            run=row.run,
            step=row.step,
            point=row.point,
            environment=row.environment,
            at_us=row.at_us,
            kinds=kinds,
            old=row.outcome,
            new=new.outcome.value,
            old_rules=_recorded_rules(row),
            new_rules=_found_rules(new.finding),
            old_error=row.error or "",
            error=new.error,
        )

    def _same(self, row: Recorded, value: Value | None, base: Bundle) -> bool:
        """The way most decisions go: the rules mean the same and gave the same, byte by byte."""
        key = base.digest, row.point
        if key not in self._alike:
            self._alike[key] = _meanings(base, row.point) == _meanings(self._bundle, row.point)
        if row.error is not None or not self._alike[key]:
            return False
        recorded = row.results.bytes_of(row.attached.set)
        if value is None or recorded is None:
            return value is None and recorded is None
        return not value.error and value.at(row.point, self.rules[row.point]) == recorded

    def _judge(self, row: Recorded, value: Value | None) -> _New:
        set_ = row.attached.set
        errors = [piece for piece in pieces(row.error) if not self._answered_anew(row, piece)]
        finding, error = self._found(row, value)
        if error and row.attached.level.binds:
            errors.append(error)
        if not errors and self._silent(row):
            error = f"{Fault.NO_POLICY.value}: {_SILENT}"
            errors.append(error)
        others = row.results.of_others("requires", set_)
        requires = [(each["group"], each["count"], each.get("override", False)) for each in others]
        requires += [(each.group, each.count, each.override) for each in finding.requires]
        if errors or finding.violations or row.results.of_others("violations", set_):
            outcome = Outcome.DENY
        else:
            outcome = Outcome.NEEDS_APPROVAL if requires else Outcome.ALLOW
        return _New(outcome, sorted(requires), finding, error)

    def _found(self, row: Recorded, value: Value | None) -> tuple[judge.Finding, str]:
        if value is None or value.error:
            return judge.Finding(), value.error if value else ""
        try:
            given = {rule: value.given[rule] for rule in self.rules[row.point] if rule in value.given}
            said = understood(self._bundle, self._bundle.at(row.point), given)

            def locate(rule: str, member: object) -> tuple[str, int]:
                return self._attribution.find(rule, member, value.told)

            return judge.judge(Point(row.point), said, row.attached, locate, self._sparer(row)), ""
        except MandamusError as error:
            return judge.Finding(), f"{error.context.get('fault', Fault.INTERNAL.value)}: {error.message}"

    def _answered_anew(self, row: Recorded, piece: str) -> bool:
        """Whether an error of the recorded decision is one the candidate is asked about again."""
        if piece.startswith(Fault.NO_POLICY.value):
            return row.attached.level.binds
        return piece.endswith(f"(set {row.attached.name or row.attached.set})")

    def _silent(self, row: Recorded) -> bool:
        """Whether a protected environment would have had no rule at the point where changes are judged."""
        if row.point != Point.PLAN.value or (row.attached.level.binds and self.rules[row.point]):
            return False
        heard = any(each.level.binds and row.results.value(each.set) is not None for each in row.others)
        known = any(piece.startswith(Fault.NO_POLICY.value) for piece in pieces(row.error))
        return not heard and (known or self._protected(row.environment))

    def _sparer(self, row: Recorded) -> judge.Spare:
        def spare(violation: Violation) -> str:
            for one in self._exemptions:
                here = one.environment == row.environment and _counted(one, row.at_us)
                if here and one.spares(row.attached.name, violation):
                    return one.id
            return ""

        return spare


def replayable(row: Recorded) -> bool:
    """Whether any set was asked; an input that was too large, too deep or no document was judged by none."""
    return bool(row.input) and not any(piece.startswith(_NEVER_ASKED) for piece in pieces(row.error))


def pieces(error: str | None) -> list[str]:
    """The troubles that a decision's error lists."""
    return _PIECES.split(error) if error else []


def _counted(one: Exemption, at_us: int) -> bool:
    return one.granted_us <= at_us < min(one.until_us, one.until_us if one.ended_us is None else one.ended_us)


def _meanings(bundle: Bundle, point: str) -> list[tuple[str, str, object]]:
    return [(entry.rule, entry.kind, entry.level) for entry in bundle.at(point)]


def _kinds(row: Recorded, new: _New) -> tuple[Kind, ...]:
    kinds: list[Kind] = []
    denied, denies = row.outcome == Outcome.DENY.value, new.outcome is Outcome.DENY
    old_requires = sorted((r["group"], r["count"], r.get("override", False)) for r in row.results.all("requires"))
    if denied and not denies:
        kinds.append(Kind.DENY_TO_ALLOW)
    elif denies and not denied:
        kinds.append(Kind.ALLOW_TO_DENY)
    elif not denies and old_requires != new.requires:
        kinds.append(Kind.APPROVALS)
    if new.error and not _erred(row):
        kinds.append(Kind.ERRORS)
    if not kinds and _recorded_words(row) != _found_words(new.finding):
        kinds.append(Kind.MESSAGES)
    return tuple(kinds)


def _erred(row: Recorded) -> bool:
    label = f"(set {row.attached.name or row.attached.set})"
    return any(piece.endswith(label) or piece.startswith(Fault.NO_POLICY.value) for piece in pieces(row.error))


_SAYS = ("violations", "warnings", "requires", "spared")
_WORDS = ("rule", "msg", "remedy", "meta", "address", "group", "count")

Words = list[tuple[str, ...]]


def _recorded_words(row: Recorded) -> Words:
    return sorted(_words(kind, each) for kind in _SAYS for each in row.results.of(kind, row.attached.set))


def _found_words(finding: judge.Finding) -> Words:
    return sorted(_words(kind, vars(each)) for kind in _SAYS for each in getattr(finding, kind))


def _words(kind: str, each: Mapping[str, Any]) -> tuple[str, ...]:
    return (kind, *(repr(each.get(name) or "") for name in _WORDS))


def _recorded_rules(row: Recorded) -> list[dict[str, Any]]:
    return [
        {name: each[name] for name in ("rule", "file", "line", "msg")}
        for kind in ("violations", "requires", "warnings")
        for each in row.results.of(kind, row.attached.set)
    ]


def _found_rules(finding: judge.Finding) -> list[dict[str, Any]]:
    found: list[Violation | Requirement] = [*finding.violations, *finding.requires, *finding.warnings]
    return [{"rule": each.rule, "file": each.file, "line": each.line, "msg": each.msg} for each in found]
