"""A recorded decision as a test of its set: a Rego file that compares, and beside it a JSON file with the record.

The test asks the set's own rules for the recorded input and holds what each gives against the record. Nothing of the
record stands in the Rego, and the data stands under ``data.golden``, which no rule of a set has to know.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mandamus.kernel import canonical
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Digest
from mandamus.policy.attribution import Attribution
from mandamus.policy.engine import Lends, put
from mandamus.policy.model import ROOT, RULE, Bundle, Decision, Entry
from mandamus.policy.profile_foreign import DOCUMENT
from mandamus.policy.query import reference_to

NAME = re.compile(r"[a-z][a-z0-9_]*")
_PLAIN = f"v := {RULE}"


@dataclass(frozen=True)
class Golden:
    """The files of a test by name."""

    name: str
    files: Mapping[str, str]


def golden(lends: Lends, decision: Decision, digest: Digest, attribution: Attribution, name: str) -> Golden:
    """The test of one of the decision's sets.

    Raises ``usage`` for a name that Rego does not take and ``value_invalid`` for a decision in which the set gave no
    answer, or whose rules judge a document that cannot be made again.
    """
    if not NAME.fullmatch(name):
        raise MandamusError(
            Code.USAGE, f"{name!r} cannot be part of a rule's name", remedy="use small letters, digits and underscores"
        )
    recorded = {each["set"]: each["value"] for each in canonical.loads(decision.verdict.results)}.get(digest)
    if recorded is None:
        raise MandamusError(
            Code.VALUE_INVALID,
            f"in {decision.id} the set {digest} gave no answer: {decision.verdict.error or 'it was not asked'}",
            remedy="choose a decision in which it gave one",
        )
    bundle = attribution.bundle
    entries = bundle.at(decision.verdict.point.value)
    document = canonical.loads(decision.verdict.input)
    if all(entry.body == _PLAIN for entry in entries):
        expected = recorded
    else:
        document, expected = _foreign(lends, bundle, entries, decision)
    kept = {"decision": decision.id, "input": document, "expected": expected, "now": _now(decision)}
    data = {"golden": {name: kept}}
    rego = _rego(name, [entry.rule for entry in entries], clock=bundle.clock)
    return Golden(name, {f"{name}_test.rego": rego, f"{name}.json": _pretty(data)})


def _foreign(lends: Lends, bundle: Bundle, entries: tuple[Entry, ...], decision: Decision) -> tuple[Any, Any]:
    """The document that a convention's rules judged, and what they give for it, without the convention around them."""
    rules = sorted({entry.rule for entry in entries})
    asked = ", ".join(f"{json.dumps(rule)}: {_given(rule, 'd', clock=bundle.clock)}" for rule in rules)
    query = f"[[d, {{{asked}}}] | d := {DOCUMENT}]"
    with lends.session() as session:
        refused = put(session, bundle, query)
        value = None if refused else session.ask(decision.verdict.input).value
    if not value:
        raise MandamusError(
            Code.VALUE_INVALID,
            f"the document that rules of the profile {bundle.options.profile} judge cannot be told for {decision.id}",
            remedy=f"only sets of the profile {ROOT}, and those that judge one document, can be saved as tests",
        )
    return value[0][0], value[0][1]


def _rego(name: str, rules: list[str], *, clock: bool) -> str:
    head = (
        "package golden_test\n\n# What every rule of the set said when the decision was made.\n"
        f"# The input and the answers are in {name}.json.\n"
    )
    lines = [f"test_{name} if {{", f'\tkept := data.golden["{name}"]']
    for rule in sorted(set(rules)):
        # A set is an array in JSON, and the type beside it tells which it was.
        given = f"json.unmarshal(json.marshal({_given(rule, 'kept.input', clock=clock, now='kept.now')}))"
        lines.append(f"\t{given} == kept.expected[{json.dumps(rule)}]")
    return head + "\n".join([*lines, "}", ""])


def _given(rule: str, document: str, *, clock: bool, now: str = "input.now") -> str:
    time = f" with time.now_ns as time.parse_rfc3339_ns({now})" if clock else ""
    return f"[[type_name(v), v] | v := {reference_to(rule)} with input as {document}{time}]"


def _now(decision: Decision) -> Any:
    return canonical.loads(decision.verdict.input).get("now")


def _pretty(data: Any) -> str:
    """Exact numbers, one key a line, so that a change of the file can be read."""
    return "".join(_lines(data, "")) + "\n"


def _lines(value: Any, margin: str) -> Any:
    inner = margin + "  "
    if isinstance(value, dict) and value:
        yield "{\n"
        for count, key in enumerate(sorted(value)):
            yield (",\n" if count else "") + f"{inner}{json.dumps(key)}: "
            yield from _lines(value[key], inner)
        yield f"\n{margin}}}"
    elif isinstance(value, list) and value:
        yield "[\n"
        for count, item in enumerate(value):
            yield (",\n" if count else "") + inner
            yield from _lines(item, inner)
        yield f"\n{margin}]"
    else:
        yield canonical.dumps(value).decode()
