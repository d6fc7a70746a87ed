"""The life of a run and of its steps: one pure table each. The rows hold the fold; the log holds what is folded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mandamus.kernel.errors import Code, MandamusError


class RunState(StrEnum):
    """Where a run is."""

    REQUESTED = "requested"
    RUNNING = "running"
    WAITING = "waiting"
    INDETERMINATE = "indeterminate"
    SUCCEEDED = "succeeded"
    PLANNED = "planned"
    FAILED = "failed"
    DENIED = "denied"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


class StepState(StrEnum):
    """Where a step is."""

    PENDING = "pending"
    PLANNED = "planned"
    WAITING = "waiting"
    APPLYING = "applying"
    INDETERMINATE = "indeterminate"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DENIED = "denied"
    REJECTED = "rejected"
    EXPIRED = "expired"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class StepEvent(StrEnum):
    """What moves a step."""

    PLAN = "plan"
    WAIT = "wait"
    REPLAN = "replan"
    REJUDGE = "rejudge"
    INTEND = "intend"
    LOSE = "lose"
    RETRY = "retry"
    SUCCEED = "succeed"
    FAIL = "fail"
    DENY = "deny"
    REJECT = "reject"
    EXPIRE = "expire"
    SKIP = "skip"
    CANCEL = "cancel"


RUN_CLOSED = frozenset(
    {
        RunState.SUCCEEDED,
        RunState.PLANNED,
        RunState.FAILED,
        RunState.DENIED,
        RunState.REJECTED,
        RunState.CANCELLED,
    }
)
RUN_OPEN = frozenset(RunState) - RUN_CLOSED
STEP_CLOSED = frozenset(
    {
        StepState.SUCCEEDED,
        StepState.FAILED,
        StepState.DENIED,
        StepState.REJECTED,
        StepState.EXPIRED,
        StepState.SKIPPED,
        StepState.CANCELLED,
    }
)
STEP_PASSES = frozenset({StepState.SUCCEEDED, StepState.SKIPPED})
"""What lets the steps that need it go on."""

_S, _E = StepState, StepEvent
STEP_TABLE: Mapping[tuple[StepState, StepEvent], StepState] = {
    (_S.PENDING, _E.PLAN): _S.PLANNED,
    (_S.PENDING, _E.FAIL): _S.FAILED,
    (_S.PENDING, _E.DENY): _S.DENIED,
    (_S.PENDING, _E.SKIP): _S.SKIPPED,
    (_S.PENDING, _E.CANCEL): _S.CANCELLED,
    (_S.PENDING, _E.RETRY): _S.PENDING,
    (_S.PLANNED, _E.WAIT): _S.WAITING,
    (_S.PLANNED, _E.INTEND): _S.APPLYING,
    (_S.PLANNED, _E.DENY): _S.DENIED,
    (_S.PLANNED, _E.FAIL): _S.FAILED,
    (_S.PLANNED, _E.CANCEL): _S.CANCELLED,
    (_S.PLANNED, _E.REPLAN): _S.PENDING,
    (_S.WAITING, _E.INTEND): _S.APPLYING,
    (_S.WAITING, _E.WAIT): _S.WAITING,
    (_S.WAITING, _E.REJUDGE): _S.WAITING,
    (_S.WAITING, _E.REPLAN): _S.PENDING,
    (_S.WAITING, _E.DENY): _S.DENIED,
    (_S.WAITING, _E.REJECT): _S.REJECTED,
    (_S.WAITING, _E.EXPIRE): _S.EXPIRED,
    (_S.WAITING, _E.FAIL): _S.FAILED,
    (_S.WAITING, _E.CANCEL): _S.CANCELLED,
    (_S.APPLYING, _E.SUCCEED): _S.SUCCEEDED,
    (_S.APPLYING, _E.FAIL): _S.FAILED,
    (_S.APPLYING, _E.CANCEL): _S.CANCELLED,
    (_S.APPLYING, _E.RETRY): _S.PENDING,
    (_S.APPLYING, _E.LOSE): _S.INDETERMINATE,
    (_S.INDETERMINATE, _E.SUCCEED): _S.SUCCEEDED,
    (_S.INDETERMINATE, _E.FAIL): _S.FAILED,
    (_S.INDETERMINATE, _E.RETRY): _S.PENDING,
    (_S.FAILED, _E.RETRY): _S.PENDING,
    (_S.DENIED, _E.RETRY): _S.PENDING,
    (_S.REJECTED, _E.RETRY): _S.PENDING,
    (_S.EXPIRED, _E.RETRY): _S.PENDING,
    (_S.CANCELLED, _E.RETRY): _S.PENDING,
    (_S.SKIPPED, _E.RETRY): _S.PENDING,
}


def step_after(state: StepState, event: StepEvent) -> StepState:
    """The next state; raises ``transition_illegal`` for a pair the table does not have."""
    try:
        return STEP_TABLE[state, event]
    except KeyError as error:
        raise MandamusError(
            Code.TRANSITION_ILLEGAL,
            f"a step that is {state} cannot {event}",
            remedy="look at it with `mandamus runs show RUN`",
            context={"state": state.value, "event": event.value},
        ) from error


def run_outcome(states: Iterable[StepState], *, plan_only: bool, cancelled: bool) -> RunState:
    """The state of a run whose steps are these: the worst word wins, waiting only when nothing moves."""
    found = set(states)
    if _S.APPLYING in found or (_S.PENDING in found and not found & _STOPPERS):
        return RunState.RUNNING
    for state, outcome in _OUTCOMES:
        if state in found:
            return outcome
    if cancelled:
        return RunState.CANCELLED
    return RunState.PLANNED if plan_only else RunState.SUCCEEDED


_OUTCOMES = (
    (_S.INDETERMINATE, RunState.INDETERMINATE),
    (_S.WAITING, RunState.WAITING),
    (_S.DENIED, RunState.DENIED),
    (_S.REJECTED, RunState.REJECTED),
    (_S.EXPIRED, RunState.FAILED),
    (_S.FAILED, RunState.FAILED),
    (_S.CANCELLED, RunState.CANCELLED),
)
_STOPPERS = frozenset(state for state, _ in _OUTCOMES)


@dataclass
class Folded:
    """What the events of one run add up to."""

    run: RunState = RunState.REQUESTED
    steps: dict[str, StepState] = field(default_factory=dict)

    def step(self, name: str, event: StepEvent) -> None:
        """Move one step; a step never seen before is pending."""
        self.steps[name] = step_after(self.steps.get(name, StepState.PENDING), event)


_MOVES: Mapping[str, StepEvent] = {
    "step.planned": StepEvent.PLAN,
    "step.waiting": StepEvent.WAIT,
    "step.retrying": StepEvent.RETRY,
    "effect.intended": StepEvent.INTEND,
    "effect.indeterminate": StepEvent.LOSE,
}
_FINISHES: Mapping[str, StepEvent] = {
    StepState.SUCCEEDED.value: StepEvent.SUCCEED,
    StepState.FAILED.value: StepEvent.FAIL,
    StepState.DENIED.value: StepEvent.DENY,
    StepState.REJECTED.value: StepEvent.REJECT,
    StepState.EXPIRED.value: StepEvent.EXPIRE,
    StepState.SKIPPED.value: StepEvent.SKIP,
    StepState.CANCELLED.value: StepEvent.CANCEL,
}


def fold(leaves: Iterable[Mapping[str, Any]]) -> Folded:
    """Fold the leaves of one run's stream (their JSON, in order); must equal the rows."""
    folded = Folded()
    for leaf in leaves:
        _fold_one(folded, leaf["kind"], leaf.get("step"), leaf.get("data", {}))
    return folded


def _fold_one(folded: Folded, kind: str, step: str | None, data: Mapping[str, Any]) -> None:
    if kind == "run.admitted":
        folded.run = RunState.RUNNING
    elif kind == "run.closed":
        folded.run = RunState(data["state"])
    elif kind == "run.retried":
        folded.run = RunState.RUNNING
        for name in data["steps"]:
            folded.step(name, StepEvent.RETRY)
    elif step is not None and kind in _MOVES:
        folded.step(step, _MOVES[kind])
    elif step is not None and kind == "step.finished":
        folded.step(step, _FINISHES[data["state"]])
    elif step is not None and kind == "step.moved":
        folded.step(step, StepEvent.REPLAN if data["then"] == "plan" else StepEvent.REJUDGE)
