"""Writers and integrators killed for real, over and over, under load: the log and the state never part."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from mandamus.audit import note, tree
from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.audit.verify import verify_log
from mandamus.kernel.access import Subject
from mandamus.store.database import Database
from mandamus.store.tables import audit as tables

WRITERS, INTEGRATORS = 3, 2
PAUSE_S = 0.1
EVENTS_BETWEEN = 5

WORKERS = '''
"""Forks a worker for each line it reads and prints its process id; forking spares each life the imports."""
import os, signal, sys, time
from pathlib import Path
import sqlalchemy as sa
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Resource
from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.kernel.access import OWNER, Subject
from mandamus.kernel.errors import MandamusError
from mandamus.store.database import Database, open_postgres, open_sqlite

home, url, origin = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

class Clock:
    def now_us(self): return time.time_ns() // 1000
    def monotonic_s(self): return time.monotonic()

def once(action):
    try:
        action()
    except MandamusError as error:
        if not error.retryable:
            raise

def work(role, number):
    db = Database(open_postgres(url) if url else open_sqlite(home / "mandamus.db"))
    audit = Audit(db, home / "log", Signer(origin, bytes([7]) * 32), Clock(), os.urandom)
    who = Subject("ada", "os-user", frozenset(), OWNER)
    audit.open(who, Signer(origin + "/platform", bytes([8]) * 32).vkey)
    insert = sa.text("INSERT INTO killed_state (run, seq) VALUES (:run, :seq)")
    count = 0

    def write():
        run = f"run_{number}" if count % 3 else "run_shared"
        with db.begin("write") as tx:
            event = Event(Kind.STEP_PLANNED, who, Resource("step", "s"), run=run, step="s", data={"attempt": count})
            leaf = audit.record(tx, event)
            tx.conn.execute(insert, {"run": run, "seq": leaf.seq})
        if count % 25 == 0:
            audit.wait_checkpointed(leaf)

    while True:
        count += 1
        once(write if role == "writer" else audit.flush)

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    role, number = line.split()
    child = os.fork()
    if child == 0:
        try:
            work(role, number)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    print(child, flush=True)
'''


class Workers:
    """A crowd of writers and integrators on one home; whoever is killed is replaced."""

    def __init__(self, home: Path, url: str, origin: str, chance: random.Random, errors: Path) -> None:
        self._errors = errors
        self._parent = subprocess.Popen(
            [sys.executable, "-c", WORKERS, str(home), url, origin],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors.open("w"),
            text=True,
            env={**os.environ},
        )
        self._chance = chance
        self._lives = 0
        self._alive: list[tuple[str, int]] = []
        for role in ["writer"] * WRITERS + ["integrator"] * INTEGRATORS:
            self._start(role)

    def _start(self, role: str) -> None:
        assert self._parent.stdin
        assert self._parent.stdout
        self._lives += 1
        self._parent.stdin.write(f"{role} {self._lives}\n")
        self._parent.stdin.flush()
        self._alive.append((role, int(self._parent.stdout.readline())))

    def kill_one(self) -> None:
        """Kill one of them, at any moment of its life; it must still have been alive."""
        role, process = self._alive.pop(self._chance.randrange(len(self._alive)))
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            pytest.fail(f"a {role} ended by itself: {self._errors.read_text()}")
        self._start(role)

    def end(self) -> str:
        """Kill all that is left; gives what any of them complained about."""
        for _, process in self._alive:
            os.kill(process, signal.SIGKILL)
        assert self._parent.stdin
        assert self._parent.stdout
        self._parent.stdin.close()
        self._parent.wait(30)
        self._parent.stdout.close()
        return self._errors.read_text()


@pytest.fixture
def url(request: pytest.FixtureRequest, database: Database) -> str:
    """Where another process finds the database; empty for the file in the home."""
    return "" if database.is_sqlite else str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def crowd(home: Path, url: str, signer: Signer, audit: Audit, tmp_path: Path) -> Iterator[Workers]:
    """The crowd at work."""
    with audit._database.begin("test") as tx:
        tx.conn.execute(sa.text("CREATE TABLE killed_state (run TEXT NOT NULL, seq INTEGER NOT NULL)"))
    made = Workers(home, url, signer.name, random.Random(11), tmp_path / "errors")
    yield made
    if made._parent.poll() is None:
        made.end()


def _events_and_states(database: Database) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    with database.read() as conn:
        events = conn.execute(sa.select(tables.audit_event.c.run, tables.audit_event.c.seq).where(
            tables.audit_event.c.run.is_not(None)))  # fmt: skip
        states = conn.execute(sa.text("SELECT run, seq FROM killed_state"))
        return sorted((row.run, row.seq) for row in events), sorted((row.run, row.seq) for row in states)


def _let_work(database: Database) -> None:
    """Return once the crowd has written something more: who is killed is in the midst of work."""
    count = sa.text("SELECT count(*) FROM killed_state")
    with database.read() as conn:
        wanted = conn.scalar(count) + EVENTS_BETWEEN
    for _ in range(3_000):
        with database.read() as conn:
            if conn.scalar(count) >= wanted:
                return
        time.sleep(0.02)
    pytest.fail("the crowd writes nothing any more")


@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=pytest.mark.slow)])
def test_killed_under_load(
    crowd: Workers, database: Database, audit: Audit, folder: Path, who: Subject, kills: int, record_property
) -> None:
    """No event without its state, no state without its event, dense indices, and one history of checkpoints."""
    for _ in range(kills):
        _let_work(database)
        time.sleep(crowd._chance.uniform(0, 2 * PAUSE_S))
        crowd.kill_one()
    complaints = crowd.end()
    assert complaints == ""
    newest = audit.flush()
    events, states = _events_and_states(database)
    without_state, without_event = set(events) - set(states), set(states) - set(events)
    with database.read() as conn:
        indices = list(conn.scalars(sa.select(tables.audit_leaf.c.leaf_index).order_by(tables.audit_leaf.c.leaf_index)))
        notes = list(conn.scalars(sa.select(tables.audit_checkpoint.c.note)))
    gaps = sum(found != at for at, found in enumerate(indices))
    record_property(
        "says",
        f"{database.engine.dialect.name}: {kills} kills under load, {len(events)} events, {len(notes)} checkpoints: "
        f"{len(without_state)} events without state, {len(without_event)} states without event, {gaps} gaps",
    )
    assert (without_state, without_event, gaps) == (set(), set(), 0)
    assert events == states
    assert len(events) >= EVENTS_BETWEEN * kills
    assert len(indices) == newest.size == len(events) + 1
    checkpoints = [note.read_checkpoint(each, audit._keys.trust) for each in notes]
    assert len({each.size for each in checkpoints}) == len(checkpoints)
    for old in checkpoints:
        path = audit.consistency(old.size, newest.size)
        assert tree.verify_consistency(old.size, newest.size, old.root, newest.root, path)
    assert verify_log(folder, audit.vkey).problems == ()
    assert audit.verify_database().problems == ()
