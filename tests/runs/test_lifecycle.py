"""The tables of a run's life."""

import itertools

import pytest

from mandamus.kernel.errors import Code, MandamusError
from mandamus.runs.lifecycle import (
    STEP_CLOSED,
    STEP_TABLE,
    RunState,
    StepEvent,
    StepState,
    fold,
    run_outcome,
    step_after,
)


def test_every_pair_is_in_the_table_or_an_error_value():
    """An illegal transition raises `transition_illegal`; it never crashes and never guesses."""
    for state, event in itertools.product(StepState, StepEvent):
        if (state, event) in STEP_TABLE:
            assert step_after(state, event) is STEP_TABLE[state, event]
        else:
            with pytest.raises(MandamusError) as caught:
                step_after(state, event)
            assert caught.value.code is Code.TRANSITION_ILLEGAL


def test_an_effect_begins_only_from_a_plan_that_was_judged():
    """Nothing reaches `applying` except from `planned` or `waiting`, and success only follows an effect."""
    assert {s for (s, e), after in STEP_TABLE.items() if after is StepState.APPLYING} == {
        StepState.PLANNED,
        StepState.WAITING,
    }
    assert {s for (s, e), after in STEP_TABLE.items() if after is StepState.SUCCEEDED} == {
        StepState.APPLYING,
        StepState.INDETERMINATE,
    }


def test_a_closed_step_opens_only_by_a_retry():
    """From a closed state the one way on is a retry, and what succeeded stays."""
    for (state, event), after in STEP_TABLE.items():
        if state in STEP_CLOSED:
            assert (event, after) == (StepEvent.RETRY, StepState.PENDING)
            assert state is not StepState.SUCCEEDED


@pytest.mark.parametrize(
    ("states", "outcome"),
    [
        (["succeeded", "applying", "failed"], RunState.RUNNING),
        (["succeeded", "pending"], RunState.RUNNING),
        (["waiting", "pending"], RunState.WAITING),
        (["indeterminate", "waiting"], RunState.INDETERMINATE),
        (["failed", "pending"], RunState.FAILED),
        (["denied", "succeeded"], RunState.DENIED),
        (["rejected", "skipped"], RunState.REJECTED),
        (["expired"], RunState.FAILED),
        (["succeeded", "skipped"], RunState.SUCCEEDED),
        ([], RunState.SUCCEEDED),
    ],
)
def test_a_run_is_what_its_steps_make_it(states: list[str], outcome: RunState):
    """The worst word wins; a run waits only when nothing moves."""
    assert run_outcome([StepState(s) for s in states], plan_only=False, cancelled=False) is outcome


def test_a_story_folds_to_its_states():
    """The leaves of a run fold to the states the rows must show."""
    folded = fold(
        [
            {"kind": "run.requested", "data": {}},
            {"kind": "run.admitted", "data": {}},
            {"kind": "step.planned", "step": "a", "data": {}},
            {"kind": "step.waiting", "step": "a", "data": {}},
            {"kind": "step.moved", "step": "a", "data": {"then": "plan"}},
            {"kind": "step.planned", "step": "a", "data": {}},
            {"kind": "effect.intended", "step": "a", "data": {}},
            {"kind": "step.finished", "step": "a", "data": {"state": "failed"}},
            {"kind": "run.closed", "data": {"state": "failed"}},
            {"kind": "run.retried", "data": {"steps": ["a"]}},
            {"kind": "step.planned", "step": "a", "data": {}},
            {"kind": "effect.intended", "step": "a", "data": {}},
            {"kind": "effect.indeterminate", "step": "a", "data": {}},
            {"kind": "effect.settled", "step": "a", "data": {}},
            {"kind": "step.finished", "step": "a", "data": {"state": "succeeded"}},
            {"kind": "run.closed", "data": {"state": "succeeded"}},
        ]
    )
    assert folded.run is RunState.SUCCEEDED
    assert folded.steps == {"a": StepState.SUCCEEDED}
