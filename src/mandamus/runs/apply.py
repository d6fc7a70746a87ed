"""Apply: exactly what was approved, once. The only place where an ``Applied`` is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from mandamus.audit.gate import Blocked, Demand, Mode, rows
from mandamus.audit.gatekeeper import error_of
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Authority, Event, Resource
from mandamus.engine.effect import EffectKey, Intent
from mandamus.executors import model as tools
from mandamus.kernel import canonical
from mandamus.kernel.errors import Code, MandamusError
from mandamus.runs import plan, progress, store
from mandamus.runs.lifecycle import StepEvent, StepState, step_after
from mandamus.runs.model import Applied, Approved, Notice, StepRow
from mandamus.runs.plan import Work
from mandamus.runs.rooms import Rooms, acting_for, event, record
from mandamus.store.database import Tx

PHASE = "apply"

log = structlog.get_logger()


class MovedError(Exception):
    """What the step was judged by moved before its promise; nothing was recorded, so its stage begins afresh."""


@dataclass(frozen=True)
class _Done:
    """What the tool did, beside the task it did it with (for its redactor)."""

    task: tools.Task
    applied: tools.Applied


@dataclass(frozen=True)
class Passage:
    """What an effect needs of the witnesses, and the break-glass under which it begins although these rows say no."""

    demand: Demand
    glass: str = ""
    rows: Sequence[str] = ()


def apply(rooms: Rooms, work: Work, approve: Callable[[Tx], Approved]) -> Applied:
    """Make the one effect of a step.

    ``approve`` runs inside the transaction that records the intent, so nothing can move between the last check and
    the promise; the act starts only when that promise is in a signed checkpoint. Raises what `let_through` raises.
    """
    passage = let_through(rooms, work)
    promised: list[StepRow] = []

    def begin(tx: Tx) -> Intent:
        approved = approve(tx)
        promised.append(_intend(rooms, tx, work, approved))
        authority = Authority(decisions=approved.judged.decisions, approvals=approved.approvals)
        binding = approved.binding
        if passage.glass:
            data = {"attempt": work.row.attempt, "breakglass": passage.glass, "rows": passage.rows}
            who = acting_for(work.run.requester)
            record(rooms, tx, event(Kind.BREAKGLASS_USED, who, work.run.id, step=work.row.name, data=data))
        return Intent(acting_for(work.run.requester), authority, binding.digest, binding.artifact)

    done = rooms.effects.perform(
        _key(work),
        begin=begin,
        act=lambda: _act(rooms, work, promised[-1]),
        succeeded=lambda done: done.applied.ok,
        finish=lambda tx, done: _finish(rooms, tx, work, promised[-1], done),
        demand=passage.demand,
    )
    plan.clean(rooms, work.row)
    return _applied(work, done)


def let_through(rooms: Rooms, work: Work) -> Passage:
    """The log's word before a promise is made.

    Raises ``audit_unavailable`` or ``storage_full`` while the log is in trouble: then the step lets go of its state,
    stays where it is, and is tried again until the trouble ends.
    """
    demand = rooms.gate.demand(work.environment.witnesses)
    blocked = rooms.gate.blocked(demand)
    glass = rooms.gate.broken_by(blocked) if blocked else None
    if blocked and glass is None:
        raise _hold(rooms, work, blocked)
    rooms.gate.release(_place(work))
    return Passage(demand) if glass is None else Passage(Demand(Mode.NONE), glass.id, rows(blocked))


def may_plan(rooms: Rooms, work: Work) -> None:
    """Raise instead of planning what would only be held up again, or what would fill the log's reserve."""
    if rooms.gate.holds(_place(work)):
        let_through(rooms, work)
    blocked = rooms.gate.reserve()
    if blocked is not None:
        raise _hold(rooms, work, [blocked])


