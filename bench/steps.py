"""Governed no-op steps beside raw DBOS steps and raw commits on the same disk."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from figures import Figure, interleaved, median, seconds
from stage import Stage, see_through

STEPS = 100
CHAINS = (100, 1_000)
COMMITS = 200

RAW_DBOS = """
import sys, time
import sqlalchemy as sa
from dbos import DBOS

engine = sa.create_engine(f"sqlite:///{sys.argv[1]}")

@sa.event.listens_for(engine, "connect")
def durable(connection, _record):
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")

DBOS(config={"name": "raw", "system_database_engine": engine, "log_level": "CRITICAL",
             "system_database_url": f"sqlite:///{sys.argv[1]}", "application_version": "1", "executor_id": "raw"})

@DBOS.step()
def step(number):
    return number

@DBOS.workflow()
def workflow(count):
    for number in range(count):
        step(number)

DBOS.launch()
workflow(20)
begin = time.perf_counter()
workflow(int(sys.argv[2]))
print(time.perf_counter() - begin)
DBOS.destroy()
"""


def chain(count: int) -> str:
    """Steps that need each the one before."""
    lines = [f"  s{n}: {{{f'needs: [s{n - 1}], ' if n else ''}noop: {{}}}}\n" for n in range(count)]
    return "".join(lines)


def fan(count: int) -> str:
    """Steps that need nothing."""
    return "".join(f"  s{n}: {{noop: {{}}}}\n" for n in range(count))


def measure() -> Iterator[Figure]:
    """Steps per second, and how the cost of a step grows with the length of its run."""
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        paths = {f"chain{count}": stage.workflow(f"chain{count}", chain(count)) for count in CHAINS}
        paths["fan"] = stage.workflow("fan", fan(STEPS))
        with stage.warm() as house:

            def governed(name: str) -> None:
                see_through(house, stage.ask(house, paths[name]).id)

            governed("fan")
            raw: list[float] = []
            commits = Path(folder) / "commits.db"
            actions = (
                lambda: governed("fan"),
                lambda: governed("chain100"),
                lambda: raw.append(_raw_dbos(Path(folder))),
                lambda: raw_commits(commits, b""),
            )
            fans, chains, _, committed = interleaved(actions)
            long = [seconds(lambda: governed("chain1000")) for _ in range(3)]
    per_second = STEPS / median(raw)
    yield Figure(
        "governed no-op steps, side by side",
        STEPS / median(fans),
        "/s",
        per_second / 2,
        at_least=True,
        limit=per_second,
        limit_name="DBOS steps/s",
    )
    yield Figure(
        "governed no-op steps, in a chain", STEPS / median(chains), "/s", limit=per_second, limit_name="DBOS steps/s"
    )
    yield Figure("raw durable commits", COMMITS / median(committed), "/s")
    growth = (median(long) / CHAINS[1]) / (median(chains) / CHAINS[0])
    yield Figure("cost per step, 1,000-step by 100-step chain", growth, "x", 1.3)


def _raw_dbos(folder: Path) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as own:
        command = [sys.executable, "-c", RAW_DBOS, f"{own}/raw.db", str(STEPS)]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def raw_commits(path: Path, row: bytes) -> None:
    """As many commits of one such row each as SQLite alone makes, synced as ours are."""
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE IF NOT EXISTS t (v)")
    for _ in range(COMMITS):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO t VALUES (?)", (row,))
        connection.execute("COMMIT")
    connection.close()
