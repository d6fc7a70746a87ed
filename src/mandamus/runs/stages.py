"""One step's way through the stages: plan, judge, approve, apply. Read it top to bottom."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Mapping, Sequence

import structlog

from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import DecisionId, Digest
from mandamus.policy.model import Outcome, Verdict
from mandamus.runs import apply, approval, gate, plan, progress, store
from mandamus.runs.lifecycle import StepState
from mandamus.runs.model import Approval, Approved, Binding, Judged, Notice, StepRow
from mandamus.runs.plan import Draft, Work
from mandamus.runs.rooms import Rooms, acting_for
from mandamus.store.database import Tx

log = structlog.get_logger()


def take(rooms: Rooms, work: Work) -> bool:
    """Take a step as far as it goes now; False when it waits for another run's lock.

    Trouble of the machine (retryable) is raised to the engine, which tries again; anything else ends the attempt.
    """
    try:
        while True:
            try:
                return _stage(rooms, work)
            except apply.MovedError:
                work = _afresh(rooms, work)
    except MandamusError as error:
        if error.retryable:
            raise
        _end(rooms, work, error)
    except Exception as error:
        log.exception("step.crashed", run=work.run.id, step=work.row.name)
        _end(rooms, work, _unexpected(error))
    return True


def _stage(rooms: Rooms, work: Work) -> bool:
    match work.row.state:
        case StepState.PENDING:
            return _begin(rooms, work)
        case StepState.WAITING:
            return _after_wait(rooms, work)
        case _:
            apply.resume(rooms, work)
            return True


def _begin(rooms: Rooms, work: Work) -> bool:
    """Plan and judge; what nobody has to approve is applied at once."""
    if work.run.plan_only and (awaited := plan.awaited(work)):
        return _skipped(rooms, work, f"reads what {', '.join(awaited)} would give, which only an apply can tell")
    if not plan.wanted(rooms, work):
        return _skipped(rooms, work, "its condition is false")
    document = plan.step_document(work)
    may = gate.may_step(rooms, work.run, work.environment, document)
    if may.outcome is Outcome.DENY:
        return _refused(rooms, work, [may])
    apply.may_plan(rooms, work)
    if not _lock(rooms, work):
        return False
    rooms.tell(Notice(work.run.id, work.row.name, "planning"))
    try:
        draft = plan.draft(rooms, work)
        judgement = gate.judge(rooms, work.run, work.environment, document, draft.change_set, draft.native, [may])
        if not (judgement.denied or judgement.requires or work.run.plan_only):
            last = gate.before_apply(rooms, work.run, work.environment, document, draft.binding)
            judgement = gate.together(judgement, last)
    except BaseException:
        _unlock(rooms, work)
        raise
    if judgement.denied or work.run.plan_only:
        _stop_here(rooms, work, draft, judgement)
    elif judgement.requires:
        _stop_here(rooms, work, draft, judgement)
        # An attempt before this one may have had every yes to the very same plan.
        return _after_wait(rooms, _afresh(rooms, work))
    else:
        apply.apply(rooms, work, lambda tx: approval.nobody(_through(rooms, tx, work, draft, judgement)))
    return True


def _after_wait(rooms: Rooms, work: Work) -> bool:
    """Look at a waiting step again: did people decide, did time run out, did anything move?"""
    row = work.row
    with rooms.db.read() as conn:
        given = store.approvals_of(conn, row.run, row.name)
    no = approval.rejected(row, given)
    if no is not None:
        return _closed(rooms, work, StepState.REJECTED, _rejected(no))
    if row.binding is None or row.binding.expires_us <= rooms.clock.now_us():
        return _closed(rooms, work, StepState.EXPIRED, _expired(work))
    stands = not _moved(rooms, work) and (
        row.judges == gate.judges(rooms, work.environment) or _judge_again(rooms, work)
    )
    if not stands or approval.unmet(row, given):
        return True
    if not _lock(rooms, work):
        return False
    if not _moved(rooms, work):
        _apply_approved(rooms, work, row.binding, given)
    return True


def _judges(rooms: Rooms, work: Work) -> Digest:
    return gate.judges(rooms, work.environment)


def _apply_approved(rooms: Rooms, work: Work, binding: Binding, given: Sequence[Approval]) -> None:
    """The last question, then the effect; the state is locked from here to its result."""
    last = gate.before_apply(rooms, work.run, work.environment, plan.step_document(work), binding, given)
    if last.denied:
        _refused(rooms, work, last.verdicts)
    elif not _asks_for_more(rooms, work, last, given):
        apply.apply(rooms, work, lambda tx: _go_ahead(rooms, tx, work, last))


def _go_ahead(rooms: Rooms, tx: Tx, work: Work, last: gate.Judgement) -> Approved:
    decisions = _record(rooms, tx, work, last.verdicts)
    return approval.load(rooms, tx, work.run, work.row.name, decisions)


def _skipped(rooms: Rooms, work: Work, why: str) -> bool:
    with rooms.db.begin("skip") as tx:
        progress.finished(rooms, tx, work.run, work.row, StepState.SKIPPED, text=why)
    return True


def _refused(rooms: Rooms, work: Work, verdicts: Sequence[Verdict]) -> bool:
    """Policy does not let the step go on."""
    with rooms.db.begin("step denied") as tx:
        decisions = _record(rooms, tx, work, verdicts)
        error = gate.denial(verdicts).to_json()
        progress.finished(rooms, tx, work.run, work.row, StepState.DENIED, error=error, decisions=decisions)
        _unlock_in(rooms, tx, work)
    plan.clean(rooms, work.row)
    return True


def _stop_here(rooms: Rooms, work: Work, draft: Draft, judgement: gate.Judgement) -> None:
    """The plan goes no further now: denied, only planned, or waiting for people."""
    with rooms.db.begin("judged") as tx:
        if judgement.denied:
            decisions = _planned(rooms, tx, work, draft, judgement).decisions
            error = judgement.error().to_json()
            progress.finished(rooms, tx, work.run, work.row, StepState.DENIED, error=error, decisions=decisions)
        else:
            judged = _through(rooms, tx, work, draft, judgement)
            if work.run.plan_only:
                progress.only_planned(rooms, tx, work.run, work.row, draft)
            else:
                progress.waiting(rooms, tx, work.run, judged)
        _unlock_in(rooms, tx, work)
    if judgement.denied or work.run.plan_only:
        plan.clean(rooms, work.row)


def _through(rooms: Rooms, tx: Tx, work: Work, draft: Draft, judgement: gate.Judgement) -> Judged:
    """Record plan and decisions; the gate's word on them."""
    row = _planned(rooms, tx, work, draft, judgement)
    return gate.passed(row, draft.binding, judgement, row.decisions)