def _hold(rooms: Rooms, work: Work, blocked: Sequence[Blocked]) -> MandamusError:
    """Let go of the state; the first time say what holds the step up, in the log too. Gives the error to raise."""
    error = error_of(blocked)
    new = rooms.gate.hold(_place(work))
    with rooms.db.begin("effect.hold") as tx:
        _unlock(rooms, tx, work)
        if new:
            data = {"attempt": work.row.attempt, "rows": rows(blocked)}
            who = acting_for(work.run.requester)
            held = event(Kind.EFFECT_HELD, who, work.run.id, step=work.row.name, why=error.message, data=data)
            record(rooms, tx, held)
    if new:
        rooms.tell(Notice(work.run.id, work.row.name, "blocked", f"{error.message} ({error.remedy})"))
    return error


def resume(rooms: Rooms, work: Work) -> None:
    """Take up a step whose intent has no result: we died in between. Never acts; asks the tool what became of it."""
    who = acting_for(work.run.requester)
    done = _probe(rooms, work)
    if isinstance(done, _Done):
        rooms.effects.conclude(
            _key(work),
            who,
            done,
            succeeded=lambda done: done.applied.ok,
            finish=lambda tx, done: _finish(rooms, tx, work, work.row, done),
            by_probe=True,
        )
    elif done.verdict is tools.Verdict.NOT_STARTED:
        with rooms.db.begin("effect.void") as tx:
            rooms.effects.void(tx, who, _key(work))
            progress.again(rooms, tx, work.run, work.row)
            _unlock(rooms, tx, work)
    else:
        with rooms.db.begin("effect.lose") as tx:
            rooms.effects.lose(tx, who, _key(work))
            progress.lost(rooms, tx, work.run, work.row, _indeterminate(work, done.detail))
            _keep_state(rooms, tx, work, done.state)
            _unlock(rooms, tx, work)
        return
    plan.clean(rooms, work.row)


def _intend(rooms: Rooms, tx: Tx, work: Work, approved: Approved) -> StepRow:
    """The last checks and the promise, in one transaction with the gate's and the people's word. Gives the row."""
    if not rooms.catalog.is_current(tx, work.environment):
        # Not the environment whose policy sets have just said yes.
        raise MovedError
    _check_binding(rooms, work, approved)
    row = approved.judged.step
    state = step_after(row.state, StepEvent.INTEND)
    store.update_step(tx.conn, work.run.id, row.name, rooms.clock.now_us(), state=state.value)
    tx.after_commit(lambda: rooms.tell(Notice(work.run.id, row.name, state.value)))
    return dataclasses.replace(row, state=state, binding=approved.binding)


def _check_binding(rooms: Rooms, work: Work, approved: Approved) -> None:
    """What is about to be applied is what the binding names, down to the state it was planned against."""
    binding = approved.binding
    state = plan.state_reference(rooms, work)
    expected = {
        "source": (binding.source, work.run.source),
        "workflow": (binding.workflow, work.run.workflow_digest),
        "inputs": (binding.inputs, canonical.digest_of(work.run.inputs)),
        "environment": (binding.environment, work.environment.target),
        "sandbox": (binding.sandbox, work.environment.pool.sandbox),
        "state": (binding.state, state),
    }
    for name, (bound, found) in expected.items():
        if bound != found:
            raise MandamusError(
                Code.DIGEST_MISMATCH,
                f"the {name} of step {work.row.name} is not what was approved",
                remedy=f"`mandamus runs retry {work.run.id}` plans it again",
                context={"bound": bound, "found": found},
            )


def _act(rooms: Rooms, work: Work, row: StepRow) -> _Done:
    """Hand the tool the very bytes that were approved; the blob store refuses any others."""
    if row.binding is None:
        raise AssertionError("an intent without a binding")
    blob = rooms.blobs.get(row.binding.artifact)
    task = plan.task(rooms, work, PHASE)
    try:
        applied = rooms.executors.get(work.step.executor).apply(task, blob)
    except MandamusError as error:
        if error.retryable or error.code is Code.EFFECT_INDETERMINATE:
            raise
        applied = tools.Applied(ok=False, error=error)
    finally:
        task.output.close()
    return _Done(task, applied)


