"""One step's way through the stages: plan, judge, approve, apply. Read it top to bottom."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Mapping
from typing import Any

import structlog

from mandamus.kernel import canonical
from mandamus.kernel.errors import Code, MandamusError
from mandamus.policy.model import Outcome, Verdict
from mandamus.runs import apply, approval, gate, plan, progress, store
from mandamus.runs.lifecycle import StepState
from mandamus.runs.model import Judged, Notice
from mandamus.runs.plan import Draft, Work
from mandamus.runs.rooms import Rooms, acting_for
from mandamus.store.database import Tx

log = structlog.get_logger()


def take(rooms: Rooms, work: Work) -> bool:
    """Take a step as far as it goes now; False when it waits for another run's lock.

    Trouble of the machine (retryable) is raised to the engine, which tries again; anything else ends the attempt.
    """
    try:
        match work.row.state:
            case StepState.PENDING:
                return _begin(rooms, work)
            case StepState.WAITING:
                return _after_wait(rooms, work)
            case _:
                apply.resume(rooms, work)
                return True
    except MandamusError as error:
        if error.retryable:
            raise
        _end(rooms, work, error)
    except Exception as error:  # noqa: BLE001 - a bug in one step must not take the run's other steps with it
        log.error("step.crashed", run=work.run.id, step=work.row.name, trace=traceback.format_exc())
        _end(rooms, work, _unexpected(error))
    return True


def _begin(rooms: Rooms, work: Work) -> bool:
    if not plan.wanted(rooms, work):
        with rooms.db.begin("skip") as tx:
            progress.finished(rooms, tx, work.run, work.row, StepState.SKIPPED)
        return True
    may = gate.may_step(rooms, work.run, work.environment, plan.step_document(work))
    if may.outcome is Outcome.DENY:
        return _refused(rooms, work, may)
    if not _lock(rooms, work):
        return False
    rooms.tell(Notice(work.run.id, work.row.name, "planning"))
    try:
        draft = plan.draft(rooms, work)
        judgement = gate.judge(
            rooms, work.run, work.environment, plan.step_document(work), draft.change_set, draft.native, [may]
        )
    except BaseException:
        _unlock(rooms, work)
        raise
    if judgement.denied or work.run.plan_only or judgement.requires:
        _stop_here(rooms, work, draft, judgement)
        return True
    apply.apply(rooms, work, lambda tx: approval.nobody(_through(rooms, tx, work, draft, judgement)))
    return True


def _refused(rooms: Rooms, work: Work, verdict: Verdict) -> bool:
    """Policy does not let the step be planned."""
    with rooms.db.begin("step denied") as tx:
        who = acting_for(work.run.requester)
        decisions = gate.record(rooms, tx, who, work.run, work.row.name, [verdict])
        error = gate.denial([verdict]).to_json()
        progress.finished(rooms, tx, work.run, work.row, StepState.DENIED, error=error, decisions=decisions)
    return True


def _stop_here(rooms: Rooms, work: Work, draft: Draft, judgement: gate.Judgement) -> None:
    """The plan goes no further now: denied, only planned, or waiting for people."""
    with rooms.db.begin("judged") as tx:
        if judgement.denied:
            decisions = _planned(rooms, tx, work, draft, judgement)
            error = judgement.error().to_json()
            progress.finished(rooms, tx, work.run, work.row, StepState.DENIED, error=error, decisions=decisions)
        else:
            judged = _through(rooms, tx, work, draft, judgement)
            if work.run.plan_only:
                store.finish_step(tx.conn, work.run.id, work.row.name, passes=True)
                text = _summary(draft)
                tx.after_commit(lambda: rooms.tell(Notice(work.run.id, work.row.name, StepState.PLANNED.value, text)))
            else:
                progress.waiting(rooms, tx, work.run, judged)
        _unlock_in(rooms, tx, work)
    if judgement.denied or work.run.plan_only:
        plan.clean(rooms, work.row)


def _through(rooms: Rooms, tx: Tx, work: Work, draft: Draft, judgement: gate.Judgement) -> Judged:
    """Record plan and decisions; the gate's word on them."""
    decisions = _planned(rooms, tx, work, draft, judgement)
    row = store.get_step(tx.conn, work.run.id, work.row.name)
    return gate.passed(row, draft.binding, judgement, decisions)


def _planned(rooms: Rooms, tx: Tx, work: Work, draft: Draft, judgement: gate.Judgement) -> tuple[Any, ...]:
    progress.planned(rooms, tx, work.run, work.row, draft)
    who = acting_for(work.run.requester)
    decisions = gate.record(rooms, tx, who, work.run, work.row.name, judgement.verdicts)
    progress.judged(tx, work.row, judgement.requires, decisions, rooms.clock.now_us())
    sets = canonical.dumps(list(work.environment.policies))
    store.update_step(tx.conn, work.run.id, work.row.name, rooms.clock.now_us(), policy_sets=sets)
    return decisions


