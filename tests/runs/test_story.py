"""The path of a run through a whole house: requested, planned, judged, approved, applied, closed, and every way out."""

from __future__ import annotations

import pytest

from mandamus.executors.model import Applied
from mandamus.kernel.errors import Code, MandamusError
from mandamus.runs.lifecycle import RunState

ASK = 'package mandamus.plan\n\nrequire_approval contains {"group": "platform", "count": 1, "msg": "look"}\n'
ASK_TWO = 'package mandamus.plan\n\nrequire_approval contains {"group": "platform", "count": 2, "msg": "look"}\n'
CHAIN = """
one: {act: {value: "${{ inputs.x }}"}}
two: {needs: [one], act: {got: "${{ steps.one.outputs.value }}"}}
"""


def failing(message="no"):
    error = MandamusError(Code.TOOL_FAILED, message, remedy="mend it")
    return lambda _task: Applied(ok=False, error=error)


def test_what_nobody_has_to_approve_is_applied_at_once(stage):
    """Steps run in the order of their needs, and a step reads the outputs of those it needs."""
    stage.workflow(CHAIN)
    run = stage.ask(x="hello")
    assert run.state is RunState.SUCCEEDED
    assert stage.act.applied == [("one", 1), ("two", 1)]
    assert stage.step(run, "two").outputs == {"got": "hello"}
    assert run.evidence is not None


def test_the_events_of_a_run_tell_its_story(stage):
    """Every stage leaves its event, intent before result, and the run's end is the last."""
    stage.workflow("one: {act: {}}")
    run = stage.ask()
    assert stage.kinds(run) == [
        "run.requested",
        "decision.recorded",
        "run.admitted",
        "step.planned",
        "decision.recorded",
        "decision.recorded",
        "decision.recorded",
        "effect.intended",
        "step.finished",
        "effect.finished",
        "run.closed",
    ]


def test_a_denied_plan_is_never_applied(stage):
    """A deny at the plan names rule, file, line and remedy; nothing of the step or after it is applied."""
    stage.policy(
        'package mandamus.plan\n\ndeny contains {"msg": "not that", "remedy": "another"} if {\n'
        '\tinput.change_set.changes[_].after.value == "bad"\n}\n'
    )
    stage.workflow(CHAIN)
    run = stage.ask(x="bad")
    assert run.state is RunState.DENIED
    assert stage.act.applied == []
    assert stage.states(run) == {"one": "denied", "two": "skipped"}
    violation = run.error["context"]["violations"][0]
    assert (violation["rule"], violation["file"], violation["line"]) == ("mandamus.plan.deny", "rules.rego", 3)
    assert violation["remedy"] == "another"


def test_a_run_denied_at_the_trigger_has_no_steps(stage):
    """Policy may refuse a run before anything is planned; that run is closed and sealed too."""
    stage.policy('package mandamus.trigger\n\ndeny contains "not now" if input.run.requester.user == "ada"\n')
    stage.workflow(CHAIN)
    run = stage.ask()
    assert run.state is RunState.DENIED
    assert stage.act.planned == []
    assert run.evidence is not None


def test_a_step_denied_before_its_plan_starts_no_tool(stage):
    """The point ``step`` is asked before the tool is started."""
    stage.policy('package mandamus.step\n\ndeny contains "no such tool" if input.step.executor == "act"\n')
    stage.workflow(CHAIN)
    run = stage.ask()
    assert run.state is RunState.DENIED
    assert stage.act.planned == []


def test_a_requester_cannot_approve(stage):
    """Nobody approves what they made; the refusal is recorded, and the run still waits."""
    stage.policy(ASK)
    stage.workflow("one: {act: {}}")
    run = stage.ask("ada")
    assert run.state is RunState.WAITING
    with pytest.raises(MandamusError) as raised:
        stage.decide("ada", run)
    assert raised.value.code is Code.APPROVAL_REFUSED
    assert "approval.refused" in stage.kinds(run)
    assert stage.act.applied == []


def test_the_owner_who_configured_cannot_approve(stage):
    """Whoever changed the policy or the approvers is a maker too, the owner of the home not excepted."""
    stage.policy(ASK)
    stage.workflow("one: {act: {}}")
    run = stage.ask("ada")
    with pytest.raises(MandamusError) as raised:
        stage.decide(None, run)
    assert raised.value.code is Code.APPROVAL_REFUSED


def test_an_approved_plan_is_applied(stage):
    """The yes of another member of the group lets the run go on by itself."""
    stage.policy(ASK)
    stage.workflow(CHAIN)
    run = stage.ask("ada", x="hello")
    assert stage.act.applied == []
    stage.decide("grace", run)
    again = stage.decide("joan", run)
    assert again.state is RunState.SUCCEEDED
    assert stage.act.planned == [("one", 1), ("two", 1)]


def test_n_of_m_people(stage):
    """Two approvals are two people: one person's second yes is refused, another one's counts."""
    stage.policy(ASK_TWO)
    stage.workflow("one: {act: {}}")
    run = stage.ask("ada")
    assert stage.decide("grace", run).state is RunState.WAITING
    with pytest.raises(MandamusError):
        stage.decide("grace", run)
    assert stage.decide("joan", run).state is RunState.SUCCEEDED


def test_only_members_are_asked(stage):
    """A yes from somebody outside the group that is asked does not count."""
    stage.policy('package mandamus.plan\n\nrequire_approval contains {"group": "security", "count": 1, "msg": "x"}\n')
    stage.workflow("one: {act: {}}")
    run = stage.ask("ada")
    with pytest.raises(MandamusError) as raised:
        stage.decide("grace", run)
    assert "joan" in raised.value.remedy
    assert stage.decide("joan", run).state is RunState.SUCCEEDED


