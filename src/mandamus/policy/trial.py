"""What a set would say about an input: nothing is recorded, and the input may be a recorded one that was edited."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mandamus.kernel import canonical
from mandamus.kernel.attachment import Attached
from mandamus.kernel.errors import Code, MandamusError, raise_problems
from mandamus.policy import bundle, check, judge
from mandamus.policy.attribution import Attribution
from mandamus.policy.because import Reasons
from mandamus.policy.engine import Evaluator, Lends, put
from mandamus.policy.judge import Finding
from mandamus.policy.model import Fault, Options, Outcome, Point, fault
from mandamus.policy.service import INPUT_BYTES_MAX, INPUT_DEPTH_MAX, read, understood

_STEP = re.compile(r'\.?([A-Za-z_][A-Za-z0-9_]*)|\[(\d+)\]|\[("(?:[^"\\]|\\.)*")\]')


@dataclass(frozen=True)
class Trial:
    """What the set said; an error is a deny, as in a decision."""

    outcome: Outcome
    found: Finding = field(default_factory=Finding)
    given: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """As commands print it."""
        found = self.found
        return {
            "outcome": self.outcome.value,
            "violations": [vars(each) for each in found.violations],
            "warnings": [vars(each) for each in found.warnings],
            "requires": [vars(each) for each in found.requires],
            "spared": [vars(each) for each in found.spared],
            "error": self.error or None,
            "given": dict(self.given),
        }


def of_folder(evaluator: Evaluator, path: Path, options: Options) -> Attribution:
    """The set in a folder or bundle as it would be published; raises ``policy_invalid`` with every problem."""
    tree = read(path, options, None)
    found = check.check(tree, evaluator)
    raise_problems(Code.POLICY_INVALID, list(found.problems), remedy="mend every line above; nothing was evaluated")
    return Attribution(bundle.unpack(bundle.pack(tree.files, found.entries, options, found.modules, found.older)))


def judged(evaluator: Evaluator, attribution: Attribution, attached: Attached, point: Point, data: bytes) -> Trial:
    """The verdict of one set alone, without exemptions; never raises for what a decision would take for a deny."""
    entries = attribution.bundle.at(point.value)
    try:
        value = evaluator.evaluate(attribution.bundle, data)
        if value.keys() != {entry.rule for entry in attribution.bundle.entries}:
            raise fault(Fault.SHAPE_INVALID, "the reply does not name the rules that were asked for", "try again")
        given = {entry.rule: value[entry.rule] for entry in entries}
        said = understood(attribution.bundle, entries, given)
        several = any(attribution.ambiguous(one.rule) for one in said)
        told = evaluator.explain(attribution, data) if several else {}
        found = judge.judge(point, said, attached, lambda rule, one: attribution.find(rule, one, told), lambda _: "")
    except MandamusError as error:
        return Trial(Outcome.DENY, error=f"{error.context.get('fault', Fault.INTERNAL.value)}: {error.message}")
    Reasons(evaluator).add(attribution, found, data)
    approval = Outcome.NEEDS_APPROVAL if found.requires else Outcome.ALLOW
    return Trial(Outcome.DENY if found.violations else approval, found, given)


def point_of(attribution: Attribution, document: Mapping[str, Any], wanted: str | None) -> Point:
    """The point to ask at: the one that is wanted, else the input's, else the only one at which the set is asked."""
    points = sorted({entry.point for entry in attribution.bundle.entries})
    named = wanted or document.get("point") or (points[0] if len(points) == 1 else "")
    if named not in points:
        why = f"has no rule for the point {named!r}" if named else "is asked at several points, and none is named"
        raise MandamusError(Code.USAGE, f"the set {why}", remedy=f"name one with --point: {', '.join(points)}")
    return Point(named)


def document_for(attribution: Attribution, document: Mapping[str, Any], point: Point) -> bytes:
    """The canonical input; raises ``value_invalid``.

    That is when a rule reads the clock and the input does not say the time, and when no decision would take the input.
    """
    if attribution.bundle.clock and not isinstance(document.get("now"), str):
        raise MandamusError(
            Code.VALUE_INVALID,
            "a rule reads the clock, and the input has no `now`",
            remedy="""add it, for example with --set 'now="2027-01-31T18:00:00Z"'""",
        )
    data = canonical.dumps({**document, "point": point.value})
    if len(data) > INPUT_BYTES_MAX or judge.depth_exceeds(data, INPUT_DEPTH_MAX):
        raise MandamusError(
            Code.VALUE_INVALID,
            f"the input is larger than {INPUT_BYTES_MAX >> 20} MiB, or nested deeper than {INPUT_DEPTH_MAX}",
            remedy="give a smaller one: a decision about it would be a deny",
        )
    return data


def edited(document: Any, edits: Sequence[str]) -> Any:
    """The document with each ``path=json`` put into it; missing objects on the way are made.

    A path is written as in Rego, with or without ``input.``: ``change_set.changes[0].after["a-b"]``. One element may be
    added behind the last of an array. Raises ``usage`` or ``value_invalid``.
    """
    whole = {"input": document}
    for edit in edits:
        path, sign, text = edit.partition("=")
        steps = _steps(path.strip())
        if not sign or not steps:
            raise MandamusError(
                Code.USAGE,
                f"{edit!r} is no edit",
                remedy="""write it as --set 'change_set.changes[0].action="delete"'""",
            )
        _put(whole, ["input", *(steps[1:] if steps[0] == "input" else steps)], canonical.loads(text.encode()), edit)
    return whole["input"]


def _steps(path: str) -> list[str | int]:
    found: list[str | int] = []
    at = 0
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None or (at == 0 and not path[0].isidentifier()):
            return []
        name, index, quoted = match.groups()
        found.append(int(index) if index else str(canonical.loads(quoted.encode())) if quoted else name)
        at = match.end()
    return found


def _put(into: Any, steps: Sequence[str | int], value: Any, edit: str) -> None:
    *way, last = steps
    for step, following in zip(way, steps[1:], strict=True):
        if isinstance(into, dict) and isinstance(step, str) and step not in into:
            into[step] = [] if isinstance(following, int) else {}
        try:
            into = into[step]
        except (KeyError, IndexError, TypeError):
            raise _no_place(edit, step) from None
    if isinstance(into, list) and last == len(into):
        into.append(value)
        return
    if isinstance(into, dict) is not isinstance(last, str) or not isinstance(into, dict | list):
        raise _no_place(edit, last)
    try:
        holder: Any = into
        holder[last] = value
    except IndexError:
        raise _no_place(edit, last) from None


def _no_place(edit: str, step: str | int) -> MandamusError:
    return MandamusError(
        Code.VALUE_INVALID,
        f"{edit!r} has no place in the input: there is no {step!r}",
        remedy="look at the input first",
    )


def value_of(lends: Lends, attribution: Attribution, query: str, data: bytes) -> list[Any]:
    """The values of a term such as ``data.lib.names``; empty when it is undefined. Raises ``policy_invalid``."""
    asked = f"[v | v := {query}]"
    with lends.session() as session:
        refused = put(session, attribution.bundle, asked)
        reply = session.ask(data) if refused is None else None
    refusal = refused or (reply.refusal if reply else None)
    if refusal:
        raise MandamusError(
            Code.POLICY_INVALID,
            f"the query {query!r} has no answer: {refusal.message}",
            remedy="write it as one term, such as data.lib.names or count(input.change_set.changes)",
        )
    found = reply.value if reply else None
    return list(found) if isinstance(found, list) else []
