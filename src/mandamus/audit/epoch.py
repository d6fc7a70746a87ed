"""Goes on after a log that cannot: with a new one, whose first leaf names the last checkpoint of the old one."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa

from mandamus.audit import note, store
from mandamus.audit.integrator import Integrator, refuse_other
from mandamus.audit.keyring import Keyring
from mandamus.audit.kinds import Kind
from mandamus.audit.leaf import decode
from mandamus.audit.model import Checkpoint, Event
from mandamus.audit.publisher import CHECKPOINT_FILE, VKEY_FILE
from mandamus.audit.service import Audit
from mandamus.audit.trust import Trust, TrustedKey, parse_trust
from mandamus.kernel import canonical
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import MandamusError
from mandamus.store.database import Database
from mandamus.store.keys import sync_folder

EPOCHS = "epochs"
_LEAVING = "log.ended"


@dataclass(frozen=True)
class Ended:
    """A log that ends.

    ``data`` are the bytes of its published checkpoint, None when there are none to read; ``checkpoint`` is what they
    say once a key of the log is known to have signed them; ``trust`` are the keys that are believed for what it
    published.
    """

    origin: str
    data: bytes | None
    checkpoint: Checkpoint | None
    trust: Trust

    def to_json(self, *, distrust: bool) -> Mapping[str, object]:
        """As the new log's first leaf tells of it; ``distrust`` leaves out its keys."""
        known = self.checkpoint
        return {
            "origin": self.origin,
            "checkpoint": None if self.data is None else str(canonical.digest(self.data)),
            "size": None if known is None else known.size,
            "root": None if known is None else base64.b64encode(known.root).decode(),
            "trust": [] if distrust or known is None else [str(key) for key in self.trust.keys],
        }


def read_ended(conn: sa.Connection, folder: Path, origin: str) -> Ended:
    """What there is to know about the log that ends; nothing that is missing or damaged stops it."""
    try:
        data = (folder / CHECKPOINT_FILE).read_bytes()
    except OSError:
        data = None
    for trust in _roots(conn, folder, origin):
        try:
            checkpoint = note.read_checkpoint(data or b"", trust)
        except MandamusError:
            continue
        if checkpoint.origin == origin:
            return Ended(origin, data, checkpoint, Trust(tuple(_until(key, checkpoint) for key in trust.keys)))
    return Ended(origin, data, None, Trust(()))


def _roots(conn: sa.Connection, folder: Path, origin: str) -> list[Trust]:
    """Who may have signed: what the database says, and else what the folder says of itself."""
    found = []
    if origin in _opened(conn):
        with suppress(MandamusError):
            found.append(Keyring(origin, list).refresh(conn).trust)
    with suppress(OSError, MandamusError):
        found.append(parse_trust((folder / VKEY_FILE).read_text(errors="replace")))
    return found


def _until(key: TrustedKey, end: Checkpoint) -> TrustedKey:
    if key.verifier.name != end.origin:
        return key
    return replace(key, last=end.size if key.last is None else min(key.last, end.size))


def _opened(conn: sa.Connection) -> dict[str, Mapping[str, object] | None]:
    """The logs this database ever was, oldest first, and what each goes on from."""
    leaves = [decode(leaf)["data"] for leaf in store.openings(conn, Kind.LOG_OPENED.text)]
    return {str(data["origin"]): data.get("continues") for data in leaves}


def tree_of(conn: sa.Connection, origin: str) -> str:
    """The log that the database's tree is of; the given one when it has none."""
    return store.tree_of(conn) or origin


def begun(conn: sa.Connection, origin: str) -> str:
    """The log that this database goes on with after ``origin``, when a new epoch was interrupted; else empty."""
    found = store.tree_of(conn)
    continues = _opened(conn).get(found) if found and found != origin else None
    return found if continues and continues.get("origin") == origin else ""


def next_origin(conn: sa.Connection, folder: Path, base: str) -> str:
    """A name that no log of this home ever had."""
    kept = [int(path.name) for path in (folder / EPOCHS).glob("*") if path.name.isdigit()]
    return f"{base}/{max([len(_opened(conn)), *(number + 1 for number in kept)], default=1) + 1}"


def restart(database: Database, audit: Audit, keys: Keyring, clock: Clock, tree: str, opening: Event) -> None:
    """Begin the new log in the database, in one transaction: the opening is leaf 0, and every event waits behind it.

    All events get a new place, in the order of their commits, so that the new log holds the whole of every stream. The
    checkpoints of the old one stay. ``tree`` is the log that the database's tree is of when this is called.
    """
    with database.begin("audit.new_epoch") as tx:
        refuse_other(tree, store.lock_head(tx.conn, tree)[2])
        store.clear_tree(tx.conn, keys.name)
        audit.record(tx, opening)

        def place() -> None:
            Integrator(keys, clock).integrate(tx, None)
            store.enqueue_unplaced(tx.conn)

        tx.before_commit(place)


def set_aside(folder: Path) -> Path | None:
    """Move the published log into its successor's folder, to ``epochs/N``, and make it read-only.

    Can be interrupted and called again. Returns where it is, or None when nothing was published.
    """
    leaving = folder.with_name(_LEAVING)
    if not leaving.exists():
        if all(path.name == EPOCHS for path in folder.glob("*")):
            return None
        folder.rename(leaving)
    kept = folder / EPOCHS
    kept.mkdir(parents=True, exist_ok=True)
    for older in sorted((leaving / EPOCHS).glob("*")):
        _move(older, kept / older.name)
    if (leaving / EPOCHS).is_dir():
        (leaving / EPOCHS).rmdir()
    target = kept / str(1 + max((int(path.name) for path in kept.glob("*")), default=0))
    _move(leaving, target)
    for path in (folder, folder.parent, kept):
        sync_folder(path)
    return target


def _move(source: Path, target: Path) -> None:
    # A folder that moves to another one is written to: it holds the name of what it is in.
    source.chmod(0o755)
    source.rename(target)
    for path, folders, files in os.walk(target):
        for name in files:
            (Path(path) / name).chmod(0o444)
        for name in folders:
            (Path(path) / name).chmod(0o555)
    target.chmod(0o555)
