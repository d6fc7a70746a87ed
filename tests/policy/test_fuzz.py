"""Thousands of odd replies and odd inputs: an allow comes from exactly one form of reply and one kind of input."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mandamus.kernel.attachment import Attached
from mandamus.kernel.ids import Ids
from mandamus.policy.engine import Inspection
from mandamus.policy.model import Outcome, Point
from mandamus.policy.service import Policy

CALM = 'package mandamus.plan\n\ndeny contains "no" if input.never\n'
RULES = """package mandamus.plan

deny contains "bad" if input.bad == true
deny contains {"msg": sprintf("%s is public", [c.name]), "meta": c} if {
	some c in input.changes
	c.public == true
}
deny contains "far" if to_number(input.text) > 5
require_approval contains {"group": g, "count": n} if some g, n in input.groups
warn contains sprintf("%v", [input.note]) if input.note
"""
EVERY_RULE = f"""{CALM}
require_approval contains "ask" if input.never
warn contains "hm" if input.never
"""
EMPTY = [["set", []]]

_TEXTS = st.text(max_size=6)
_SCALARS = st.none() | st.booleans() | st.integers() | _TEXTS | st.decimals(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=6,
)


class Answers:
    """An evaluator that answers what the test says: the fault is what is tested."""

    name = "answers"

    def __init__(self) -> None:
        self.value: Any = None

    def evaluate(self, _bundle: object, _data: bytes) -> Any:
        """Whatever was put there."""
        return self.value

    def explain(self, _attribution: object, _data: bytes) -> Mapping[int, Sequence[Any]]:
        """Nothing: lines do not matter here."""
        return {}

    def inspect(self, _modules: object, _data: bytes) -> Inspection:
        """Never asked."""
        raise NotImplementedError

    def prepare(self, _sets: object) -> None:
        """Never asked."""

    def close(self) -> None:
        """Nothing to end."""


@pytest.fixture
def answers(sqlite_database, blobs, audit, real_clock, entropy, publish):
    """The verdict on a calm, published set for any value that an engine might give."""
    digest = publish({"p.rego": EVERY_RULE})
    evaluator = Answers()
    policy = Policy(sqlite_database, blobs, audit, evaluator, real_clock, Ids(real_clock, entropy))

    def answered(value: Any) -> Outcome:
        known = isinstance(value, dict)
        evaluator.value = {f"mandamus.plan.{rule}": given for rule, given in value.items()} if known else value
        return policy.decide(Point.PLAN, {}, [Attached(digest)], protected=True, now_us=0).outcome

    return answered


_MEMBERS = st.lists(_TEXTS | st.fixed_dictionaries({"msg": _TEXTS}) | JSON, max_size=2)
_TYPED = st.tuples(st.sampled_from(["set", "array", "object", "boolean", ""]), _MEMBERS | JSON).map(list)
_GIVEN = st.one_of(st.just([]), st.just(EMPTY), st.lists(_TYPED, max_size=2), JSON)
_REPLIES = st.one_of(
    st.fixed_dictionaries({"deny": _GIVEN, "require_approval": _GIVEN, "warn": _GIVEN}),
    st.fixed_dictionaries({"deny": _GIVEN}, optional={"require_approval": _GIVEN, "warn": _GIVEN, "allow": JSON}),
    JSON,
)


def sound(member: object) -> bool:
    """Whether it is a member that ``warn`` may have."""
    if isinstance(member, str):
        return member != ""
    if not isinstance(member, dict):
        return False
    msg, meta, remedy = member.get("msg"), member.get("meta", {}), member.get("remedy", "x")
    return isinstance(msg, str) and msg != "" and isinstance(meta, dict) and isinstance(remedy, str) and remedy != ""


def means_allow(value: object) -> bool:
    """The one form of reply that allows, said once more and apart from the code."""
    if not isinstance(value, dict) or sorted(value) != ["deny", "require_approval", "warn"]:
        return False
    if value["deny"] != EMPTY or value["require_approval"] != EMPTY:
        return False
    match value["warn"]:
        case [["set", list() as members]]:
            return all(sound(member) for member in members)
        case _:
            return False


@pytest.mark.parametrize("rounds", [40, pytest.param(400, marks=pytest.mark.slow)])
def test_only_one_form_of_reply_allows(answers, rounds):
    """Thousands of replies, most of them nearly right: each allows exactly if it is the well-formed allow."""

    @settings(max_examples=rounds, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(_REPLIES, min_size=40, max_size=40))
    def check(values: list[Any]) -> None:
        for value in values:
            assert (answers(value) is Outcome.ALLOW) == means_allow(value), value

    check()


def test_the_form_that_allows_is_reached(answers):
    """The oracle above is not empty, and a requirement is not an allow."""
    assert answers({"deny": EMPTY, "require_approval": EMPTY, "warn": EMPTY}) is Outcome.ALLOW
    assert answers({"deny": EMPTY, "require_approval": EMPTY, "warn": [["set", ["x"]]]}) is Outcome.ALLOW
    asked = {"deny": EMPTY, "require_approval": [["set", ["x"]]], "warn": EMPTY}
    assert answers(asked) is Outcome.NEEDS_APPROVAL
    assert answers({"deny": EMPTY, "require_approval": EMPTY, "warn": []}) is Outcome.DENY


_FIELDS = {
    "changes": st.lists(st.fixed_dictionaries({}, optional={"name": JSON, "public": JSON}), max_size=3) | JSON,
    "text": st.sampled_from(["1", "9", "x", "", "1e400", None, 7]) | JSON,
    "groups": st.dictionaries(_TEXTS, st.integers(-1, 3) | JSON, max_size=2) | JSON,
    "note": JSON,
    "bad": JSON,
}
_DOCUMENTS = st.fixed_dictionaries({}, optional=_FIELDS)


@pytest.mark.parametrize("rounds", [15, pytest.param(250, marks=pytest.mark.slow)])
def test_no_input_talks_its_way_past_a_rule(decide, publish, rounds):
    """What must be denied is denied whatever else stands in the input; what breaks a rule is denied as well."""
    digest = publish({"p.rego": RULES})

    @settings(max_examples=rounds, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(_DOCUMENTS, min_size=40, max_size=40))
    def check(documents: list[dict[str, Any]]) -> None:
        for document in documents:
            assert decide({**document, "bad": True}, [digest]).outcome is Outcome.DENY
            verdict = decide(document, [digest])
            if verdict.outcome is Outcome.ALLOW:
                assert verdict.error is None
                assert not must_be_denied(document)
            if verdict.error is not None:
                assert verdict.outcome is Outcome.DENY

    check()


def must_be_denied(document: dict[str, Any]) -> bool:
    """Whether one of the rules above fires, said once more in Python."""
    public = [change for change in listed(document.get("changes")) if isinstance(change, dict) and "name" in change]
    return (
        document.get("bad") is True
        or document.get("text") in ("9", 7)
        or any(change.get("public") is True for change in public)
    )


def listed(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def test_a_warm_decision_is_quick(decide, publish):
    """How long one takes is shown, for a small input and for a plan of 200 changes; no time is asserted."""
    digest = publish({"p.rego": RULES})
    change = {"address": "a.b", "name": "b", "public": False, "after": {f"k{n}": "x" * 20 for n in range(30)}}
    for name, document, rounds in (("small", {"note": "fine"}, 300), ("200 changes", {"changes": [change] * 200}, 20)):
        took = []
        for _ in range(rounds):
            started = time.perf_counter()
            assert decide(document, [digest]).outcome is Outcome.ALLOW
            took.append(time.perf_counter() - started)
        sys.stdout.write(f"{name}: median {statistics.median(took) * 1000:.2f} ms\n")


def test_numbers_reach_the_rule_as_they_are(decide, publish):
    """A fraction is compared by its value, never as a rounded one that slips under a limit."""
    digest = publish({"p.rego": 'package mandamus.plan\n\ndeny contains "over" if input.n > 0.3\n'})
    over, under = Decimal("0.30000000000000000000001"), Decimal("0.29999999999999999999999")
    assert decide({"n": over}, [digest]).outcome is Outcome.DENY
    assert decide({"n": under}, [digest]).outcome is Outcome.ALLOW
