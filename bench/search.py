"""Searches in a log of many events: the 95th percentile of each filter."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import sqlalchemy as sa
from figures import Figure
from integrate import Log

from mandamus.audit import search_store
from mandamus.audit.search_store import Scope, Wanted
from mandamus.store.database import Database, open_sqlite
from mandamus.store.tables.audit import audit_event, audit_leaf

EVENTS = 2_000_000
AT_ONCE = 20_000
TIMES = 40
LIMIT = 50
FIRST_US = 1_800_000_000_000_000
STEP_US = 10_000_000

_KINDS = ("step.planned", "effect.intended", "effect.finished", "step.finished", "approval.recorded", "run.closed")


def filters(events: int) -> Mapping[str, Wanted]:
    """A search by each filter: common ones, rare ones, and such as find nothing."""
    middle = FIRST_US + events // 2 * STEP_US
    return {
        "nothing": Wanted(),
        "actor": Wanted(actor="user-17"),
        "kind": Wanted(kind="approval.recorded"),
        "resource": Wanted(resource="step/step-4711"),
        "run": Wanted(run=f"run-{events // 40}"),
        "outcome": Wanted(outcome="denied"),
        "time": Wanted(since=middle, until=middle + 100 * STEP_US),
        "actor and kind": Wanted(actor="user-17", kind="run.closed"),
        "text": Wanted(text="ticket 1234567"),
        "text that is nowhere": Wanted(text="nowhere at all"),
    }


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


def p95_ms(database: Database, wanted: Wanted, scope: Scope | None = None) -> float:
    """Of one page, first pages and later ones in turn."""
    taken = []
    with database.read() as conn:
        for turn in range(TIMES):
            below = (FIRST_US + EVENTS * STEP_US * (turn % 4 + 1) // 4, 0) if turn % 2 else None
            begin = time.perf_counter()
            search_store.page(conn, wanted, scope, below, LIMIT)
            taken.append(time.perf_counter() - begin)
    return sorted(taken)[int(len(taken) * 0.95)] * 1000


def measure(events: int = EVENTS) -> Iterator[Figure]:
    """On SQLite."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(open_sqlite(Path(folder) / "search.db"))
        Log(database, Path(folder))
        fill(database, events)
        for name, wanted in filters(events).items():
            yield Figure(f"search by {name} in {events:,} events, p95", p95_ms(database, wanted), "ms", target=250.0)
        member = p95_ms(database, Wanted(kind="approval.recorded"), Scope("user-1", ("policy.published",)))
        yield Figure(f"search by a member in {events:,} events, p95", member, "ms", target=250.0)
        database.close()


if __name__ == "__main__":
    for figure in measure():
        print(f"{figure.name}: {figure.value:.1f} {figure.unit}")
