"""Close: the last word on a run, in the log, and then the bundle that proves it."""

from __future__ import annotations

import shutil

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Outcome
from mandamus.kernel import canonical
from mandamus.kernel.ids import RunId
from mandamus.runs import bundle, progress, store
from mandamus.runs.lifecycle import STEP_PASSES, RunState, StepState, run_outcome
from mandamus.runs.model import Notice, Run
from mandamus.runs.rooms import Rooms, acting_for, event, record
from mandamus.store.database import Tx

CLOSING = frozenset({RunState.DENIED})
"""States in which a run has no steps to advance and is only closed."""

_OPEN = frozenset({RunState.RUNNING, RunState.WAITING, RunState.INDETERMINATE, RunState.REQUESTED})


def close(rooms: Rooms, run_id: RunId, seen: int) -> Run:
    """Fold the steps into the run's state; when nothing is left to come, close it and seal its evidence.

    A run that rests since nobody knows the end of an effect is sealed as that.

    ``seen`` is how many wakes of the run were looked at. Safe to repeat at any point: a run that is closed but not
    sealed (we died in between) is sealed here.
    """
    with rooms.db.begin("close") as tx:
        store.update_run(tx.conn, run_id, wakes_seen=seen)
        run = store.get_run(tx.conn, run_id)
        if run.closed_us is None:
            run = _fold(rooms, tx, run)
    if run.closed_us is not None and run.evidence is None:
        run = _seal(rooms, run)
    elif run.state is RunState.INDETERMINATE:
        _seal_unsettled(rooms, run)
    rooms.tell(Notice(run=run.id, step="", state=run.state.value, text=_why(run)))
    return run


def _fold(rooms: Rooms, tx: Tx, run: Run) -> Run:
    counts = store.state_counts(tx.conn, run.id)
    if run.state is RunState.DENIED and not counts:
        return _closed(rooms, tx, run, RunState.DENIED)
    state = run_outcome(counts, plan_only=run.plan_only, cancelled=run.cancel_requested)
    if store.ready_steps(tx.conn, run.id) and not run.cancel_requested:
        # Ready and not taken: it waits for the lock of a state, whatever became of the other steps.
        state = RunState.RUNNING
    if state in _OPEN:
        store.update_run(tx.conn, run.id, state=state.value)
        if state is RunState.INDETERMINATE and not rooms.evidence.rests(tx, run.id):
            who, data = acting_for(run.requester), {"state": state.value}
            record(rooms, tx, event(Kind.RUN_UNSETTLED, who, run.id, outcome=Outcome.UNKNOWN, data=data))
        return store.get_run(tx.conn, run.id)
    _skip_the_rest(rooms, tx, run, state)
    return _closed(rooms, tx, run, state)


def _skip_the_rest(rooms: Rooms, tx: Tx, run: Run, state: RunState) -> None:
    """What needs a step that did not pass never runs; say so on each."""
    for row in store.list_steps(tx.conn, run.id, [StepState.PENDING]):
        if state is RunState.CANCELLED:
            progress.finished(rooms, tx, run, row, StepState.CANCELLED)
        else:
            progress.finished(rooms, tx, run, row, StepState.SKIPPED)


def _closed(rooms: Rooms, tx: Tx, run: Run, state: RunState) -> Run:
    outcome = {RunState.SUCCEEDED: Outcome.OK, RunState.PLANNED: Outcome.OK, RunState.DENIED: Outcome.DENIED}
    who = acting_for(run.requester)
    made = event(Kind.RUN_CLOSED, who, run.id, outcome=outcome.get(state, Outcome.FAILED), data={"state": state.value})
    record(rooms, tx, made)
    error = run.error or _first_error(tx, run)
    store.update_run(
        tx.conn,
        run.id,
        state=state.value,
        closed_us=rooms.clock.now_us(),
        evidence=None,
        error=None if error is None else canonical.dumps(error),
    )
    return store.get_run(tx.conn, run.id)


def _first_error(tx: Tx, run: Run) -> dict[str, object] | None:
    stopped = [state for state in StepState if state not in STEP_PASSES and state is not StepState.PENDING]
    for row in store.list_steps(tx.conn, run.id, stopped):
        if row.error is not None:
            return {**row.error, "step": row.name}
    return None


def _seal(rooms: Rooms, run: Run) -> Run:
    digest = rooms.evidence.seal(acting_for(run.requester), bundle.gather(rooms, run))
    # Before the commit after which nobody looks at this run again: the folder holds what steps worked with.
    shutil.rmtree(rooms.work / run.id, ignore_errors=True)
    with rooms.db.begin("sealed") as tx:
        store.update_run(tx.conn, run.id, evidence=digest)
        return store.get_run(tx.conn, run.id)


def _seal_unsettled(rooms: Rooms, run: Run) -> None:
    """Prove it as far as it is known; when it is settled, it is sealed again as it goes on or ends."""
    parts = bundle.gather(rooms, run)
    with rooms.db.read() as conn:
        moved = store.get_run(conn, run.id).wakes != run.wakes
    if not moved:
        rooms.evidence.seal(acting_for(run.requester), parts)
    # Else rows and events may be of two moments, and whoever moved it has it looked at again.


def _why(run: Run) -> str:
    return "" if run.error is None else str(run.error.get("message", ""))
