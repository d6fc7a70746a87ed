"""Names every moment at which a process may die, counts them, and kills the process at the one it is told."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from sqlalchemy.engine.default import DefaultDialect

BEFORE, AFTER = "before", "after"
SCHEMA = "schema"
FILE = "file "
"""Begins the label of a moment that is no commit: a change to the file system, or the start of a process."""

_FILE_EVENTS = {"os.rename": "rename", "os.link": "link", "os.remove": "remove", "subprocess.Popen": "start"}
"""Events of sys.addaudithook (PEP 578), which come before the thing they name happens."""


@dataclass(frozen=True, order=True)
class Point:
    """The ``nth`` time that a label comes by, counted from 1. Threads change the order of labels, hardly their number.

    A label is the name of a transaction of ours, ``dbos FUNCTION`` for one of DBOS's, ``schema`` for a migration, or
    ``file CHANGE MODULE.FUNCTION``.
    """

    label: str
    nth: int
    moment: str

    @property
    def is_commit(self) -> bool:
        """Whether it stands at a commit."""
        return not self.label.startswith(FILE)

    def __str__(self) -> str:
        return f"{self.moment} {self.label} {self.nth}"


class Points:
    """The moments of this process. ``kill`` is where it dies; ``at_commit`` is the same as a plain number of commit."""

    def __init__(self, killed: Path, kill: Point | None = None, at_commit: int = 0) -> None:
        self.seen: list[Point] = []
        self._killed = killed
        self._kill = kill
        self._at_commit = at_commit
        self._commits = 0
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.RLock()
        self._ours = threading.local()

    def hook(self, moment: str, label: str) -> None:
        """The commit hook of a house."""
        self._ours.committing = moment == BEFORE
        self.reach(moment, label)

    def reach(self, moment: str, label: str) -> None:
        """A moment has come; the last one for this process if it is the one."""
        with self._lock:
            self._counts[moment, label] += 1
            point = Point(label, self._counts[moment, label], moment)
            self.seen.append(point)
            self._commits += point.is_commit
            if point == self._kill or (point.is_commit and self._commits == self._at_commit):
                self._killed.write_text(json.dumps(vars(point)))
                os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Watch everything else: commits of DBOS and of migrations, and changes to files. For the process's life."""
        self._watch_commits()
        self._watch_files()

    def _watch_commits(self) -> None:
        commit = DefaultDialect.do_commit
        changes: dict[int, int] = {}

        def do_commit(dialect: DefaultDialect, conn: Any) -> None:
            label = None if getattr(self._ours, "committing", False) else _committer()
            total = getattr(conn, "total_changes", 0)
            # DBOS commits at every look at its queue, mostly nothing; a migration changes tables, which is not counted.
            wrote = label == SCHEMA or total != changes.get(id(conn.driver_connection), 0)
            if label is not None and wrote:
                self.reach(BEFORE, label)
            commit(dialect, conn)
            changes[id(conn.driver_connection)] = total
            if label is not None and wrote:
                self.reach(AFTER, label)

        DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]

    def _watch_files(self) -> None:
        fsync = os.fsync

        def watched(fd: int) -> None:
            place = _our_place()
            self.reach(BEFORE, f"{FILE}fsync {place}")
            fsync(fd)
            self.reach(AFTER, f"{FILE}fsync {place}")

        def heard(event: str, _arguments: tuple[Any, ...]) -> None:
            if event in _FILE_EVENTS:
                place = _our_place()
                if place:
                    self.reach(BEFORE, f"{FILE}{_FILE_EVENTS[event]} {place}")

        os.fsync = watched
        sys.addaudithook(heard)


def killed_at(file: Path) -> Point | None:
    """The point that a process left behind when it died there; None when it died elsewhere or not at all."""
    return Point(**json.loads(file.read_text())) if file.exists() else None


def _committer() -> str | None:
    """Who commits outside of our own transactions: a migration, or a function of DBOS; None for whoever only reads."""
    names = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        if name == "run_migrations" or (name == "migrate" and file.endswith("/store/migrate.py")):
            return SCHEMA
        if "/dbos/" in file:
            names.append(name)
        frame = frame.f_back
    return f"dbos {names[0]}" if names else None


def _our_place() -> str:
    """The innermost function of ours on the stack; empty when there is none."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        _, found, path = frame.f_code.co_filename.rpartition("/src/mandamus/")
        if found:
            return f"{path.removesuffix('.py').replace('/', '.')}.{frame.f_code.co_name}"
        frame = frame.f_back
    return ""
