"""What the newest plans found changed outside is known until something is applied or planned anew."""

from __future__ import annotations

import dataclasses

import pytest

from mandamus.kernel import canonical
from mandamus.kernel.access import Area
from mandamus.kernel.ids import Digest, Ids
from mandamus.runs import store
from mandamus.runs.drift import drifted
from mandamus.runs.lifecycle import StepState
from mandamus.runs.model import PlanRecord

NOTHING = Digest("sha256:" + "0" * 64)


@pytest.fixture
def planned(database, clock, entropy, some_run):
    """Writes a run whose steps have these plans: how many objects had drifted, and where the step is now; its id."""
    ids = Ids(clock, entropy)

    def write(*steps: tuple[int | None, StepState], **given: str) -> str:
        clock.advance(60)
        made = dataclasses.replace(some_run, id=ids.run(), requested_us=clock.now_us(), **given)
        rows = [{"name": f"s{at}", "needs": (), "tries": 1, "changed_us": 0} for at in range(len(steps))]
        with database.begin("test") as tx:
            store.insert_run(tx.conn, made)
            store.insert_steps(tx.conn, made.id, rows)
            for at, (drift, state) in enumerate(steps):
                plan = None if drift is None else PlanRecord(NOTHING, NOTHING, None, {}, None, {}, drift)
                values = {} if plan is None else {"plan": canonical.dumps(plan.to_json())}
                store.update_step(tx.conn, made.id, f"s{at}", 0, state=state.value, **values)
        return made.id

    return write


def found(database, **options) -> dict[str, dict[str, int]]:
    """What is known of drift now, by run."""
    with database.read() as conn:
        return {each.run: dict(each.steps) for each in drifted(store.planned_lately(conn, 50, **options))}


def test_the_newest_plan_tells(database, planned):
    """Of each workflow in each environment; a run that never planned says nothing, a clean plan says it is gone."""
    planned((1, StepState.PLANNED))
    newer = planned((2, StepState.PLANNED), (0, StepState.PLANNED), (3, StepState.WAITING))
    other = planned((4, StepState.DENIED), environment="prod")
    planned((None, StepState.DENIED), environment="prod")
    assert found(database) == {newer: {"s0": 2, "s2": 3}, other: {"s0": 4}}
    assert found(database, areas=(Area(environments=frozenset({"prod"})),)) == {other: {"s0": 4}}
    planned((0, StepState.PLANNED))
    assert found(database) == {other: {"s0": 4}}


def test_what_is_applied_has_drifted_no_more(database, planned):
    """An apply puts right what its plan found; a step that failed has not."""
    run = planned((2, StepState.SUCCEEDED), (3, StepState.FAILED))
    assert found(database) == {run: {"s1": 3}}


def test_a_plan_of_an_older_release_says_nothing(database, planned):
    """It did not keep how much had drifted."""
    run = planned((5, StepState.PLANNED))
    plan = PlanRecord(NOTHING, NOTHING, None, {}, None, {}, 0).to_json()
    del plan["drift"]
    with database.begin("test") as tx:
        store.update_step(tx.conn, run, "s0", 0, plan=canonical.dumps(plan))
    assert found(database) == {}