def _after_wait(rooms: Rooms, work: Work) -> bool:
    """Look at a waiting step again: did people decide, did time run out, did anything move?"""
    row = work.row
    with rooms.db.read() as conn:
        given = store.approvals_of(conn, row.run, row.name)
    no = approval.rejected(row, given)
    if no is not None:
        error = _rejected(no.by, no.reason)
        return _closed(rooms, work, StepState.REJECTED, error)
    if row.binding is None or row.binding.expires_us <= rooms.clock.now_us():
        return _closed(rooms, work, StepState.EXPIRED, _expired(work))
    what = _moved(rooms, work)
    if what is not None:
        with rooms.db.begin("moved") as tx:
            progress.moved(rooms, tx, work.run, row, what, "plan")
        plan.clean(rooms, row)
        return True
    if row.policy_sets != work.environment.policies and not _judge_again(rooms, work):
        return True
    if approval.unmet(row, given):
        return True
    if not _lock(rooms, work):
        return False
    apply.apply(rooms, work, lambda tx: approval.load(rooms, tx, work.run, row.name))
    return True


def _moved(rooms: Rooms, work: Work) -> str | None:
    """What the binding covers and is no longer so; None when all of it stands."""
    binding = work.row.binding
    if binding is None or binding.environment != plan.target_digest(work.environment):
        return "environment"
    if plan.state_reference(rooms, work) != binding.state:
        return "state"
    return None


def _judge_again(rooms: Rooms, work: Work) -> bool:
    """Policy moved while the step waited. Same answer: approvals stay. Other answer: it counts. True to go on."""
    row = work.row
    change_set, native = plan.stored(rooms, work)
    judgement = gate.judge(rooms, work.run, work.environment, plan.step_document(work), change_set, native)
    same = gate.same_requirements(row, judgement)
    with rooms.db.begin("judged again") as tx:
        progress.moved(rooms, tx, work.run, row, "policy", "judge")
        who = acting_for(work.run.requester)
        decisions = gate.record(rooms, tx, who, work.run, row.name, judgement.verdicts)
        progress.judged(tx, row, judgement.requires, decisions, rooms.clock.now_us())
        sets = canonical.dumps(list(work.environment.policies))
        store.update_step(tx.conn, row.run, row.name, rooms.clock.now_us(), policy_sets=sets)
        if judgement.denied:
            error = judgement.error().to_json()
            progress.finished(rooms, tx, work.run, row, StepState.DENIED, error=error, decisions=decisions)
        elif not same:
            assert row.binding is not None  # noqa: S101 - narrows the type
            again = dataclasses.replace(row, requires=judgement.requires)
            progress.waiting(rooms, tx, work.run, gate.passed(again, row.binding, judgement, decisions))
    return same


def _end(rooms: Rooms, work: Work, error: MandamusError) -> None:
    """The attempt ended in an error before its effect, or the effect itself could not be begun."""
    with rooms.db.begin("step failed") as tx:
        row = store.get_step(tx.conn, work.run.id, work.row.name)
        _unlock_in(rooms, tx, work)
        if work.cancel.is_set():
            progress.finished(rooms, tx, work.run, row, StepState.CANCELLED, error=error.to_json())
        elif error.code is Code.EFFECT_INDETERMINATE:
            progress.lost(rooms, tx, work.run, row, error)
        elif error.code is Code.POLICY_DENIED:
            progress.finished(rooms, tx, work.run, row, StepState.DENIED, error=error.to_json())
        else:
            progress.failed(rooms, tx, work.run, row, error, work.step.retry.backoff_s)


def _closed(rooms: Rooms, work: Work, state: StepState, error: MandamusError) -> bool:
    with rooms.db.begin("step closed") as tx:
        progress.finished(rooms, tx, work.run, work.row, state, error=error.to_json())
    plan.clean(rooms, work.row)
    return True


def _lock(rooms: Rooms, work: Work) -> bool:
    """Take the lock of the step's state, or queue up for it; steps without state need none."""
    if work.state_name is None:
        return True
    with rooms.db.begin("lock") as tx:
        if rooms.states.acquire(tx, work.environment.name, work.state_name, work.run.id, work.row.name):
            return True
        store.add_lock_waiter(tx.conn, work.environment.name, work.state_name, work.run.id, work.row.name)
    rooms.tell(Notice(work.run.id, work.row.name, "blocked", f"waits for the state of {work.state_name}"))
    return False


def _unlock(rooms: Rooms, work: Work) -> None:
    with rooms.db.begin("unlock") as tx:
        _unlock_in(rooms, tx, work)


def _unlock_in(rooms: Rooms, tx: Tx, work: Work) -> None:
    if work.state_name is not None:
        progress.unlock(rooms, tx, work.environment.name, work.state_name, work.run.id)


def _summary(draft: Draft) -> str:
    counts: Mapping[str, int] = draft.record.summary
    return ", ".join(f"{count} to {action}" for action, count in counts.items()) or "no changes"


def _rejected(by: str, reason: str) -> MandamusError:
    return MandamusError(
        Code.APPROVAL_REFUSED,
        f"{by} said no: {reason or 'no reason given'}",
        remedy="change what was objected to, then ask again",
    )


def _expired(work: Work) -> MandamusError:
    return MandamusError(
        Code.APPROVAL_REFUSED,
        f"nobody decided on step {work.row.name} in time",
        remedy=f"`mandamus runs retry {work.run.id}` plans it again and asks again",
    )


def _unexpected(error: Exception) -> MandamusError:
    return MandamusError(
        Code.INTERNAL,
        f"the step stopped on a fault of ours: {type(error).__name__}",
        remedy="the log on standard error has the details; report them, then `mandamus runs retry`",
    )
