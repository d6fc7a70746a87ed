"""A home with many rows: copies of one run that waits, its step, its decision and its events, made by the database."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from stage import ASK, Stage, until_waiting

RUNS = 100_000
EVENTS = 1_000_000
WAITING_EVERY = 500
FAR = 100_000_000
"""Where copied leaves begin, so that those of the home itself never come to them."""

_ID = "printf('%026x', n)"
_STATES = "CASE n % 5 WHEN 1 THEN 'failed' WHEN 2 THEN 'denied' WHEN 3 THEN 'cancelled' ELSE 'succeeded' END"


class Crowd:
    """The stage, with so many runs on it that ask for a yes, and so many more that are over."""

    def __init__(self, folder: Path, runs: int = RUNS, events: int = EVENTS) -> None:
        self.stage = Stage(folder, ASK)
        self.secrets: dict[str | None, str] = {}
        path = self.stage.workflow("change", '  change: {script: {run: "true"}}\n')
        with self.stage.warm() as house:
            run = self.stage.ask(house, path)
            until_waiting(house, run.id)
            self.run = run.id
            house.audit.flush()
        for user in (None, "grace"):
            with self.stage.house(user) as house:
                self.secrets[user] = house.tokens.create(house.who, "measured").secret
        with closing(sqlite3.connect(self.stage.home / "mandamus.db")) as db, db:
            _fill(db, run.id, runs, events)
            db.execute("ANALYZE")


def _fill(db: sqlite3.Connection, run: str, runs: int, events: int) -> None:
    own, waits = f"'run_' || {_ID}", f"n % {WAITING_EVERY} = 0"
    varied = {
        "id": own,
        "state": f"CASE WHEN {waits} THEN 'waiting' ELSE {_STATES} END",
        "closed_us": f"CASE WHEN {waits} THEN NULL ELSE requested_us END",
        "environment": "CASE n % 20 WHEN 1 THEN 'rare' ELSE 'bench' END",
        "project": "'project-' || (n % 50)",
        "workflow": "'workflow-' || (n % 40)",
        "requested_by": "'user-' || (n % 200)",
    }
    _copy(db, "run", "id", run, runs, varied)
    step = {"run": own, "state": f"CASE WHEN {waits} THEN 'waiting' ELSE 'succeeded' END"}
    _copy(db, "step", "run", run, runs, step)
    (decision,) = db.execute("SELECT id FROM decision WHERE run = ? LIMIT 1", (run,)).fetchone()
    verdict = "CASE n % 100 WHEN 0 THEN 'deny' ELSE 'needs_approval' END"
    rare = varied["environment"]
    made = {"id": f"'dec_' || {_ID}", "run": own, "outcome": verdict, "environment": rare}
    _copy(db, "decision", "id", decision, runs, made)
    (event,) = db.execute("SELECT event_id FROM audit_event WHERE run = ? LIMIT 1", (run,)).fetchone()
    chain = "'run/run_' || printf('%026x', n / 10)"
    leaf = {
        "event_id": f"{FAR} + n",
        "at_us": f"at_us - 1000 * ({events} - n)",
        "kind": "CASE n % 6 WHEN 0 THEN 'run.closed' WHEN 1 THEN 'approval.recorded' ELSE 'step.planned' END",
        "subject": "'user-' || (n % 200)",
        "resource_id": "'step-' || (n % 5000)",
        "run": "'run_' || printf('%026x', n / 10)",
        "outcome": "CASE n % 1000 WHEN 0 THEN 'denied' ELSE 'ok' END",
        "stream": chain,
        "seq": "n % 10",
    }
    _copy(db, "audit_event", "event_id", event, events, leaf)
    _copy(db, "audit_leaf", "event_id", event, events, {"event_id": f"{FAR} + n", "leaf_index": f"{FAR} + n"})


def _copy(db: sqlite3.Connection, table: str, key: str, value: object, count: int, varied: Mapping[str, str]) -> None:
    columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
    given = ", ".join(varied.get(column, column) for column in columns)
    numbers = f"WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})"
    source = f"SELECT {given} FROM numbers, (SELECT * FROM {table} WHERE {key} = ? LIMIT 1)"
    db.execute(f"{numbers} INSERT INTO {table} ({', '.join(columns)}) {source}", (value,))
