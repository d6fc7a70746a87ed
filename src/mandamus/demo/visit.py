"""The story's stage for a visitor of the console: one change refused, one that waits for an approval, and a crime."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mandamus.demo.receiver import Receiver
from mandamus.demo.story import PROJECT, OpenHouse, Say, Stage
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import RunId

PEOPLE = ("ada", "grace")
"""Who asks, and who may approve."""
MARK = "a-demo-to-be-spoiled"
"""A file that stands in the folder of a demo and nowhere else: what it marks may be tampered with."""

_LEAF = """
SELECT audit_leaf.leaf_index, audit_event.event_id, audit_event.leaf FROM audit_leaf JOIN audit_event USING (event_id)
WHERE audit_event.kind = 'run.requested' ORDER BY audit_leaf.leaf_index DESC LIMIT 1
"""


@dataclass(frozen=True)
class Staged:
    """A home that is ready to be looked at; ``denied`` is the run policy refused, ``run`` the one that waits."""

    folder: Path
    home: Path
    denied: RunId
    run: RunId
    people: tuple[str, ...] = PEOPLE


@contextmanager
def staged(open_house: OpenHouse, folder: Path, say: Say, project: Path = PROJECT) -> Iterator[Staged]:
    """Play the story in an empty folder up to where somebody has to approve; who is told of changes listens meanwhile.

    Raises ``conflict`` when the story does not come out as it must.
    """
    with Receiver() as receiver:
        stage = Stage(open_house, folder / "home", folder / "project", say, receiver)
        (folder / MARK).touch()
        stage.set(project)
        denied = stage.denied()
        yield Staged(folder, stage.home, RunId(str(denied["run"])), stage.asked().id)


def tamper(folder: Path) -> int:
    """Flip one byte of the newest request in the log of a demo, as somebody with the database's file could; its leaf.

    Afterwards the log says that somebody else asked. Raises ``not_found`` for a folder that holds no demo.
    """
    database = folder / "home" / "mandamus.db"
    if not (folder / MARK).is_file() or not database.is_file():
        raise MandamusError(
            Code.NOT_FOUND,
            f"there is no demo in {folder}, and nothing else is tampered with",
            remedy="give the folder that `mandamus demo --serve` names",
        )
    with closing(sqlite3.connect(database, timeout=30, isolation_level=None)) as conn:
        conn.execute("BEGIN IMMEDIATE")
        index, event_id, leaf = conn.execute(_LEAF).fetchone()
        data = bytearray(leaf)
        data[leaf.index(b'"ada"') + 3] ^= 1
        # Append-only is a lock for programs. Whoever has the file has its key, so it is the proofs that have to hold.
        lock = conn.execute("SELECT sql FROM sqlite_master WHERE name = 'audit_event_no_update'").fetchone()[0]
        conn.execute("DROP TRIGGER audit_event_no_update")
        conn.execute("UPDATE audit_event SET leaf = ? WHERE event_id = ?", (bytes(data), event_id))
        conn.execute(lock)
        conn.execute("COMMIT")
    return int(index)
