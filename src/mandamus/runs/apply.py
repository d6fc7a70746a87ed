"""Apply: exactly what was approved, once. The only place where an ``Applied`` is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Authority
from mandamus.engine.effect import EffectKey, Intent, Probed, Result
from mandamus.executors import model as tools
from mandamus.kernel import canonical
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Digest
from mandamus.runs import plan, progress, store
from mandamus.runs.lifecycle import StepEvent, StepState, step_after
from mandamus.runs.model import Applied, Approved, Notice, StepRow
from mandamus.runs.rooms import Rooms, acting_for, event
from mandamus.store.database import Tx

log = structlog.get_logger()

PHASE = "apply"


def apply(rooms: Rooms, work: plan.Work, approve: Callable[[Tx], Approved]) -> Applied:
    """Make the one effect of a step.

    ``approve`` runs inside the transaction that records the intent, so nothing can move between the last check and
    the promise. The act starts only when the intent is in a signed checkpoint. Called again after a crash with the
    same attempt, it never acts twice: a result is returned, an intent without one is probed.
    """
    key = EffectKey(run=work.run.id, step=work.row.name, attempt=work.row.attempt, phase=PHASE)
    done = rooms.effects.perform(
        key,
        begin=lambda tx: _intend(rooms, tx, work, approve),
        act=lambda: _act(rooms, work),
        finish=lambda tx, result: _finish(rooms, tx, work, result),
        probe=lambda: _probe(rooms, work),
    )
    plan.clean(rooms, work.row)
    return Applied(step=work.row, ok=done.ok, outputs=done.value.get("outputs", {}), error=done.value.get("error"))
