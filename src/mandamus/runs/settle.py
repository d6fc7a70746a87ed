"""Settle: a human's word on an effect that neither a result nor a probe could account for."""

from __future__ import annotations

from mandamus.engine.effect import EffectKey
from mandamus.kernel.access import Subject
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import RunId
from mandamus.runs import progress, store
from mandamus.runs.apply import PHASE
from mandamus.runs.lifecycle import StepState
from mandamus.runs.model import Run, StepRow
from mandamus.runs.rooms import Rooms

OUTCOMES = ("succeeded", "failed", "retry")


def settle(rooms: Rooms, who: Subject, run_id: RunId, step: str, outcome: str, *, reason: str) -> Run:
    """Record what became of an indeterminate effect and let the run go on.

    ``succeeded`` and ``failed`` close the step; ``retry`` says that it surely did not happen, so it is planned again.
    Raises ``conflict`` when the step is not indeterminate and ``usage`` for another outcome or an empty reason.
    """
    if outcome not in OUTCOMES or not reason.strip():
        raise MandamusError(
            Code.USAGE,
            f"an effect is settled as one of {', '.join(OUTCOMES)}, with a reason",
            remedy=f"`mandamus runs settle {run_id} {step} --as succeeded --reason 'looked at it: ...'`",
        )
    with rooms.db.begin("settle") as tx:
        run = store.get_run(tx.conn, run_id)
        row = store.get_step(tx.conn, run_id, step)
        if row.state is not StepState.INDETERMINATE:
            raise MandamusError(
                Code.CONFLICT,
                f"step {step} of {run_id} is {row.state}, not indeterminate",
                remedy=f"see `mandamus runs show {run_id}`",
            )
        key = EffectKey(run=run_id, step=step, attempt=row.attempt, phase=PHASE)
        rooms.effects.settle(tx, who, key, outcome, reason)
        if outcome == "retry":
            progress.again(rooms, tx, run, row)
        else:
            error = None if outcome == "succeeded" else _settled_failed(row, reason).to_json()
            progress.finished(rooms, tx, run, row, StepState(outcome), error=error, who=who)
        rooms.engine.enqueue(tx, "run", run_id, store.next_wake(tx.conn, run_id))
        return store.get_run(tx.conn, run_id)


def _settled_failed(row: StepRow, reason: str) -> MandamusError:
    return MandamusError(
        Code.EFFECT_INDETERMINATE,
        f"step {row.name} was settled as failed: {reason}",
        remedy=f"`mandamus runs retry {row.run}` plans it again",
    )
