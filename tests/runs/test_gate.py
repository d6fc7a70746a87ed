"""The gate's own logic: what passes, what is refused when it is loaded, and how requirements add up."""

from __future__ import annotations

import dataclasses

import pytest

from mandamus.kernel import canonical
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import DecisionId, Digest, RunId
from mandamus.policy.model import Outcome, Point, Verdict, Violation
from mandamus.policy.model import Requirement as Asked
from mandamus.runs import approval, gate
from mandamus.runs.lifecycle import StepState
from mandamus.runs.model import Binding, PlanRecord, Requirement, StepRow

RUN = RunId("run_" + "0" * 26)


def digest(text: str) -> Digest:
    return canonical.digest(text.encode())


def binding(**changed):
    names = ("source", "workflow", "inputs", "environment", "tool_lock", "artifact", "change_set")
    fields = {name: digest(name) for name in names} | changed
    return Binding(run=RUN, step="one", state=None, sandbox="required", tries=1, expires_us=1, **fields)


def row(**changed):
    record = PlanRecord(digest("change_set"), digest("artifact"), None, {}, None, {})
    made = StepRow(
        run=RUN,
        name="one",
        ordinal=0,
        state=StepState.WAITING,
        attempt=1,
        tries_left=0,
        needs_left=0,
        not_before_us=0,
        binding=binding(),
        plan=record,
        requires=(Requirement("platform", 1),),
        judges=None,
        decisions=(DecisionId("dec_1"),),
        outputs=None,
        error=None,
    )
    return dataclasses.replace(made, **changed)


def verdict(outcome, violations=(), requires=(), error=None):
    return Verdict(
        point=Point.PLAN,
        outcome=outcome,
        violations=violations,
        warnings=(),
        requires=requires,
        input=b"{}",
        input_digest=digest("{}"),
        attached=(),
        engine="opa",
        duration_us=1,
        error=error,
        results=b"[]",
        notes=(),
        at_us=1,
    )


NO = verdict(Outcome.DENY, violations=(Violation("mandamus.plan.deny", "not that", "a.rego", 3, "another"),))
YES = verdict(Outcome.ALLOW)


def test_a_denied_judgement_does_not_pass():
    """One no among the verdicts closes the gate, with the rule's place and remedy."""
    with pytest.raises(MandamusError) as raised:
        gate.passed(row(), binding(), gate.Judgement((YES, NO), ()), ())
    assert raised.value.code is Code.POLICY_DENIED
    assert "a.rego:3" in raised.value.message
    assert raised.value.remedy == "another"


def test_trouble_of_policy_is_told_as_trouble():
    """A deny without a rule is the evaluator's trouble, and has a code of its own."""
    trouble = verdict(Outcome.DENY, error="timeout: too slow")
    assert gate.denial([trouble]).code is Code.POLICY_UNAVAILABLE
    assert gate.denial([trouble, NO]).code is Code.POLICY_DENIED


def test_what_passes_carries_what_it_stands_on():
    """The gate's word holds the binding, the requirements and the decisions."""
    asked = (Requirement("platform", 2),)
    made = gate.passed(row(), binding(), gate.Judgement((YES,), asked), (DecisionId("dec_2"),))
    assert (made.binding, made.requires, made.decisions) == (binding(), asked, (DecisionId("dec_2"),))


@pytest.mark.parametrize(
    "changed",
    [
        {"binding": None},
        {"plan": None},
        {"binding": binding(change_set=digest("other"))},
        {"binding": binding(artifact=digest("other"))},
    ],
)
def test_rows_that_do_not_fit_are_not_loaded(changed):
    """A row without a binding or a plan, or whose binding names another plan, is refused."""
    with pytest.raises(MandamusError) as raised:
        gate.load(row(**changed), ())
    assert raised.value.code is Code.DIGEST_MISMATCH


def test_loading_adds_the_decisions_made_since():
    """After a wait the last word stands beside the first."""
    assert gate.load(row(), (DecisionId("dec_2"),)).decisions == (DecisionId("dec_1"), DecisionId("dec_2"))


def test_the_most_that_is_asked_of_a_group_counts():
    """Of several requirements for one group the largest count wins, and every reason is told once."""
    asked = [
        Requirement("b", 1, "x"),
        Requirement("a", 1, "look"),
        Requirement("a", 3, "danger"),
        Requirement("a", 2, "look"),
    ]
    assert gate.merged(asked) == (Requirement("a", 3, "look; danger"), Requirement("b", 1, "x"))


def test_judgements_add_up():
    """Together: every verdict in order, and the most of what each asks for."""
    one = gate.Judgement((YES,), (Requirement("a", 1),))
    other = gate.Judgement((NO,), (Requirement("a", 2),))
    both = gate.together(one, other)
    assert both.verdicts == (YES, NO)
    assert both.requires == (Requirement("a", 2),)
    assert both.denied


def test_nobody_is_enough_only_when_nobody_is_asked():
    """Without a wait only a plan that needs nobody is approved."""
    free = gate.passed(row(), binding(), gate.Judgement((YES,), ()), ())
    assert approval.nobody(free).approvals == ()
    asked = gate.passed(row(), binding(), gate.Judgement((YES,), (Requirement("a", 1),)), ())
    with pytest.raises(MandamusError) as raised:
        approval.nobody(asked)
    assert raised.value.code is Code.APPROVAL_REFUSED


def test_requirements_of_policy_and_of_the_environment():
    """A rule that names no group means the environment's own approvers, and the larger count of both."""
    asked = Asked("", 2, "look")
    environment = gate.Environment("prod", approvers={"platform": 1, "security": 3})
    found = gate._requirements([verdict(Outcome.NEEDS_APPROVAL, requires=(asked,))], environment)
    assert [(each.group, each.count) for each in found] == [("platform", 2), ("security", 3)]
    nobody = gate._requirements([verdict(Outcome.NEEDS_APPROVAL, requires=(asked,))], gate.Environment("dev"))
    assert [(each.group, each.count) for each in nobody] == [("", 2)]