def test_one_no_ends_it(stage):
    """A rejection closes the step with its reason; nothing is applied."""
    stage.policy(ASK)
    stage.workflow(CHAIN)
    run = stage.decide("grace", stage.ask("ada"), "reject", reason="wrong region")
    assert run.state is RunState.REJECTED
    assert "wrong region" in run.error["message"]
    assert stage.act.applied == []


def test_a_no_is_for_those_who_are_asked(stage):
    """Nobody ends a step for a group they are not in, whichever they name."""
    stage.policy('package mandamus.plan\n\nrequire_approval contains {"group": "security", "count": 1, "msg": "x"}\n')
    stage.workflow("one: {act: {}}")
    run = stage.ask("ada")
    for group in (None, "security", "platform"):
        with pytest.raises(MandamusError, match="not in a group that is asked"):
            stage.decide("grace", run, "reject", group=group)
    with pytest.raises(MandamusError, match="not in a group that is asked"):
        stage.decide("joan", run, "reject", group="platform")
    assert stage.decide("joan", run, "reject", group="security").state is RunState.REJECTED


def test_time_to_decide_runs_out(stage):
    """After the environment's time the step expires when the run is looked at, and a late yes is refused."""
    stage.policy(ASK)
    stage.workflow("one: {act: {}}")
    run = stage.ask("ada")
    stage.clock.ahead_s += 90_000
    with pytest.raises(MandamusError):
        stage.decide("grace", run)
    assert stage.act.applied == []


def test_a_failed_step_stops_those_that_need_it(stage):
    """A failure is told with the tool's own words; independent steps still run."""
    stage.act.script["one"] = failing("it broke")
    stage.workflow(CHAIN + "\nthree: {act: {}}\n")
    run = stage.ask()
    assert run.state is RunState.FAILED
    assert stage.states(run) == {"one": "failed", "two": "skipped", "three": "succeeded"}
    assert "it broke" in run.error["message"]


def test_a_step_is_tried_again(stage):
    """``retry`` gives a failed step its further attempts, each with a plan and an effect of its own."""
    stage.act.script["one"] = lambda task: failing()(task) if task.attempt < 3 else Applied(ok=True)
    stage.workflow("one: {retry: {attempts: 3, backoff: 0s}, act: {}}")
    run = stage.ask()
    assert run.state is RunState.SUCCEEDED
    assert stage.act.applied == [("one", 1), ("one", 2), ("one", 3)]


def test_another_attempt_at_the_same_plan_needs_no_new_yes(stage):
    """Approvals are bound to the plan: whoever said yes to it is not asked again, and nobody waits for them."""
    stage.policy(ASK)
    stage.act.script["one"] = lambda task: failing()(task) if task.attempt < 2 else Applied(ok=True)
    stage.workflow("one: {retry: {attempts: 2, backoff: 0s}, act: {}}")
    run = stage.decide("grace", stage.ask("ada"))
    assert run.state is RunState.SUCCEEDED
    assert stage.act.applied == [("one", 1), ("one", 2)]


def test_retry_of_a_run_keeps_what_succeeded(stage):
    """``runs retry`` goes on from the failed step; the run is closed and sealed again."""
    stage.act.script["two"] = failing()
    stage.workflow(CHAIN)
    failed = stage.ask()
    assert failed.state is RunState.FAILED
    del stage.act.script["two"]
    house = stage.house("ada")
    house.runs.retry(house.who, failed.id, reason="mended")
    run = stage.drive(house, failed.id)
    assert run.state is RunState.SUCCEEDED
    assert [name for name, _ in stage.act.applied] == ["one", "two", "two"]
    assert run.evidence not in {None, failed.evidence}


def test_a_false_condition_skips(stage):
    """``if`` decides whether a step runs; what needs it runs all the same."""
    stage.workflow('one: {if: "${{ inputs.x == \\"go\\" }}", act: {}}\ntwo: {needs: [one], act: {}}')
    run = stage.ask(x="stay")
    assert run.state is RunState.SUCCEEDED
    assert stage.states(run) == {"one": "skipped", "two": "succeeded"}


def test_a_plan_never_applies(stage):
    """A speculative run plans and judges what can be known, and applies nothing."""
    stage.policy(ASK)
    stage.workflow(CHAIN + "\nthree: {needs: [one], act: {}}\n")
    run = stage.ask(plan_only=True)
    assert run.state is RunState.PLANNED
    assert stage.states(run) == {"one": "planned", "two": "skipped", "three": "planned"}
    assert stage.act.applied == []


def test_steps_run_side_by_side(stage):
    """Ready steps do not wait for each other."""
    waiting = []

    def meet(task):
        waiting.append(task.step)
        deadline = stage.clock.monotonic_s() + 10
        while len(waiting) < 3 and stage.clock.monotonic_s() < deadline:
            task.cancel.wait(0.01)
        return Applied(ok=len(waiting) == 3, error=None if len(waiting) == 3 else failing()(task).error)

    for name in ("a", "b", "c"):
        stage.act.script[name] = meet
    stage.workflow("a: {act: {}}\nb: {act: {}}\nc: {act: {}}")
    assert stage.ask().state is RunState.SUCCEEDED


def test_an_unknown_environment_or_workflow_is_told(stage):
    """What makes a request impossible is an error with a remedy, and no run."""
    stage.workflow("one: {act: {}}")
    with pytest.raises(MandamusError) as raised:
        stage.ask(name="nothing")
    assert raised.value.remedy
    assert stage.houses[-1].runs.list(stage.houses[-1].who) == []
