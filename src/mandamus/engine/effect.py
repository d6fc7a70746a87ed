"""At most once: an effect is promised in the log before it is made, and its result is recorded after.

1. One transaction checks everything once more, records the intent with the fencing token, and its event.
2. The event is in a signed, published checkpoint.
3. The act.
4. One transaction records the result, its event, and what follows from it.

Whoever finds an intent without a result never acts: the executor's probe says what became of it, else a human does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
import structlog

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Authority, Event, Outcome, Resource
from mandamus.audit.service import Audit
from mandamus.engine.service import RETRY_S_FIRST, RETRY_S_MAX, Engine
from mandamus.kernel import canonical
from mandamus.kernel.access import Subject
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database, Tx
from mandamus.store.tables.engine import effect

log = structlog.get_logger()

T = TypeVar("T")


class State(StrEnum):
    """Where an effect is. ``void``: promised and provably never begun."""

    INTENDED = "intended"
    INDETERMINATE = "indeterminate"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    VOID = "void"


@dataclass(frozen=True)
class EffectKey:
    """What makes an effect the same effect."""

    run: str
    step: str
    attempt: int
    phase: str


@dataclass(frozen=True)
class Intent:
    """The promise, in the words of the log: who acts, on what authority, bound to which digests."""

    who: Subject
    authority: Authority
    binding: str
    artifact: str


@dataclass(frozen=True)
class Settled(Generic[T]):
    """What a probe found: ``value`` when the act is known to have ended, ``state`` says how."""

    state: State
    value: T | None = None


class Effects:
    """The effects of one home."""

    def __init__(self, db: Database, audit: Audit, engine: Engine, clock: Clock, checkpoint_timeout_s: float) -> None:
        self._db = db
        self._audit = audit
        self._engine = engine
        self._clock = clock
        self._timeout_s = checkpoint_timeout_s
        self._pause = threading.Event()

    def perform(
        self,
        key: EffectKey,
        *,
        begin: Callable[[Tx], Intent],
        act: Callable[[], T],
        succeeded: Callable[[T], bool],
        finish: Callable[[Tx, T], Mapping[str, Any]],
    ) -> T:
        """Make the effect. ``begin`` runs in the intent's transaction and may refuse by raising.

        ``finish`` runs in the result's transaction and gives what the log names by digest. Raises ``home_locked``
        for a stale token and ``audit_unavailable`` when the promise cannot be published: then nothing was begun.
        """
        with self._db.begin("effect.intend") as tx:
            token = self._engine.check_token(tx)
            intent = begin(tx)
            self._insert(tx, key, token)
            data = {
                "attempt": key.attempt,
                "phase": key.phase,
                "binding": intent.binding,
                "artifact": intent.artifact,
                "token": token,
            }
            leaf = self._audit.record(tx, _event(Kind.EFFECT_INTENDED, intent.who, key, data, intent.authority))
        self._audit.wait_checkpointed(leaf, self._timeout_s)
        value = act()
        self.conclude(key, intent.who, value, succeeded=succeeded, finish=finish)
        return value

    def conclude(
        self,
        key: EffectKey,
        who: Subject,
        value: T,
        *,
        succeeded: Callable[[T], bool],
        finish: Callable[[Tx, T], Mapping[str, Any]],
        by_probe: bool = False,
    ) -> None:
        """Record the result; trouble of the machine is waited out, for what was done cannot be undone."""
        pause_s = RETRY_S_FIRST
        while True:
            try:
                with self._db.begin("effect.finish") as tx:
                    self._finish(tx, key, who, value, succeeded(value), finish, by_probe=by_probe)
            except MandamusError as error:
                if not error.retryable:
                    raise
                log.warning("effect.result_waits", run=key.run, step=key.step, code=error.code.text, pause_s=pause_s)
                self._pause.wait(pause_s)
                pause_s = min(pause_s * 2, RETRY_S_MAX)
            else:
                return

    def state(self, key: EffectKey) -> State | None:
        """Where the effect is, None when it was never promised."""
        with self._db.read() as conn:
            found = conn.scalar(sa.select(effect.c.state).where(*_is(key)))
        return None if found is None else State(found)

    def void(self, tx: Tx, who: Subject, key: EffectKey) -> None:
        """The act was provably never begun: the promise is withdrawn, and the step may be planned again."""
        self._set(tx, key, State.VOID, None)
        self._audit.record(tx, _event(Kind.EFFECT_SETTLED, who, key, _settled(key, "not_started", by_probe=True)))

    def lose(self, tx: Tx, who: Subject, key: EffectKey) -> None:
        """No probe can tell: the effect is indeterminate until a human settles it."""
        self._set(tx, key, State.INDETERMINATE, None)
        data = {"attempt": key.attempt, "phase": key.phase}
        self._audit.record(tx, _event(Kind.EFFECT_INDETERMINATE, who, key, data, outcome=Outcome.UNKNOWN))

    def settle(self, tx: Tx, who: Subject, key: EffectKey, outcome: str, reason: str) -> None:
        """A human's word: ``succeeded``, ``failed`` or ``retry``; raises ``conflict`` for an effect that is not lost."""
        states = {"succeeded": State.SUCCEEDED, "failed": State.FAILED, "retry": State.VOID}
        found = tx.conn.scalar(sa.select(effect.c.state).where(*_is(key)))
        if found != State.INDETERMINATE.value:
            raise MandamusError(
                Code.CONFLICT,
                f"the effect of {key.step} in {key.run} is {found or 'not begun'}, there is nothing to settle",
                remedy=f"see `mandamus runs show {key.run}`",
            )
        self._set(tx, key, states[outcome], None)
        data = _settled(key, outcome, by_probe=False)
        self._audit.record(tx, _event(Kind.EFFECT_SETTLED, who, key, data, why=reason))

    def results(self, run: str) -> list[bytes]:
        """Every recorded result of a run's effects: the exact bytes that the log names by digest."""
        query = sa.select(effect.c.result).where(effect.c.run == run, effect.c.result.is_not(None))
        with self._db.read() as conn:
            return list(conn.scalars(query))

    def unsettled(self) -> list[EffectKey]:
        """Effects that are promised or lost, oldest first."""
        open_states = [State.INTENDED.value, State.INDETERMINATE.value]
        query = sa.select(effect).where(effect.c.state.in_(open_states)).order_by(effect.c.intended_us)
        with self._db.read() as conn:
            return [EffectKey(row.run, row.step, row.attempt, row.phase) for row in conn.execute(query)]

    def _insert(self, tx: Tx, key: EffectKey, token: int) -> None:
        tx.conn.execute(
            effect.insert().values(
                run=key.run,
                step=key.step,
                attempt=key.attempt,
                phase=key.phase,
                state=State.INTENDED.value,
                token=token,
                intended_us=self._clock.now_us(),
            )
        )

    def _finish(
        self,
        tx: Tx,
        key: EffectKey,
        who: Subject,
        value: T,
        ok: bool,  # noqa: FBT001 - the result itself
        finish: Callable[[Tx, T], Mapping[str, Any]],
        *,
        by_probe: bool,
    ) -> None:
        if by_probe:
            word = State.SUCCEEDED.value if ok else State.FAILED.value
            self._audit.record(tx, _event(Kind.EFFECT_SETTLED, who, key, _settled(key, word, by_probe=True)))
        result = canonical.dumps(finish(tx, value))
        self._set(tx, key, State.SUCCEEDED if ok else State.FAILED, result)
        data = {
            "attempt": key.attempt,
            "phase": key.phase,
            "outcome": "succeeded" if ok else "failed",
            "result": canonical.digest(result),
        }
        outcome = Outcome.OK if ok else Outcome.FAILED
        self._audit.record(tx, _event(Kind.EFFECT_FINISHED, who, key, data, outcome=outcome))

    def _set(self, tx: Tx, key: EffectKey, state: State, result: bytes | None) -> None:
        values = {"state": state.value, "finished_us": self._clock.now_us(), "result": result}
        tx.conn.execute(effect.update().where(*_is(key)).values(**values))


def _is(key: EffectKey) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        effect.c.run == key.run,
        effect.c.step == key.step,
        effect.c.attempt == key.attempt,
        effect.c.phase == key.phase,
    )


def _settled(key: EffectKey, word: str, *, by_probe: bool) -> dict[str, Any]:
    return {"attempt": key.attempt, "phase": key.phase, "as": word, "by_probe": by_probe}


def _event(
    kind: Kind,
    who: Subject,
    key: EffectKey,
    data: Mapping[str, Any],
    authority: Authority | None = None,
    *,
    outcome: Outcome = Outcome.OK,
    why: str = "",
) -> Event:
    return Event(
        kind=kind,
        who=who,
        resource=Resource("step", f"{key.run}/{key.step}"),
        outcome=outcome,
        run=key.run,
        step=key.step,
        why=why,
        authority=authority or Authority(),
        data=data,
    )
