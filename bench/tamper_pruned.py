"""A log of which old entries are pruned, and what each check says of a change: tampered with as a whole one is."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from tamper_rows import Change, changed, rows

from mandamus.audit import tiles
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Resource
from mandamus.audit.resume import verify_since
from mandamus.audit.selfcheck import check_database
from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.audit.trust import parse_trust
from mandamus.audit.verify import verify_log
from mandamus.bootstrap.tools import SystemClock
from mandamus.kernel.access import OWNER, Subject
from mandamus.operations.pruning import Pruning
from mandamus.store.database import Database, open_sqlite
from mandamus.store.migrate import migrate
from mandamus.store.schema import metadata

TABLES = ("audit_event", "audit_leaf", "audit_stream")
"""The tables that look otherwise when entries are pruned."""
WHO = Subject("ada", "os-user", frozenset(), OWNER)
OLD, YOUNG, WAITING = (300, 200, 300), (100, 600), 3
"""Events of runs, before the date and after it; the last run before it goes on after it."""


class Pruned:
    """What `tamper_ground.Ground` has for the log and the rows of its own home, here of a pruned one."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.log, self.old_log = folder / "log", folder / "old-log"
        self._old_database = folder / "old.db"
        self._db = Database(open_sqlite(folder / "mandamus.db"))
        migrate(self._db.engine)
        clock, name = SystemClock(), "log.example.com/pruned"
        self._audit = Audit(self._db, self.log, Signer(name, bytes([7]) * 32), clock, os.urandom)
        self._audit.open(WHO, Signer(f"{name}/platform", bytes([8]) * 32).vkey)
        for number, count in enumerate(OLD):
            self._fill(f"run_{number}", count)
        date_us = clock.now_us()
        self._fill(f"run_{len(OLD) - 1}", YOUNG[0])
        shutil.copytree(self.log, self.old_log)
        with (
            closing(sqlite3.connect(folder / "mandamus.db")) as now,
            closing(sqlite3.connect(self._old_database)) as old,
        ):
            now.backup(old)
        self._fill("run_9", YOUNG[1])
        self.gone = Pruning(self._db, self._audit, clock).prune(WHO, date_us, "their time is over").plan.min_index
        self.published = self._audit.flush()
        self._kept = folder / "kept"
        self._kept.write_bytes((self.log / "checkpoint").read_bytes())
        self._record("run_9", WAITING)
        self._vkey = self._audit.vkey

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _fill(self, run: str, count: int) -> None:
        self._record(run, count)
        self._audit.flush()

    def _record(self, run: str, count: int) -> None:
        with self._db.begin("fill") as tx:
            for number in range(count):
                event = Event(Kind.STEP_PLANNED, WHO, Resource("step", "one"), run=run, data={"attempt": number})
                self._audit.record(tx, event)

    def log_wrong(self) -> bool:
        """Of the published log, to somebody who kept the checkpoint of their last verification."""
        return not (verify_log(self.log, self._vkey).ok and verify_since(self.log, self._vkey, self._kept).ok)

    def rows_wrong(self, conn: sa.Connection) -> bool:
        """Of the database, as ``mandamus audit verify`` looks at it."""
        return not check_database(conn, parse_trust(self._vkey), self.published, self._audit.people).ok

    def free(self, table: str, row: Mapping[str, Any]) -> set[str]:
        """The columns of a row that nothing proves any more, and nothing relies on.

        Which row an entry was that is pruned; and the row of a chain that is pruned as a whole: that its hash is one of
        those that stay is checked, and which of them cannot be known any more.
        """
        if table == "audit_leaf" and row["leaf_index"] < self.gone:
            return {"event_id"}
        return (
            set(metadata.tables[table].c.keys()) if table == "audit_stream" and row["stream"] in self._lost else set()
        )

    @property
    def _lost(self) -> set[str]:
        return {f"run/run_{number}" for number in range(len(OLD) - 1)}

    def changed(self, change: Change) -> AbstractContextManager[sa.Connection]:
        """The database after a change by somebody with every right; undone at the end."""
        return changed(self._db, change)

    def old_rows(self, table: str) -> list[dict[str, Any]]:
        """The rows of a table before the pruning."""
        return rows(self._old_database, table)

    def forged(self, draw: random.Random) -> bool:
        """What is found when somebody puts other entries where some are pruned."""
        number = draw.randrange(self.gone // tiles.WIDTH)
        path = self.log / tiles.Tile(tiles.ENTRIES, number, tiles.WIDTH).path
        path.write_bytes(
            (self.log / tiles.Tile(tiles.ENTRIES, self.gone // tiles.WIDTH, tiles.WIDTH).path).read_bytes()
        )
        try:
            return self.log_wrong()
        finally:
            path.unlink()

    def unsaid(self) -> bool:
        """What is found when one more bundle goes than the log says."""
        path = self.log / tiles.Tile(tiles.ENTRIES, self.gone // tiles.WIDTH, tiles.WIDTH).path
        whole = path.read_bytes()
        path.unlink()
        try:
            return self.log_wrong()
        finally:
            path.write_bytes(whole)
