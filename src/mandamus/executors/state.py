"""The states tools keep: every version for ever, in encrypted blobs, guarded by lineage, serial and one lock each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mandamus.executors.model import State, StateRef
from mandamus.kernel import canonical
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Digest
from mandamus.store.blobs import Blobs
from mandamus.store.database import Database, Tx
from mandamus.store.tables.executors import executor_state as versions
from mandamus.store.tables.executors import executor_state_lock as locks

SERIAL_MAX = 2**63 - 1


@dataclass(frozen=True)
class Holder:
    """Who holds a state, and since when."""

    run: str
    step: str
    since_us: int


@dataclass(frozen=True)
class Held:
    """A state that is locked, by its name, and who holds it."""

    name: str
    by: Holder

    def to_json(self) -> dict[str, Any]:
        """As commands print it."""
        return {"name": self.name, **vars(self.by)}


@dataclass(frozen=True)
class _Newest:
    version: int
    ref: StateRef
    digest: Digest


class StateStore:
    """The states of one home, each named by its environment and a name of its own.

    A state is held by one step at a time, from plan to judge and during apply, never while people are asked.
    """

    def __init__(self, db: Database, blobs: Blobs, clock: Clock) -> None:
        self._db = db
        self._blobs = blobs
        self._clock = clock

    def latest(self, environment: str, name: str) -> State | None:
        """The newest version, its bytes verified, or None when there is none yet."""
        with self._db.read() as conn:
            found = _newest(conn, environment, name)
        return None if found is None else State(found.ref.lineage, found.ref.serial, self._blobs.get(found.digest))

    def ref(self, environment: str, name: str) -> StateRef | None:
        """Lineage and serial of the newest version, without its bytes."""
        with self._db.read() as conn:
            found = _newest(conn, environment, name)
        return None if found is None else found.ref

    def acquire(self, tx: Tx, environment: str, name: str, run: str, step: str) -> bool:
        """Take the lock, or find that this step has it already; False when another step holds it.

        A holder that is told of stays until this transaction ends: its release waits for us and then sees what we
        left for it, so nobody who queues up here is forgotten.
        """
        key = {"environment": environment, "name": name}
        insert = sqlite.insert if tx.conn.dialect.name == "sqlite" else postgresql.insert
        values = {**key, "run": run, "step": step, "since_us": self._clock.now_us()}
        while True:
            taking = insert(locks).values(values).on_conflict_do_nothing().returning(locks.c.run)
            if tx.conn.execute(taking).one_or_none() is not None:
                return True
            found = tx.conn.execute(_lock(environment, name).with_for_update()).one_or_none()
            if found is not None:
                return (found.run, found.step) == (run, step)

    def release(self, tx: Tx, environment: str, name: str, run: str, step: str) -> None:
        """Give the lock back if this step holds it."""
        held = locks.c.environment == environment, locks.c.name == name, locks.c.run == run, locks.c.step == step
        tx.conn.execute(locks.delete().where(*held))

    def holder(self, environment: str, name: str) -> Holder | None:
        """Who holds the lock."""
        with self._db.read() as conn:
            found = conn.execute(_lock(environment, name)).one_or_none()
        return None if found is None else Holder(found.run, found.step, found.since_us)

    def held(self, environment: str) -> list[Held]:
        """The states of an environment that are locked now, by name."""
        query = sa.select(locks).where(locks.c.environment == environment).order_by(locks.c.name)
        with self._db.read() as conn:
            return [Held(row.name, Holder(row.run, row.step, row.since_us)) for row in conn.execute(query)]

    def write(self, tx: Tx, environment: str, name: str, data: bytes, run: str, step: str) -> State:
        """Add a version; writing the newest bytes again changes nothing.

        Raises ``state_locked`` unless this step holds the lock, ``state_conflict`` for another lineage, a lower
        serial, or other content under the same serial, and ``value_invalid`` for bytes that are no state file.
        """
        held = tx.conn.execute(_lock(environment, name).with_for_update()).one_or_none()
        if held is None or (held.run, held.step) != (run, step):
            raise _not_held(environment, name, held)
        state = parse(data)
        digest = self._blobs.put(data)
        before = _newest(tx.conn, environment, name)
        if before is not None:
            if before.digest == digest:
                return state
            self._check(f"{environment}/{name}", before, state)
        tx.conn.execute(
            versions.insert().values(
                environment=environment,
                name=name,
                version=1 if before is None else before.version + 1,
                lineage=state.lineage,
                serial=state.serial,
                digest=digest,
                run=run,
                step=step,
                written_us=self._clock.now_us(),
            )
        )
        return state

    def named_blobs(self) -> list[tuple[Digest, str]]:
        """The blobs that versions name, and by which."""
        with self._db.read() as conn:
            return [
                (Digest(row.digest), f"version {row.version} of the state {row.environment}/{row.name}")
                for row in conn.execute(versions.select())
            ]

    def _check(self, what: str, before: _Newest, state: State) -> None:
        old = before.ref
        if state.lineage != old.lineage:
            raise _conflict(what, old, state, "belongs to another history")
        if state.serial < old.serial:
            raise _conflict(what, old, state, "is older than the one stored")
        if state.serial == old.serial and _content(state.data) != _content(self._blobs.get(before.digest)):
            raise _conflict(what, old, state, "has the serial of the one stored but says something else")


def parse(data: bytes) -> State:
    """A state file's lineage and serial (Terraform's state format 4); raises ``value_invalid``."""
    document = canonical.loads(data)
    fields = document if isinstance(document, dict) else {}
    lineage, serial = fields.get("lineage"), fields.get("serial")
    if not isinstance(lineage, str) or not lineage:
        raise _invalid("it has no lineage")
    if not isinstance(serial, int) or isinstance(serial, bool) or not 0 <= serial <= SERIAL_MAX:
        raise _invalid("it has no serial")
    return State(lineage, serial, data)


def _content(data: bytes) -> Any:
    """What a state says, without which release of the tool wrote it: that alone moves no serial."""
    return {key: value for key, value in canonical.loads(data).items() if key != "terraform_version"}


def _newest(conn: sa.Connection, environment: str, name: str) -> _Newest | None:
    query = versions.select().where(versions.c.environment == environment, versions.c.name == name)
    row = conn.execute(query.order_by(versions.c.version.desc()).limit(1)).one_or_none()
    return None if row is None else _Newest(row.version, StateRef(row.lineage, row.serial), Digest(row.digest))


def _lock(environment: str, name: str) -> sa.Select[Any]:
    return sa.select(locks).where(locks.c.environment == environment, locks.c.name == name)


def _not_held(environment: str, name: str, held: sa.Row[Any] | None) -> MandamusError:
    by = "nobody holds it" if held is None else f"step {held.step} of {held.run} holds it"
    return MandamusError(
        Code.STATE_LOCKED,
        f"the state {name} of {environment} cannot be written: {by}",
        remedy="only the step that holds a state's lock writes it; look at both runs with `mandamus runs show`",
    )


def _conflict(what: str, old: StateRef, state: State, why: str) -> MandamusError:
    return MandamusError(
        Code.STATE_CONFLICT,
        f"the state written to {what} {why}",
        remedy="nothing was overwritten; find out what else writes this state, then `mandamus runs retry`",
        context={"stored": vars(old), "written": vars(state.ref)},
    )


def _invalid(why: str) -> MandamusError:
    return MandamusError(
        Code.VALUE_INVALID, f"these bytes are no state file: {why}", remedy="look at what the tool wrote in its folder"
    )