def _planned(rooms: Rooms, tx: Tx, work: Work, draft: Draft, judgement: gate.Judgement) -> StepRow:
    progress.planned(rooms, tx, work.run, work.row, draft)
    decisions = _record(rooms, tx, work, judgement.verdicts)
    return progress.judged(rooms, tx, work.row, _judges(rooms, work), judgement.requires, decisions, draft)


def _moved(rooms: Rooms, work: Work) -> bool:
    """Whether something the binding covers is no longer so; then the step is back at its plan, its approvals void."""
    binding = work.row.binding
    if binding is None or binding.environment != work.environment.target:
        what = "environment"
    elif plan.state_reference(rooms, work) != binding.state:
        what = "state"
    else:
        return False
    with rooms.db.begin("moved") as tx:
        progress.moved(rooms, tx, work.run, work.row, what, "plan")
        _unlock_in(rooms, tx, work)
    plan.clean(rooms, work.row)
    return True


def _judge_again(rooms: Rooms, work: Work) -> bool:
    """Policy moved while the step waited. Same answer: approvals stay. Another answer: it counts. True to go on."""
    row = work.row
    change_set, native = plan.stored(rooms, work)
    document = plan.step_document(work)
    judges = _judges(rooms, work)
    may = gate.may_step(rooms, work.run, work.environment, document)
    judgement = gate.judge(rooms, work.run, work.environment, document, change_set, native, [may])
    same = not judgement.denied and judgement.requires == row.requires
    with rooms.db.begin("judged again") as tx:
        progress.moved(rooms, tx, work.run, row, "policy", "judge")
        decisions = _record(rooms, tx, work, judgement.verdicts)
        progress.judged(rooms, tx, row, judges, judgement.requires, decisions)
        if judgement.denied:
            error = judgement.error().to_json()
            progress.finished(rooms, tx, work.run, row, StepState.DENIED, error=error, decisions=decisions)
        elif not same:
            _ask_afresh(rooms, tx, work, judgement, decisions)
    return same


