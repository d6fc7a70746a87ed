"""Searches in a log of many events: the 95th percentile of each filter."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import sqlalchemy as sa
from events import Log
from figures import Figure

from mandamus.audit import search_store
from mandamus.audit.search_store import Scope, Wanted
from mandamus.kernel.access import Area
from mandamus.store.database import Database, open_sqlite
from mandamus.store.tables.audit import audit_event, audit_leaf

EVENTS = 300_000
"""In `make bench`; `python bench/search.py 10000000` measures so many, and needs 1.5 GB of disk for each million."""
AT_ONCE = 20_000
TIMES = 40
LIMIT = 50
TARGET_MS = 50.0
FIRST_US = 1_800_000_000_000_000
STEP_US = 10_000_000
PROJECTS = 50

_KINDS = ("step.planned", "effect.intended", "effect.finished", "step.finished", "approval.recorded", "run.closed")


def filters(events: int) -> Mapping[str, tuple[Wanted, Scope | None]]:
    """A search by each filter: common ones, rare ones, such as find nothing, and what readers of some projects find."""
    middle = FIRST_US + events // 2 * STEP_US
    three = Scope((Area(frozenset({"project-1", "project-2", "project-3"})),))
    return {
        "nothing": (Wanted(), None),
        "actor": (Wanted(actor="user-17"), None),
        "kind": (Wanted(kind="approval.recorded"), None),
        "resource": (Wanted(resource="step/step-4711"), None),
        "resource type": (Wanted(resource="step"), None),
        "run": (Wanted(run=f"run-{events // 40}"), None),
        "project": (Wanted(project="project-7"), None),
        "outcome": (Wanted(outcome="denied"), None),
        "time": (Wanted(since=middle, until=middle + 100 * STEP_US), None),
        "actor and kind": (Wanted(actor="user-17", kind="run.closed"), None),
        "actor and project that never meet": (Wanted(actor="user-0", project="project-1"), None),
        "project and kind that never meet": (Wanted(project="never-closed", kind="run.closed"), None),
        "text": (Wanted(text="ticket 123"), None),
        "text that is nowhere": (Wanted(text="nowhere at all"), None),
        "nothing, by a reader of any project": (Wanted(), Scope()),
        "nothing, by a reader of three projects": (Wanted(), three),
        "kind, by a reader of three projects": (Wanted(kind="approval.recorded"), three),
        "text that is nowhere, by a reader of three projects": (Wanted(text="nowhere at all"), three),
    }


def _project(number: int) -> str | None:
    """Runs take turns among the projects; every hundredth event is of none, every seventh of a project without ends."""
    if number % 100 == 0:
        return None
    if number % 7 == 0 and _KINDS[number % len(_KINDS)] != "run.closed":
        return "never-closed"
    return f"project-{number // 20 % PROJECTS}"


def fill(database: Database, events: int) -> None:
    """Rows of events and leaves as the log writes them, without the work of a log."""
    leaf = (
        '{"data":{},"kind":"%s","outcome":"ok","prev":"' + "ab" * 32 + '","what":{"id":"%s","type":"step"},"why":"%s"}'
    )
    for low in range(0, events, AT_ONCE):
        rows = []
        for number in range(low, min(low + AT_ONCE, events)):
            kind, resource = _KINDS[number % len(_KINDS)], f"step-{number % 5000}"
            rows.append(
                {
                    "event_id": number + 10,
                    "at_us": FIRST_US + number * STEP_US,
                    "kind": kind,
                    "subject": f"user-{number * 7919 % 200}",
                    "resource_type": "step",
                    "resource_id": resource,
                    "run": f"run-{number // 20}",
                    "project": _project(number),
                    "outcome": "denied" if number % 1000 == 0 else "ok",
                    "stream": f"run/run-{number // 20}",
                    "seq": number % 20,
                    "leaf": (leaf % (kind, resource, f"ticket {number}")).ljust(700).encode(),
                }
            )
        leaves = [{"leaf_index": row["event_id"], "event_id": row["event_id"], "hash": b"\0" * 32} for row in rows]
        with database.begin("fill") as tx:
            tx.conn.execute(sa.insert(audit_event), rows)
            tx.conn.execute(sa.insert(audit_leaf), leaves)


def taken_ms(database: Database, events: int, wanted: Wanted, scope: Scope | None) -> tuple[float, float]:
    """Median and 95th percentile of a page: first pages and later ones in turn."""
    taken = []
    with database.read() as conn:
        for turn in range(TIMES):
            below = (FIRST_US + events * STEP_US * (turn % 4 + 1) // 4, 0) if turn % 2 else None
            begin = time.perf_counter()
            search_store.page(conn, wanted, scope, below, LIMIT)
            taken.append((time.perf_counter() - begin) * 1000)
    taken.sort()
    return taken[len(taken) // 2], taken[int(len(taken) * 0.95)]


def measure(events: int = EVENTS) -> Iterator[Figure]:
    """On SQLite."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(open_sqlite(Path(folder) / "search.db"))
        Log(database, Path(folder))
        fill(database, events)
        for name, (wanted, scope) in filters(events).items():
            p50, p95 = taken_ms(database, events, wanted, scope)
            yield Figure(f"search by {name} in {events:,} events, p50", p50, "ms")
            yield Figure(f"search by {name} in {events:,} events, p95", p95, "ms", target=TARGET_MS)
        database.close()


if __name__ == "__main__":
    for figure in measure(int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS):
        print(f"{figure.name}: {figure.value:.1f} {figure.unit}", flush=True)
