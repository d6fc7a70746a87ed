"""What moves between plan and apply: judged again or planned again, never applied as it was."""

from __future__ import annotations

import pytest

from mandamus.kernel.errors import MandamusError
from mandamus.runs.lifecycle import RunState

ASK = 'package mandamus.plan\n\nrequire_approval contains {"group": "platform", "count": 1, "msg": "look"}\n'
ASK_TWO = ASK.replace('"count": 1', '"count": 2')
FROZEN = ASK + "\n"


@pytest.fixture
def waiting(stage):
    """A run of ada's that waits for two of platform and has grace's yes."""
    stage.policy(ASK_TWO)
    stage.workflow("one: {act: {}}")
    run = stage.ask("ada")
    stage.decide("grace", run)
    return run


def moves(stage, run):
    """What the log says moved, with what followed."""
    house = stage.houses[-1]
    leaves = [leaf.bytes for leaf in house.audit.events(run.id)]
    return [leaf for leaf in leaves if b'"step.moved"' in leaf]


def test_policy_moves_with_the_same_answer(stage, waiting):
    """Another policy set that asks for the same keeps the approvals; the new decision is recorded."""
    stage.policy(ASK_TWO + "\n# the same, said anew\n")
    run = stage.decide("joan", waiting)
    assert run.state is RunState.SUCCEEDED
    assert stage.act.planned == [("one", 1)]
    assert len(moves(stage, run)) == 1


def test_policy_moves_with_another_answer(stage, waiting):
    """A set that asks for other people makes every old yes void: the question is another one."""
    stage.policy(ASK_TWO + 'require_approval contains {"group": "security", "count": 1, "msg": "also"}\n')
    run = stage.decide("joan", waiting)
    assert run.state is RunState.WAITING
    assert stage.act.applied == []
    assert stage.decide("grace", run).state is RunState.WAITING


def test_policy_moves_to_a_deny(stage, waiting):
    """A set that denies what people have approved wins."""
    stage.policy('package mandamus.plan\n\ndeny contains "not any more"\n')
    run = stage.decide("joan", waiting)
    assert run.state is RunState.DENIED
    assert stage.act.applied == []


def test_the_environment_moves(stage, waiting):
    """A changed variable changes what is planned: it is planned again, and the approvals are void."""
    platform = (stage.project / "platform.yaml").read_text()
    stage.apply(platform.replace("region: north", "region: south"))
    run = stage.decide("joan", waiting)
    assert run.state is RunState.WAITING
    assert stage.act.planned == [("one", 1), ("one", 1)]
    assert stage.act.applied == []
    stage.decide("grace", run)
    assert stage.decide("joan", run).state is RunState.SUCCEEDED


def test_the_project_moves(stage, waiting):
    """A run works from the snapshot it was admitted with: later edits change nothing of it."""
    stage.workflow("one: {act: {other: thing}}")
    run = stage.decide("joan", waiting)
    assert run.state is RunState.SUCCEEDED
    assert stage.step(run, "one").outputs == {}


def test_a_freeze_is_asked_last(stage, waiting):
    """The point ``apply`` is asked right before the effect, and its deny ends the step."""
    stage.policy(ASK_TWO + "\n")
    (stage.project / "policy" / "freeze.rego").write_text(
        'package mandamus.apply\n\ndeny contains "freeze" if count(input.approvals) == 2\n'
    )
    stage.apply()
    run = stage.decide("joan", waiting)
    assert run.state is RunState.DENIED
    assert stage.act.applied == []


def test_the_apply_point_may_ask_for_people(stage):
    """A requirement of the point ``apply`` holds, also when the plan needed nobody."""
    (stage.project / "policy" / "window.rego").write_text(
        'package mandamus.apply\n\nrequire_approval contains {"group": "security", "count": 1, "msg": "out of hours"}\n'
    )
    stage.apply()
    stage.workflow("one: {act: {}}")
    run = stage.ask("ada")
    assert run.state is RunState.WAITING
    with pytest.raises(MandamusError):
        stage.decide("grace", run)
    assert stage.decide("joan", run).state is RunState.SUCCEEDED


def test_a_frozen_plan_asks_again_after_approval(stage):
    """A requirement that first shows when the approvals are there makes the step wait for those people too."""
    stage.policy(ASK)
    (stage.project / "policy" / "window.rego").write_text(
        'package mandamus.apply\n\nrequire_approval contains {"group": "security", "count": 1, "msg": "late"}\n'
    )
    stage.apply()
    stage.workflow("one: {act: {}}")
    run = stage.ask("ada")
    assert stage.decide("grace", run).state is RunState.WAITING
    assert stage.act.applied == []
    assert stage.decide("joan", run).state is RunState.SUCCEEDED
