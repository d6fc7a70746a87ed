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
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import IntegrityError

from mandamus.audit.gate import Demand
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


_THIS = sa.and_(*(effect.c[name] == sa.bindparam(f"of_{name}") for name in ("run", "step", "attempt", "phase")))
_GET_STATE = sa.select(effect.c.state).where(_THIS)
_INSERT = effect.insert()
_MOVE = (
    effect.update()
    .where(_THIS, effect.c.state == sa.bindparam("of_state"))
    .values({name: sa.bindparam(name) for name in ("state", "finished_us")})
)
_KEEP_RESULT = effect.update().where(_THIS).values(result=sa.bindparam("result"))


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
        demand: Demand | None = None,
    ) -> T:
        """Make the effect. ``begin`` runs in the intent's transaction and may refuse by raising.

        ``demand`` is what it needs of the log's witnesses, by default what the log's configuration says.
        ``finish`` runs in the result's transaction and gives what the log names by digest. Raises ``home_locked``
        for a stale token, ``conflict`` for an effect that was promised before, and ``audit_unavailable`` when the
        promise cannot be published. Then nothing was begun; yet a promise that stands is only withdrawn by `void`.
        """
        with self._db.begin("effect.intend") as tx:
            token = self._engine.check_token(tx.conn)
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
        self._audit.wait_checkpointed(leaf, self._timeout_s, demand)
        self._check_still_ours(key)
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
        """Record the result; trouble of the machine is waited out, for what was done cannot be undone.

        Raises ``conflict`` when the effect has a result or was given up: the first word on it stands.
        """
        pause_s = RETRY_S_FIRST
        ends = State.SUCCEEDED if succeeded(value) else State.FAILED
        while True:
            try:
                with self._db.begin("effect.finish") as tx:
                    # A commit that broke off may have happened all the same; then there is nothing left to do.
                    if pause_s == RETRY_S_FIRST or self._state(tx.conn, key) is not ends:
                        self._finish(tx, key, who, value, ends, finish, by_probe=by_probe)
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
            return self._state(conn, key)

    def void(self, tx: Tx, who: Subject, key: EffectKey) -> None:
        """The act was provably never begun: the promise is withdrawn, and the step may be planned again."""
        self._move(tx, key, State.INTENDED, State.VOID)
        self._audit.record(tx, _event(Kind.EFFECT_SETTLED, who, key, _settled(key, "not_started", by_probe=True)))

    def lose(self, tx: Tx, who: Subject, key: EffectKey) -> None:
        """No probe can tell: the effect is indeterminate until a human settles it."""
        self._move(tx, key, State.INTENDED, State.INDETERMINATE)
        data = {"attempt": key.attempt, "phase": key.phase}
        self._audit.record(tx, _event(Kind.EFFECT_INDETERMINATE, who, key, data, outcome=Outcome.UNKNOWN))

    def settle(self, tx: Tx, who: Subject, key: EffectKey, outcome: str, reason: str) -> None:
        """A human's word: ``succeeded``, ``failed`` or ``retry``; raises ``conflict`` for an effect not lost."""
        states = {"succeeded": State.SUCCEEDED, "failed": State.FAILED, "retry": State.VOID}
        self._move(tx, key, State.INDETERMINATE, states[outcome])
        data = _settled(key, outcome, by_probe=False)
        self._audit.record(tx, _event(Kind.EFFECT_SETTLED, who, key, data, why=reason))

    def results(self, run: str) -> list[bytes]:
        """Every recorded result of a run's effects: the exact bytes that the log names by digest."""
        query = sa.select(effect.c.result).where(effect.c.run == run, effect.c.result.is_not(None))
        with self._db.read() as conn:
            return list(conn.scalars(query))

    def unsettled(self) -> list[EffectKey]:
        """Effects that are promised and have no result, or are lost; oldest first. Some may be under way."""
        open_states = [State.INTENDED.value, State.INDETERMINATE.value]
        query = sa.select(effect).where(effect.c.state.in_(open_states)).order_by(effect.c.intended_us)
        with self._db.read() as conn:
            return [EffectKey(row.run, row.step, row.attempt, row.phase) for row in conn.execute(query)]

    def _state(self, conn: sa.Connection, key: EffectKey) -> State | None:
        found = conn.scalar(_GET_STATE, _of(key))
        return None if found is None else State(found)

    def _check_still_ours(self, key: EffectKey) -> None:
        """The wait for the checkpoint may have been long enough for another node to give this effect up."""
        with self._db.read() as conn:
            self._engine.check_token(conn)
            found = self._state(conn, key)
        if found is not State.INTENDED:
            raise _conflict(key, found, State.INTENDED)

    def _insert(self, tx: Tx, key: EffectKey, token: int) -> None:
        values = {"state": State.INTENDED.value, "token": token, "intended_us": self._clock.now_us()}
        try:
            tx.conn.execute(_INSERT, {**vars(key), **values})
        except IntegrityError as error:
            raise MandamusError(
                Code.CONFLICT,
                f"the effect of {key.step} in {key.run}, attempt {key.attempt}, was promised before",
                remedy="no effect is made twice: ask what became of it, or plan the step again as a new attempt",
            ) from error

    def _finish(
        self,
        tx: Tx,
        key: EffectKey,
        who: Subject,
        value: T,
        ends: State,
        finish: Callable[[Tx, T], Mapping[str, Any]],
        *,
        by_probe: bool,
    ) -> None:
        self._move(tx, key, State.INTENDED, ends)
        if by_probe:
            self._audit.record(tx, _event(Kind.EFFECT_SETTLED, who, key, _settled(key, ends.value, by_probe=True)))
        result = canonical.dumps(finish(tx, value))
        tx.conn.execute(_KEEP_RESULT, {**_of(key), "result": result})
        data = {
            "attempt": key.attempt,
            "phase": key.phase,
            "outcome": ends.value,
            "result": canonical.digest(result),
        }
        outcome = Outcome.OK if ends is State.SUCCEEDED else Outcome.FAILED
        self._audit.record(tx, _event(Kind.EFFECT_FINISHED, who, key, data, outcome=outcome))

    def _move(self, tx: Tx, key: EffectKey, before: State, after: State) -> None:
        """Compare and set: of two who know what became of an effect, the first one's word stands."""
        values = {"state": after.value, "finished_us": self._clock.now_us()}
        moved = tx.conn.execute(_MOVE, {**_of(key), "of_state": before.value, **values})
        if moved.rowcount != 1:
            raise _conflict(key, self._state(tx.conn, key), before)


def _conflict(key: EffectKey, found: State | None, wanted: State) -> MandamusError:
    return MandamusError(
        Code.CONFLICT,
        f"the effect of {key.step} in {key.run}, attempt {key.attempt}, is {found or 'not begun'}, not {wanted}",
        remedy=f"see `mandamus runs show {key.run}`",
    )


def _of(key: EffectKey) -> dict[str, Any]:
    return {f"of_{name}": value for name, value in vars(key).items()}


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
