"""A database with the engine's tables, an engine on it, and other processes with an engine of their own."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.engine import dispatch
from mandamus.engine.effect import Effects
from mandamus.engine.service import Engine, Job
from mandamus.kernel.access import OWNER, Subject
from mandamus.kernel.clock import Clock
from mandamus.kernel.ids import Entropy
from mandamus.store.database import Database, open_postgres, open_sqlite
from mandamus.store.migrate import migrate

WITHIN_S = 20.0
WHO = Subject("ada", "os-user", frozenset(), OWNER, "Ada Lovelace")
SEED = b"\x07" * 32
ORIGIN = "log.example.com/home"

PRELUDE = """
import os, signal, threading, time
from pathlib import Path
from mandamus.engine.service import Engine
from mandamus.store.database import Database, open_postgres, open_sqlite

class Clock:
    def now_us(self):
        return time.time_ns() // 1000
    def monotonic_s(self):
        return time.monotonic()

db = Database(open_postgres(where) if where.startswith("postgresql") else open_sqlite(Path(where)))
engine = Engine(db, home / "engine.lock", "node", Clock())

def note(name, text):
    # Appended and on the disk before it returns: what a killed process did is not forgotten.
    fd = os.open(home / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, (text + "\\n").encode())
    os.fsync(fd)
    os.close(fd)
"""


class Other:
    """Another process, forked from a server that has everything imported, so that a hundred of them take no minute.

    Its program has `home`, `where`, `db`, `engine`, `note`, its `arguments`, and `pipe`, the other end of ours.
    """

    def __init__(self, program: str, home: Path, where: str, arguments: tuple[object, ...]) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["__main__", "mandamus.engine.effect", "mandamus.audit.signer", "psycopg"])
        self._pipe, theirs = context.Pipe()
        given = {"home": home, "where": where, "arguments": arguments, "pipe": theirs}
        self._process = context.Process(target=exec, args=(PRELUDE + program, given))
        self._process.start()
        theirs.close()
        self.pid = self._process.pid

    def ask(self) -> object:
        """The next thing it says."""
        assert self._pipe.poll(WITHIN_S), "it says nothing"
        return self._pipe.recv()

    def heard(self) -> int:
        """How much it has said since the last call: a process that nobody listens to is stuck before long."""
        count = 0
        while self._pipe.poll():
            self._pipe.recv()
            count += 1
        return count

    def tell(self) -> None:
        """Let it go on."""
        self._pipe.send(None)

    def wait(self) -> int | None:
        """Its exit code: negative for the signal that ended it."""
        self._process.join(WITHIN_S)
        return self._process.exitcode

    def kill(self) -> None:
        """End it in the middle of whatever it does."""
        self._process.kill()
        self._process.join()

    def close(self) -> None:
        """Leave nothing behind."""
        self.kill()
        self._process.close()
        self._pipe.close()


Spawn = Callable[..., Other]


class Worker:
    """A handler that notes what it saw and does as it is told."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.does: Callable[[Job], None] = lambda _job: None
        self._changed = threading.Condition()

    def __call__(self, job: Job) -> None:
        """The handler."""
        job.take_wake()
        with self._changed:
            self.seen.append(job.key)
            self._changed.notify_all()
        self.gate.wait(WITHIN_S)
        self.does(job)

    def wait_for(self, count: int) -> list[str]:
        """Until so many looks were taken; fails when they do not come."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.seen) >= count, WITHIN_S), self.seen
            return list(self.seen)


@pytest.fixture(scope="session", autouse=True)
def _no_stray_engine() -> Iterator[None]:
    yield
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith(("engine-", "dbos-", "queue-worker-"))]


@pytest.fixture
def empty_sqlite(home: Path) -> Iterator[Database]:
    made = Database(open_sqlite(home / "mandamus.db"))
    yield made
    made.close()


@pytest.fixture
def sqlite_db(empty_sqlite: Database) -> Database:
    dispatch.migrate(empty_sqlite.engine)
    migrate(empty_sqlite.engine)
    return empty_sqlite


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> str:
    """A Postgres database with the tables of DBOS and ours, to be copied: DBOS's migrations take half a second."""
    name = "template_engine"
    _admin(postgres_server, f"CREATE DATABASE {name}")
    made = open_postgres(_database_url(postgres_server, name))
    dispatch.migrate(made)
    migrate(made)
    made.dispose()
    return name


