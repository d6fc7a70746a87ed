"""Looks at a stage: was anything lost, repeated, left open, or is any proof not whole?

Everything is read from files and rows as they lie there; no process of the house runs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from mandamus.audit.note import read_checkpoint
from mandamus.audit.selfcheck import check_database
from mandamus.audit.signer import parse_vkey
from mandamus.audit.verify import verify_log
from mandamus.evidence.verify import verify as verify_bundle
from mandamus.kernel import canonical
from mandamus.runs import health
from mandamus.runs.lifecycle import RunState
from mandamus.runs.model import Run
from mandamus.store.blobs import Blobs
from mandamus.store.data_keys import data_keys
from mandamus.store.database import Database, open_postgres, open_sqlite
from mandamus.store.keys import Keys

LOST, REPEATED, UNVERIFIED, PARKED = "lost", "repeated", "unverified", "parked"

CONTAINED = frozenset({"stack", "twin"})
"""Terraform steps that change nothing but their state."""

Attempt = tuple[str, str, str]
"""Run, step and attempt, as the ledger has them."""

_JOBS = {False: "workflow_status", True: "dbos.workflow_status"}
"""Where DBOS keeps its jobs: on SQLite, and on Postgres."""
_RESTS = (RunState.WAITING, RunState.INDETERMINATE)
_EMPTY_TABLES = ("audit_queue", "executor_state_lock", "lock_waiter")


@dataclass(frozen=True)
class Fault:
    """One thing that must not be; ``kind`` is the column of the last line it counts in."""

    kind: str
    text: str


@dataclass(frozen=True)
class Head:
    """What the published log promised at the moment of the kill."""

    size: int
    root: bytes


def head(home: Path) -> Head | None:
    """The published head, if there is one."""
    try:
        note = (home / "log" / "checkpoint").read_bytes()
        verifier = parse_vkey((home / "log" / "log.vkey").read_text().strip())
    except FileNotFoundError:
        return None
    found = read_checkpoint(note, verifier)
    return Head(found.size, found.root)


def standing(folder: Path, url: str) -> list[Fault]:
    """What must hold at every moment, also when a process has just died.

    State, event and dispatch are one, and what was begun had been promised to the world. Looks at a copy of a SQLite
    file, so that who comes back is the first to open the one that was left behind.
    """
    copy = folder / "look"
    if not url:
        copy.mkdir(exist_ok=True)
        for file in (folder / "home").glob("mandamus.db*"):
            shutil.copy(file, copy)
    with _database(url, copy) as db, db.read() as conn:
        known = sa.inspect(conn)
        whole = known.has_table("run") and known.has_table(*_JOBS[bool(url)].split(".")[::-1])
        runs = health.all_runs(conn) if whole else iter(())
        faults = [fault for run in runs for fault in (*_folded(conn, run), *_dispatched(conn, run, url))]
    shutil.rmtree(copy, ignore_errors=True)
    return [*faults, *_promised(folder)]


@contextmanager
def _database(url: str, home: Path) -> Iterator[Database]:
    with closing(Database(open_postgres(url) if url else open_sqlite(home / "mandamus.db"))) as db:
        yield db


def _rows(conn: sa.Connection, query: str, **values: object) -> list[sa.Row[Any]]:
    return list(conn.execute(sa.text(query), values))


def _promised(folder: Path) -> Iterator[Fault]:
    """The promise of every act that has begun is in the published log."""
    published = head(folder / "home")
    leaves = [] if published is None else list(_entries(folder / "home" / "log", published.size))
    promises = set()
    for leaf in map(canonical.loads, leaves):
        if leaf["kind"] == "effect.intended":
            promises.add(f"{leaf['run']} {leaf['step']}.{leaf['data']['attempt']}")
    acts = folder / "acts"
    for line in acts.read_text().splitlines() if acts.exists() else ():
        word, _, act = line.partition(" ")
        if word == "begun" and act not in promises:
            yield Fault(UNVERIFIED, f"the act {act} began before its promise was published")


def _dispatched(conn: sa.Connection, run: Run, url: str) -> Iterator[Fault]:
    """A run that has to go on has a job by which somebody takes it up, or waits in the queue for a lock."""
    rests = run.state in _RESTS and run.wakes <= run.wakes_seen
    ended = run.closed_us is not None and run.evidence is not None
    jobs = _rows(
        conn,
        f"SELECT 1 FROM {_JOBS[bool(url)]} WHERE workflow_uuid LIKE :jobs AND status IN ('ENQUEUED', 'PENDING')",
        jobs=f"run/{run.id}/%",
    )
    queued = _rows(conn, "SELECT 1 FROM lock_waiter WHERE run = :run", run=run.id)
    if not (rests or ended or jobs or queued):
        yield Fault(LOST, f"run {run.reason!r} has to go on and nobody would take it up")


def _folded(conn: sa.Connection, run: Run) -> Iterator[Fault]:
    rows = _rows(conn, "SELECT leaf FROM audit_event WHERE run = :run ORDER BY seq", run=run.id)
    for difference in health.check(conn, run.id, [canonical.loads(row.leaf) for row in rows]):
        yield Fault(UNVERIFIED, f"run {run.reason!r}: {difference}")


def examine(
    folder: Path, url: str, ends: Mapping[str, str], ledger: list[str], settled: set[Attempt], before: list[Head]
) -> list[Fault]:
    """Every fault of a stage whose play has ended; ``ends`` has the state in which each run must be, by its reason."""
    home = folder / "home"
    with _database(url, home) as db:
        with db.read() as conn:
            faults = [*_effects(conn, ledger, settled), *_states(conn), *_told(conn, folder), *_left_over(conn, home)]
        return [*faults, *_runs(db, ends), *_log(db, home, before), *_evidence(db, folder)]


def _effects(conn: sa.Connection, ledger: list[str], settled: set[Attempt]) -> Iterator[Fault]:
    """Each effect that has a result happened once, each that was withdrawn never, and nothing else happened."""
    happened = Counter(tuple(line.split()[:3]) for line in ledger)
    succeeded: Counter[tuple[str, str]] = Counter()
    for row in _rows(conn, "SELECT run, step, attempt, state FROM effect"):
        key = (row.run, row.step, str(row.attempt))
        times = happened.pop(key, 0)
        succeeded[key[:2]] += row.state == "succeeded"
        if row.step in CONTAINED:
            continue
        if row.state not in {"succeeded", "failed", "void"}:
            yield Fault(LOST, f"the effect of {row.step}, attempt {row.attempt}, is still {row.state}")
        elif times > 1 or (row.state == "void" and times):
            yield Fault(REPEATED, f"{row.step}, attempt {row.attempt}, happened {times} times and is {row.state}")
        elif row.state != "void" and not times:
            yield Fault(LOST, f"{row.step}, attempt {row.attempt}, is {row.state} and never happened")
    for _, step, attempt in happened:
        yield Fault(REPEATED, f"{step}, attempt {attempt}, happened without a promise")
    for row in _rows(conn, "SELECT run, name FROM step WHERE state = 'succeeded'"):
        times = succeeded[row.run, row.name]
        if times != 1:
            yield Fault(REPEATED if times else LOST, f"{row.name} succeeded and {times} of its effects did")
    lost = {(run, step) for run, step, _ in settled}
    for run, step, _, colour in (line.split() for line in ledger):
        if colour == "lost" and (run, "gate") not in lost:
            yield Fault(LOST, f"{step} was not given the outputs of gate")


def _states(conn: sa.Connection) -> Iterator[Fault]:
    """A tool whose effect is its state wrote it once for each effect, and there is one history."""
    rows = _rows(conn, "SELECT name, step, lineage, serial FROM executor_state ORDER BY name, version")
    for before, after in pairwise(rows):
        goes_on = before.lineage == after.lineage and before.serial < after.serial
        if before.name == after.name and not goes_on:
            yield Fault(REPEATED, f"the state {after.name} has a second history from serial {after.serial} on")
    wrote = Counter(row.step for row in rows if row.step in CONTAINED)
    for row in _rows(conn, "SELECT step, count(*) AS made FROM effect WHERE state = 'succeeded' GROUP BY step"):
        if row.step in CONTAINED and wrote[row.step] != row.made:
            kind = REPEATED if wrote[row.step] > row.made else LOST
            yield Fault(kind, f"{row.step} took effect {row.made} times and wrote {wrote[row.step]} states")


def _told(conn: sa.Connection, folder: Path) -> Iterator[Fault]:
    """Whatever a person was told had been recorded is there."""
    tables = {"requested": "run", "decided": "approval"}
    trace = folder / "trace"
    for line in trace.read_text().splitlines() if trace.exists() else ():
        word, name, *_ = line.split()
        table = tables.get(word)
        if table and not _rows(conn, f"SELECT 1 FROM {table} WHERE id = :name", name=name):
            yield Fault(LOST, f"{name} was {word}, and there is no such {table}")


def _left_over(conn: sa.Connection, home: Path) -> Iterator[Fault]:
    """No lock is held, nothing waits, no folder of a step is left. A job may be, for a run that needs none any more."""
    for table in _EMPTY_TABLES:
        left = len(_rows(conn, f"SELECT 1 FROM {table}"))
        if left:
            yield Fault(LOST, f"{left} rows are left in {table}")
    for path in (home / "work").iterdir():
        yield Fault(LOST, f"the folder work/{path.name} is left")


def _runs(db: Database, ends: Mapping[str, str]) -> Iterator[Fault]:
    """Each run is there once, ended as it must, and its rows are what its events add up to."""
    with db.read() as conn:
        runs = list(health.all_runs(conn))
    by_reason: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_reason[run.reason].append(run)
    for reason, state in ends.items():
        found = by_reason.pop(reason, [])
        states = [run.state.value for run in found]
        if states != [state]:
            yield Fault(REPEATED if len(found) > 1 else LOST, f"run {reason!r} is {states}, not {state}")
        for run in found:
            if run.closed_us is None or run.evidence is None or run.wakes_seen < run.wakes:
                yield Fault(LOST, f"run {reason!r} did not come to its end")
    for reason in by_reason:
        yield Fault(REPEATED, f"nobody asked for run {reason!r}")
    with db.read() as conn:
        for run in runs:
            yield from _folded(conn, run)


def _log(db: Database, home: Path, before: list[Head]) -> Iterator[Fault]:
    """Both copies verify from their bytes, and what was published before each kill is still its beginning."""
    vkey = (home / "log" / "log.vkey").read_text().strip()
    published = verify_log(home / "log", vkey)
    with db.read() as conn:
        stored = check_database(conn, parse_vkey(vkey), people=data_keys(home, os.urandom))
    for report in (published, stored):
        for problem in report.problems:
            yield Fault(UNVERIFIED, f"{problem.verdict}: {problem}")
    if published.size != stored.size:
        yield Fault(UNVERIFIED, f"{published.size} leaves are published, {stored.size} are stored")
    leaves = [hashlib.sha256(b"\0" + entry).digest() for entry in _entries(home / "log", published.size)]
    for old in before:
        if old.size > len(leaves) or _root(leaves[: old.size]) != old.root:
            yield Fault(UNVERIFIED, f"the log of {old.size} leaves that was published is not the beginning of this one")


def _entries(log: Path, size: int) -> Iterator[bytes]:
    """The entries of a log, read with nothing but C2SP tlog-tiles at hand: two bytes of length before each."""
    for number in range((size + 255) // 256):
        width = min(256, size - 256 * number)
        path = log / "tile" / "entries" / f"{number:03d}"
        data = (path if width == 256 else path.with_name(f"{path.name}.p") / str(width)).read_bytes()
        while data:
            end = 2 + int.from_bytes(data[:2])
            yield data[2:end]
            data = data[end:]


def _root(hashes: list[bytes]) -> bytes:
    """The tree's root as RFC 6962 section 2.1 defines it."""
    if len(hashes) == 1:
        return hashes[0]
    middle = 1 << (len(hashes) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + _root(hashes[:middle]) + _root(hashes[middle:])).digest()


def _evidence(db: Database, folder: Path) -> Iterator[Fault]:
    """Every blob that a row names is whole, and every bundle verifies offline."""
    home = folder / "home"
    keys = Keys(home / "keys", bytes)
    blobs = Blobs(home / "blobs", keys, bytes)
    with db.read() as conn:
        named = list(health.named_blobs(conn))
        bundles = [(run.reason, run.evidence) for run in health.all_runs(conn) if run.evidence is not None]
    for digest, what in named:
        try:
            blobs.get(digest)
        except Exception as error:  # noqa: BLE001 - whatever it is, the blob is not whole
            yield Fault(LOST, f"{what}: {error}")
    file = folder / "examined.zip"
    for reason, digest in bundles:
        file.write_bytes(blobs.get(digest))
        report = verify_bundle(file, (home / "log" / "log.vkey").read_text().strip())
        for problem in report.problems:
            yield Fault(UNVERIFIED, f"evidence of run {reason!r}: {problem.verdict}: {problem}")
