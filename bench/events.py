"""The event that is measured, and a log to write it to."""

from __future__ import annotations

import os
from pathlib import Path

from mandamus.audit import leaf as leaves
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Resource
from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.bootstrap.tools import SystemClock
from mandamus.kernel.access import OWNER, Subject
from mandamus.kernel.ids import RunId
from mandamus.store.database import Database
from mandamus.store.migrate import migrate

ORIGIN = "bench.example.com/log"
WHO = Subject("ada", "os-user", frozenset({"platform"}), OWNER, "Ada Lovelace")


def event(run: str, attempt: int = 1) -> Event:
    """A step of a run was planned."""
    return Event(Kind.STEP_PLANNED, WHO, Resource("step", "s"), run=RunId(run), step="s", data={"attempt": attempt})


def leaf_bytes() -> bytes:
    """Its leaf: the bytes that a bare commit writes, so that both carry the same."""
    run = f"run_{'0' * 26}"
    place = leaves.Place(f"evt_{'0' * 26}", SystemClock().now_us(), f"run/{run}", 1, b"\x00" * 32)
    return leaves.encode(event(run), place, os.urandom)[0]


class Log:
    """A log in a folder, on the database that is given."""

    def __init__(self, database: Database, folder: Path) -> None:
        migrate(database.engine)
        self.database = database
        self.audit = Audit(database, folder / "log", Signer(ORIGIN, b"\x01" * 32), SystemClock(), os.urandom)
        self.audit.open(WHO, Signer(f"{ORIGIN}/platform", b"\x02" * 32).vkey)

    def record(self, run: str, count: int = 1) -> None:
        """That many events in one transaction."""
        each = event(run)
        with self.database.begin("bench") as tx:
            for _ in range(count):
                self.audit.record(tx, each)
