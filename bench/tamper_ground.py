"""A home that has lived, and everything of it that somebody could tamper with: what each check says of a change."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from stage import ASK, Stage, see_through, until_waiting
from tamper_pruned import Pruned
from tamper_rows import Change, changed, rows

from mandamus.audit.kinds import Kind
from mandamus.audit.leaf import decode
from mandamus.audit.model import Event, Resource
from mandamus.audit.resume import verify_since
from mandamus.audit.selfcheck import check_database
from mandamus.audit.trust import parse_trust
from mandamus.audit.verify import verify_log
from mandamus.evidence.verify import verify
from mandamus.kernel.access import Where
from mandamus.kernel.errors import MandamusError
from mandamus.kernel.ids import Digest
from mandamus.policy import health as policy_health
from mandamus.runs import health as run_health

RUNS = 3
ROUNDS = (7, 120, 60, 33, 90, 2)
"""Events between two checkpoints: enough for full tiles, partial ones and subtrees."""
WAITING = 3


class Ground:
    """The home, older copies of its log and database, and a sealed bundle of each run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pruned = Pruned(folder / "pruned")
        stage = Stage(folder, ASK)
        self.old_database = folder / "old.db"
        runs = self._live(stage)
        self.house = stage.house("ada")
        self.home = self.house.__enter__()
        self.log, self.blob_folder = stage.home / "log", stage.home / "blobs"
        self.old_log = folder / "old-log"
        self._grow(ROUNDS[:3])
        shutil.copytree(self.log, self.old_log)
        self.old_bundle = self._bundle(runs[0], "old.zip")
        self._grow(ROUNDS[3:])
        self.bundle = self._bundle(runs[1], "evidence.zip")
        self.home.audit.flush()
        self.published = self.home.audit.flush()
        self.kept = folder / "kept"
        self.kept.write_bytes((self.log / "checkpoint").read_bytes())
        self._record(WAITING)
        self.vkey = self.home.audit.vkey
        self.keys = self.home.audit.platform_keys()
        self.decided = self.home.audit.told(Kind.DECISION_RECORDED)
        self.stories = {run: [decode(leaf.bytes) for leaf in self.home.audit.events(run)] for run in runs}

    def close(self) -> None:
        """Close the homes."""
        self.pruned.close()
        self.house.__exit__(None, None, None)

    def _live(self, stage: Stage) -> list[Any]:
        path = stage.workflow("one", "  one: {noop: {}}\n")
        runs = []
        with stage.warm() as ada, stage.house("grace") as grace:
            for _ in range(RUNS):
                run = stage.ask(ada, path)
                until_waiting(ada, run.id)
                grace.runs.approve(grace.who, run.id, reason="looked at it")
                see_through(ada, run.id)
                runs.append(run.id)
                if len(runs) == RUNS - 1:
                    _copy(stage.home / "mandamus.db", self.old_database)
        return runs

    def _grow(self, rounds: Sequence[int]) -> None:
        for count in rounds:
            self._record(count)
            self.home.audit.flush()

    def _record(self, count: int) -> None:
        for number in range(count):
            event = Event(
                Kind.STEP_PLANNED,
                replace(self.home.who, where=Where(address=f"192.0.2.{number}", agent="bench")),
                Resource("step", "filler"),
                data={"attempt": number},
            )
            with self.home.rooms.db.begin("fill") as tx:
                self.home.audit.record(tx, event)

    def _bundle(self, run: Any, name: str) -> Path:
        self.home.evidence.export(self.home.who, run, self.folder / name)
        return self.folder / name

    # --- what each check says: True when it finds something wrong --------------------------------------------------

    def log_wrong(self) -> bool:
        """Of the published log, to somebody who kept the checkpoint of their last verification."""
        return self.log_wrong_alone() or not verify_since(self.log, self.vkey, self.kept).ok

    def log_wrong_alone(self) -> bool:
        """The same, to somebody who kept nothing but the key."""
        return not verify_log(self.log, self.vkey).ok

    def bundle_wrong(self, path: Path) -> bool:
        """Of a bundle."""
        return not verify(path, self.vkey).ok

    def blob_wrong(self, digest: Digest) -> bool:
        """Of a blob that rows name."""
        try:
            self.home.rooms.blobs.get(digest)
        except MandamusError:
            return True
        return False

    def rows_wrong(self, conn: sa.Connection) -> bool:
        """Of the database, as ``mandamus audit verify`` and ``mandamus doctor`` look at it."""
        if not check_database(conn, parse_trust(self.vkey), self.published, self.home.audit.people).ok:
            return True
        if next(policy_health.differences(conn, self.home.rooms.blobs, self.decided), None) is not None:
            return True
        return any(run_health.check(conn, run, story, self.keys) for run, story in self.stories.items())

    def free(self, _table: str, _row: Mapping[str, Any]) -> set[str]:
        """The columns of a row that nothing proves, beside those that nothing relies on: none."""
        return set()

    # --- what there is ---------------------------------------------------------------------------------------------

    def blobs(self) -> list[tuple[Digest, Path]]:
        """Every blob that rows name, and its file."""
        with self.home.rooms.db.read() as conn:
            named = {digest for digest, _ in run_health.named_blobs(conn)}
        named |= {digest for digest, _ in self.home.policy.named_blobs()}
        names = {digest: digest.removeprefix("sha256:") for digest in sorted(named)}
        return [(digest, self.blob_folder / name[:2] / name) for digest, name in names.items()]

    def changed(self, change: Change) -> AbstractContextManager[sa.Connection]:
        """The database after a change by somebody with every right; undone at the end."""
        return changed(self.home.rooms.db, change)

    def old_database_wrong(self) -> bool:
        """Of the older copy of the whole database, beside what is published now."""
        engine = sa.create_engine(f"sqlite:///{self.old_database}")
        try:
            with engine.connect() as conn:
                return self.rows_wrong(conn)
        finally:
            engine.dispose()

    def old_rows(self, table: str) -> list[dict[str, Any]]:
        """The rows of a table in the older copy."""
        return rows(self.old_database, table)


def _copy(database: Path, to: Path) -> None:
    with closing(sqlite3.connect(database)) as now, closing(sqlite3.connect(to)) as old:
        now.backup(old)