@pytest.fixture
def postgres_db(postgres_server: str, postgres_template: str, request: pytest.FixtureRequest) -> Iterator[Database]:
    name = f"e{abs(hash(request.node.nodeid)):x}"
    _admin(postgres_server, f"CREATE DATABASE {name} TEMPLATE {postgres_template}")
    made = Database(open_postgres(_database_url(postgres_server, name)))
    yield made
    made.close()
    _admin(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgres"])
def db(request: pytest.FixtureRequest) -> Database:
    """The engine's database; every test that asks for it runs on both kinds."""
    found: Database = request.getfixturevalue(f"{request.param}_db")
    return found


@pytest.fixture
def where(db: Database) -> str:
    """How another process finds the same database."""
    url = db.engine.url
    if db.is_sqlite:
        return str(url.database)
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture
def engine(db: Database, home: Path, clock: Clock) -> Iterator[Engine]:
    made = Engine(db, home / "engine.lock", "node", clock)
    yield made
    made.stop()


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def enqueue(db: Database, engine: Engine) -> Callable[..., None]:
    """Enqueue a job in a transaction of its own."""

    def enqueued(key: str, wake: str = "1", kind: str = "run", delay_s: float = 0.0) -> None:
        with db.begin("enqueue") as tx:
            engine.enqueue(tx, kind, key, wake, delay_s)

    return enqueued


@pytest.fixture
def rows(db: Database) -> Callable[[], dict[str, str]]:
    """The dispatch rows as DBOS has them: id and status."""
    table = "workflow_status" if db.is_sqlite else "dbos.workflow_status"

    def read() -> dict[str, str]:
        with db.read() as conn:
            found = conn.exec_driver_sql(f"SELECT workflow_uuid, status FROM {table}")
            return {row.workflow_uuid: row.status for row in found}

    return read


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Wait for what only another process or DBOS can bring about, for as long as `progress` goes on changing."""

    def waited(holds: Callable[[], bool], progress: Callable[[], object] = lambda: None) -> None:
        seen = progress()
        end_s = time.monotonic() + WITHIN_S
        while not holds():
            assert time.monotonic() < end_s, f"it never came about, last seen: {seen}"
            time.sleep(0.02)
            now = progress()
            if now != seen:
                seen, end_s = now, time.monotonic() + WITHIN_S

    return waited


@pytest.fixture
def spawn(home: Path, where: str) -> Iterator[Spawn]:
    """Start a program as a process of its own, see `Other`."""
    started: list[Other] = []

    def spawned(program: str, *arguments: object) -> Other:
        started.append(Other(program, home, where, arguments))
        return started[-1]

    yield spawned
    for other in started:
        other.close()


@pytest.fixture
def noted(home: Path) -> Callable[[str], list[str]]:
    """The lines that processes have noted under a name."""

    def read(name: str) -> list[str]:
        path = home / name
        return path.read_text().splitlines() if path.is_file() else []

    return read


def _database_url(server: str, name: str) -> str:
    return sa.make_url(server).set(database=name, drivername="postgresql").render_as_string(hide_password=False)


def _admin(server: str, statement: str) -> None:
    made = open_postgres(server).execution_options(isolation_level="AUTOCOMMIT")
    with made.connect() as conn:
        conn.exec_driver_sql(statement)
    made.dispose()


@pytest.fixture
def audit(db: Database, home: Path, clock: Clock, entropy: Entropy) -> Audit:
    made = Audit(db, home / "log", Signer(ORIGIN, SEED), clock, entropy)
    made.open(WHO, Signer(f"{ORIGIN}/platform", SEED).vkey)
    return made


@pytest.fixture
def effects(db: Database, audit: Audit, engine: Engine, clock: Clock) -> Effects:
    assert engine.start({})
    return Effects(db, audit, engine, clock, 5.0)