def _finish(rooms: Rooms, tx: Tx, work: Work, row: StepRow, done: _Done) -> Mapping[str, Any]:
    """The result's transaction: state file, step, counters, lock. Gives what the log names by digest."""
    applied = done.applied
    outputs = done.task.redactor.value(dict(applied.outputs))
    _keep_state(rooms, tx, work, applied.state)
    _unlock(rooms, tx, work)
    error = None if applied.error is None else applied.error.to_json()
    if applied.ok:
        progress.finished(rooms, tx, work.run, row, StepState.SUCCEEDED, outputs=outputs)
    elif work.cancel.is_set():
        progress.finished(rooms, tx, work.run, row, StepState.CANCELLED, outputs=outputs, error=error)
    else:
        progress.failed(rooms, tx, work.run, row, _failure(work, applied), work.step.retry.backoff_s)
    return {"ok": applied.ok, "partial": applied.partial, "outputs": outputs, "error": error}


def _keep_state(rooms: Rooms, tx: Tx, work: Work, state: bytes | None) -> None:
    if state is None or work.state_name is None:
        return
    written = rooms.states.write(tx, work.environment.name, work.state_name, state, work.run.id, work.row.name)
    data = {
        "environment": work.environment.name,
        "state": work.state_name,
        "lineage": written.lineage,
        "serial": written.serial,
        "digest": canonical.digest(state),
    }
    who = acting_for(work.run.requester)
    resource = Resource("state", f"{work.environment.name}/{work.state_name}")
    made = Event(Kind.STATE_WRITTEN, who, resource, run=work.run.id, step=work.row.name, data=data)
    record(rooms, tx, made)


def _unlock(rooms: Rooms, tx: Tx, work: Work) -> None:
    if work.state_name is not None:
        progress.unlock(rooms, tx, work.environment.name, work.state_name, work.row)


def _probe(rooms: Rooms, work: Work) -> _Done | tools.Probed:
    """What became of the act: its result when the tool can tell, else the probe's own words."""
    if work.row.binding is None:
        return tools.Probed(tools.Verdict.UNKNOWN, "the row names no plan")
    try:
        blob = rooms.blobs.get(work.row.binding.artifact)
        task = plan.task(rooms, work, PHASE)
        try:
            probed: tools.Probed = rooms.executors.get(work.step.executor).probe(task, blob)
        finally:
            task.output.close()
    except MandamusError as error:
        if error.retryable:
            raise
        return tools.Probed(tools.Verdict.UNKNOWN, error.message)
    except Exception as error:
        log.exception("probe.crashed", run=work.run.id, step=work.row.name)
        return tools.Probed(tools.Verdict.UNKNOWN, f"the probe failed: {type(error).__name__}")
    settled = probed.verdict in {tools.Verdict.SUCCEEDED, tools.Verdict.FAILED}
    return _Done(task, _from_probe(probed)) if settled else probed


def _from_probe(probed: tools.Probed) -> tools.Applied:
    ok = probed.verdict is tools.Verdict.SUCCEEDED
    error = None if ok else MandamusError(Code.TOOL_FAILED, probed.detail, remedy="`mandamus runs logs` shows more")
    return tools.Applied(ok=ok, outputs=probed.outputs, state=probed.state, error=error, partial=not ok)


def _failure(work: Work, applied: tools.Applied) -> MandamusError:
    return applied.error or MandamusError(
        Code.TOOL_FAILED,
        f"step {work.row.name} failed",
        remedy=f"`mandamus runs logs {work.run.id} {work.row.name}` shows its output",
    )


def _indeterminate(work: Work, detail: str) -> MandamusError:
    return MandamusError(
        Code.EFFECT_INDETERMINATE,
        f"nobody knows whether step {work.row.name} took effect: {detail}",
        remedy=f"look at the target, then `mandamus runs settle {work.run.id} {work.row.name} "
        "--as succeeded|failed|retry --reason ...`",
    )


def _applied(work: Work, done: _Done) -> Applied:
    error = None if done.applied.error is None else done.applied.error.to_json()
    return Applied(step=work.row, ok=done.applied.ok, outputs=done.applied.outputs, error=error)


def _place(work: Work) -> tuple[object, ...]:
    return (work.run.id, work.row.name, work.row.attempt)


def _key(work: Work) -> EffectKey:
    return EffectKey(run=work.run.id, step=work.row.name, attempt=work.row.attempt, phase=PHASE)
