"""The small transactions that move a step: rows, counters and events together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Authority, Outcome
from mandamus.kernel import canonical
from mandamus.kernel.access import Subject
from mandamus.kernel.errors import MandamusError
from mandamus.kernel.ids import DecisionId, Digest
from mandamus.runs import store
from mandamus.runs.lifecycle import STEP_PASSES, StepEvent, StepState, step_after
from mandamus.runs.model import Binding, Judged, Notice, Requirement, Run, StepRow
from mandamus.runs.plan import Draft
from mandamus.runs.rooms import Rooms, acting_for, event, record
from mandamus.store.database import Tx

_OUTCOMES = {
    StepState.DENIED: Outcome.DENIED,
    StepState.REJECTED: Outcome.DENIED,
    StepState.FAILED: Outcome.FAILED,
    StepState.EXPIRED: Outcome.FAILED,
    StepState.CANCELLED: Outcome.FAILED,
}
_CLOSERS = {
    StepState.SUCCEEDED: StepEvent.SUCCEED,
    StepState.FAILED: StepEvent.FAIL,
    StepState.DENIED: StepEvent.DENY,
    StepState.REJECTED: StepEvent.REJECT,
    StepState.EXPIRED: StepEvent.EXPIRE,
    StepState.SKIPPED: StepEvent.SKIP,
    StepState.CANCELLED: StepEvent.CANCEL,
}


def planned(rooms: Rooms, tx: Tx, run: Run, row: StepRow, draft: Draft) -> None:
    """Record a finished plan: its digests in the log. Its row follows with what it was `judged` to need."""
    _keep_replaced(rooms, row, draft.binding)
    data = {
        "attempt": row.attempt,
        "change_set": draft.record.change_set,
        "artifact": draft.record.artifact,
        "binding": draft.binding.digest,
        "plan": draft.record.native,
    }
    record(rooms, tx, event(Kind.STEP_PLANNED, acting_for(run.requester), run.id, step=row.name, data=data))


def judged(
    rooms: Rooms,
    tx: Tx,
    row: StepRow,
    judges: Digest,
    requires: tuple[Requirement, ...],
    decisions: tuple[DecisionId, ...],
    draft: Draft | None = None,
) -> StepRow:
    """Note on the row who judged, what policy asked for and on which decisions it stands; gives the row.

    With a ``draft`` it is the plan that was just made, else the one the row holds.
    """
    values: dict[str, object] = {
        "judges": judges,
        "requires": canonical.dumps([requirement.to_json() for requirement in requires]),
        "decisions": canonical.dumps(decisions),
    }
    made = dataclasses.replace(row, judges=judges, requires=requires, decisions=decisions)
    if draft is not None:
        state = step_after(row.state, StepEvent.PLAN)
        values |= {"state": state.value, "binding": draft.binding.to_bytes()}
        values["plan"] = canonical.dumps(draft.record.to_json())
        made = dataclasses.replace(made, state=state, binding=draft.binding, plan=draft.record)
    store.update_step(tx.conn, row.run, row.name, rooms.clock.now_us(), **values)
    return made


def waiting(rooms: Rooms, tx: Tx, run: Run, gate_word: Judged) -> None:
    """The step waits for people from here on; nothing runs meanwhile. When their time is over it is looked at again."""
    row = gate_word.step
    now_us = rooms.clock.now_us()
    binding = gate_word.binding
    _keep_replaced(rooms, row, binding)
    store.update_step(tx.conn, run.id, row.name, now_us, state=StepState.WAITING.value, binding=binding.to_bytes())
    wake = f"expiry.{row.name}.{row.attempt}.{binding.expires_us}"
    rooms.engine.enqueue(tx, "run", run.id, wake, delay_s=max(0.0, (binding.expires_us - now_us) / 1_000_000))
    data = {
        "attempt": row.attempt,
        "binding": binding.digest,
        "requires": [requirement.to_json() for requirement in gate_word.requires],
        "expires_us": binding.expires_us,
    }
    authority = Authority(decisions=gate_word.decisions)
    who = acting_for(run.requester)
    record(rooms, tx, event(Kind.STEP_WAITING, who, run.id, step=row.name, authority=authority, data=data))
    text = ", ".join(f"{r.count} of {r.group or 'anyone else'}" for r in gate_word.requires)
    tx.after_commit(lambda: rooms.tell(Notice(run.id, row.name, StepState.WAITING.value, f"waits for {text}")))


def _keep_replaced(rooms: Rooms, row: StepRow, binding: Binding) -> None:
    """The row holds one binding; the log still names the one before, so its bytes stay for the evidence."""
    if row.binding is not None and row.binding != binding:
        rooms.blobs.put(row.binding.to_bytes())


def only_planned(rooms: Rooms, tx: Tx, run: Run, row: StepRow, draft: Draft) -> None:
    """In a run that only plans, a planned step has come to its end; those that need it may be planned too."""
    store.finish_step(tx.conn, run.id, row.name, passes=True)
    text = ", ".join(f"{count} to {action}" for action, count in draft.record.summary.items()) or "no changes"
    tx.after_commit(lambda: rooms.tell(Notice(run.id, row.name, StepState.PLANNED.value, text)))


def finished(
    rooms: Rooms,
    tx: Tx,
    run: Run,
    row: StepRow,
    state: StepState,
    *,
    outputs: Mapping[str, Any] | None = None,
    error: Mapping[str, Any] | None = None,
    who: Subject | None = None,
    decisions: Sequence[DecisionId] = (),
    text: str = "",
) -> None:
    """Close a step: state, outputs or error, the counters of its run and followers, and the event.

    ``text`` is what a watcher is told when there is no error to tell.
    """
    step_after(row.state, _CLOSERS[state])
    store.update_step(
        tx.conn,
        run.id,
        row.name,
        rooms.clock.now_us(),
        state=state.value,
        outputs=None if outputs is None else canonical.dumps(outputs),
        error=None if error is None else canonical.dumps(error),
    )
    store.finish_step(tx.conn, run.id, row.name, passes=state in STEP_PASSES)
    made = event(
        Kind.STEP_FINISHED,
        who or acting_for(run.requester),
        run.id,
        step=row.name,
        outcome=_OUTCOMES.get(state, Outcome.OK),
        authority=Authority(decisions=tuple(decisions)),
        data={
            "attempt": row.attempt,
            "state": state.value,
            "outputs": None if outputs is None else canonical.digest_of(outputs),
        },
    )
    record(rooms, tx, made)
    told = text if error is None else str(error.get("message", ""))
    tx.after_commit(lambda: rooms.tell(Notice(run.id, row.name, state.value, told)))


def again(rooms: Rooms, tx: Tx, run: Run, row: StepRow) -> None:
    """Nothing happened in this attempt: plan the step again, as a new attempt that costs no try."""
    _next_attempt(rooms, tx, run, row, not_before_us=0, tries_left=row.tries_left)


def lost(rooms: Rooms, tx: Tx, run: Run, row: StepRow, error: MandamusError) -> None:
    """Nobody knows what became of the effect; the step waits for a human's word."""
    state = step_after(row.state, StepEvent.LOSE)
    now_us = rooms.clock.now_us()
    store.update_step(tx.conn, run.id, row.name, now_us, state=state.value, error=canonical.dumps(error.to_json()))
    tx.after_commit(lambda: rooms.tell(Notice(run.id, row.name, state.value, error.message)))