def _asks_for_more(rooms: Rooms, work: Work, last: gate.Judgement, given: Sequence[Approval]) -> bool:
    """Whether the last question asks for people who have not said yes; then the step waits for them too."""
    row = work.row
    asked = gate.Judgement(last.verdicts, gate.merged([*row.requires, *last.requires]))
    if not approval.unmet(dataclasses.replace(row, requires=asked.requires), given):
        return False
    with rooms.db.begin("asked for more") as tx:
        decisions = (*row.decisions, *_record(rooms, tx, work, last.verdicts))
        progress.judged(rooms, tx, row, _judges(rooms, work), asked.requires, decisions)
        if row.binding is not None:
            progress.waiting(rooms, tx, work.run, gate.passed(row, row.binding, asked, decisions))
        _unlock_in(rooms, tx, work)
    return True


def _ask_afresh(rooms: Rooms, tx: Tx, work: Work, judgement: gate.Judgement, decisions: tuple[DecisionId, ...]) -> None:
    """Another answer of policy is another question to people: a binding with a new expiry makes every old yes void."""
    binding = work.row.binding
    if binding is None:
        raise AssertionError("a waiting step without a binding")
    expires_us = rooms.clock.now_us() + work.environment.approval_ttl_s * 1_000_000
    again = dataclasses.replace(binding, expires_us=expires_us)
    progress.waiting(rooms, tx, work.run, gate.passed(work.row, again, judgement, decisions))


def _record(rooms: Rooms, tx: Tx, work: Work, verdicts: Sequence[Verdict]) -> tuple[DecisionId, ...]:
    return gate.record(rooms, tx, acting_for(work.run.requester), work.run, work.row.name, verdicts)


def _end(rooms: Rooms, work: Work, error: MandamusError) -> None:
    """The attempt ended in an error of ours. After the promise only the tool can say what became of the effect."""
    row = _row(rooms, work)
    if row.state is StepState.APPLYING:
        apply.resume(rooms, dataclasses.replace(work, row=row))
        return
    with rooms.db.begin("step failed") as tx:
        _unlock_in(rooms, tx, work)
        if work.cancel.is_set():
            progress.finished(rooms, tx, work.run, row, StepState.CANCELLED, error=error.to_json())
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
    if work.state_name is not None:
        with rooms.db.begin("unlock") as tx:
            _unlock_in(rooms, tx, work)


def _unlock_in(rooms: Rooms, tx: Tx, work: Work) -> None:
    if work.state_name is not None:
        progress.unlock(rooms, tx, work.environment.name, work.state_name, work.row)


def _afresh(rooms: Rooms, work: Work) -> Work:
    environment = rooms.catalog.environment(work.run.environment, work.run.project)
    return dataclasses.replace(work, environment=environment, row=_row(rooms, work))


def _row(rooms: Rooms, work: Work) -> StepRow:
    with rooms.db.read() as conn:
        return store.get_step(conn, work.run.id, work.row.name)


def _rejected(no: Approval) -> MandamusError:
    return MandamusError(
        Code.APPROVAL_REFUSED,
        f"{no.by} said no: {no.reason or 'no reason given'}",
        remedy="change what was objected to, then ask again",
    )


def _expired(work: Work) -> MandamusError:
    return MandamusError(
        Code.APPROVAL_REFUSED,
        f"nobody decided on step {work.row.name} in time",
        remedy=f"`mandamus runs retry {work.run.id}` plans it again and asks again",
    )


def _unexpected(error: Exception) -> MandamusError:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {frames[-1].name}:{frames[-1].lineno}" if frames else ""
    context: Mapping[str, object] = {"error": type(error).__name__}
    return MandamusError(
        Code.INTERNAL,
        f"the step stopped on a fault of ours: {type(error).__name__}{where}",
        remedy="the log on standard error has the details; report them, then `mandamus runs retry`",
        context=context,
    )