def failed(rooms: Rooms, tx: Tx, run: Run, row: StepRow, error: MandamusError, backoff_s: float) -> None:
    """Close the attempt: another one follows while tries are left, else the step has failed."""
    if row.tries_left <= 0:
        finished(rooms, tx, run, row, StepState.FAILED, error=error.to_json())
        return
    not_before_us = rooms.clock.now_us() + int(backoff_s * 1_000_000)
    _next_attempt(rooms, tx, run, row, not_before_us=not_before_us, tries_left=row.tries_left - 1, error=error)
    text = f"attempt {row.attempt} failed, another follows: {error.message}"
    tx.after_commit(lambda: rooms.tell(Notice(run.id, row.name, "retrying", text)))


def _next_attempt(
    rooms: Rooms,
    tx: Tx,
    run: Run,
    row: StepRow,
    *,
    not_before_us: int,
    tries_left: int,
    error: MandamusError | None = None,
) -> None:
    store.update_step(
        tx.conn,
        run.id,
        row.name,
        rooms.clock.now_us(),
        state=step_after(row.state, StepEvent.RETRY).value,
        attempt=row.attempt + 1,
        tries_left=tries_left,
        not_before_us=not_before_us,
        error=None if error is None else canonical.dumps(error.to_json()),
    )
    data = {"attempt": row.attempt, "not_before_us": not_before_us}
    outcome = Outcome.OK if error is None else Outcome.FAILED
    who = acting_for(run.requester)
    record(rooms, tx, event(Kind.STEP_RETRYING, who, run.id, step=row.name, outcome=outcome, data=data))


def moved(rooms: Rooms, tx: Tx, run: Run, row: StepRow, what: str, then: str) -> None:
    """Something the approval stood on moved: say what, and go back to planning where the binding is void."""
    if then == "plan":
        state = step_after(row.state, StepEvent.REPLAN)
        store.update_step(tx.conn, run.id, row.name, rooms.clock.now_us(), state=state.value)
    data = {"attempt": row.attempt, "what": what, "then": then}
    record(rooms, tx, event(Kind.STEP_MOVED, acting_for(run.requester), run.id, step=row.name, data=data))
    text = f"{what} moved since it was planned; {'planning' if then == 'plan' else 'judging'} again"
    tx.after_commit(lambda: rooms.tell(Notice(run.id, row.name, row.state.value, text)))


def unlock(rooms: Rooms, tx: Tx, environment: str, state: str, row: StepRow) -> None:
    """Release a state's lock if this step holds it, and wake every run that waits for it."""
    rooms.states.release(tx, environment, state, row.run, row.name)
    for waiter in store.take_lock_waiters(tx.conn, environment, state):
        rooms.engine.enqueue(tx, "run", waiter, store.next_wake(tx.conn, waiter))
