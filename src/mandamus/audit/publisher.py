"""Writes the published log: tiles first, then the checkpoint that promises them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mandamus.audit import note, tiles
from mandamus.audit.edge import Edge
from mandamus.audit.keyring import Keyring
from mandamus.audit.model import Checkpoint
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database
from mandamus.store.keys import sync_folder

VKEY_FILE = "log.vkey"
CHECKPOINT_FILE = "checkpoint"
WITNESSED_FILE = "checkpoint.witnessed"
PARTIAL_BUNDLES_KEPT = 16
"""Older partial entry bundles are dropped at once: each repeats the one before, and all together would take
megabytes for a few hundred leaves. Partial hash tiles stay until their tile is full, as tlog-tiles asks."""


class Publisher:
    """The folder ``HOME/log``, laid out as C2SP tlog-tiles; one writer at a time, also across processes.

    The database is the truth and every file here can be made again from it. So only two things need to be durable
    at the moment of publication: full tiles, which are never looked at again, and the checkpoint, which is the memory
    outside the database that shows a rollback. The growing tiles are written without fsync: a power cut may take
    them, and the first publication of the next process compares them with the database and writes them again.
    """

    def __init__(self, folder: Path, keys: Keyring, database: Database, edge: Edge) -> None:
        self._folder = folder
        self._keys = keys
        self._database = database
        self._edge = edge
        self._last: Checkpoint | None = None
        self._named = ""
        self._edge_checked = False

    def read(self) -> Checkpoint | None:
        """The published checkpoint, its signatures verified; None when nothing is published.

        Raises ``audit_tampered`` or ``audit_untrusted`` when the file is not a checkpoint of a key of ours.
        """
        path = self._folder / CHECKPOINT_FILE
        with self._disk_trouble():
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                return None
        if self._last is None or self._last.note != data:
            # Another process wrote it, perhaps with a key that this one has not heard of.
            with self._database.read() as conn:
                trust = self._keys.refresh(conn).trust
            self._last = note.read_checkpoint(data, trust)
        return self._last

    def publish(self, target: Checkpoint) -> Checkpoint:
        """Bring the folder to the committed checkpoint ``target``; returns what is published then, never older.

        What to write follows from what the folder says it has, so that a crash needs no path of its own.
        Raises ``audit_unavailable`` when the folder cannot be written.
        """
        with self._disk_trouble(), self._locked():
            return self._publish(target)

    def _publish(self, target: Checkpoint) -> Checkpoint:
        found = self.read()
        if found is not None and (found.size > target.size or (found.size == target.size and self._edge_checked)):
            return found
        touched = self._touched(found.size if found else 0, target.size)
        for tile in touched:
            self._write_tile(tile)
        self._name_keys()
        # The published one may carry cosignatures besides.
        if found is None or not found.note.startswith(target.note):
            self._write(self._folder / CHECKPOINT_FILE, target.note, durable=True)
            found = target
        self._last = found
        self._edge_checked = True
        for tile in touched:
            self._drop_partials(tile)
        return found

    def publish_witnessed(self, cosigned: Checkpoint) -> Checkpoint:
        """Publish a checkpoint that enough witnesses cosigned, beside the newest one or in its place; gives it back."""
        with self._disk_trouble(), self._locked():
            found = self.read()
            if found is not None and (found.size, found.root) == (cosigned.size, cosigned.root):
                self._replace(CHECKPOINT_FILE, found, cosigned)
                self._last = cosigned
            path = self._folder / WITNESSED_FILE
            self._replace(WITNESSED_FILE, self._read_witnessed(path), cosigned)
        return cosigned

    def _read_witnessed(self, path: Path) -> Checkpoint | None:
        try:
            data = path.read_bytes()
            return note.head(note.parse(data).text, data)
        except (FileNotFoundError, MandamusError):
            return None

    def _replace(self, name: str, found: Checkpoint | None, cosigned: Checkpoint) -> None:
        if found is None or found.origin != cosigned.origin or (found.size <= cosigned.size and found != cosigned):
            self._write(self._folder / name, cosigned.note, durable=True)

    def _name_keys(self) -> None:
        """Write the keys beside the checkpoint that they sign, before it."""
        named = self._keys.trust.text
        path = self._folder / VKEY_FILE
        if named != self._named and not (path.is_file() and path.read_text() == f"{named}\n"):
            self._write(path, f"{named}\n".encode(), durable=True)
        self._named = named

    def _touched(self, old: int, new: int) -> list[tiles.Tile]:
        found: list[tiles.Tile] = []
        for level in (tiles.ENTRIES, *tiles.levels(new)):
            # The first publication of a process looks back one tile and at every edge, see the class's docstring.
            shift = 8 * max(level, 0)
            back = max(0, ((old >> shift) - tiles.WIDTH - 1) << shift)
            found += tiles.tiles_of(level, old if self._edge_checked else back, new)
        return found

    def _write_tile(self, tile: tiles.Tile) -> None:
        items = self._edge.items(tile)
        data = tiles.bundle(items) if tile.level == tiles.ENTRIES else b"".join(items)
        path = self._folder / tile.path
        if not self._edge_checked and path.is_file() and path.read_bytes() == data:
            return
        self._write(path, data, durable=tile.full)

    def _write(self, path: Path, data: bytes, *, durable: bool) -> None:
        self._make_folder(path.parent)
        partial = self._folder / ".writing"
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        partial.replace(path)
        if durable:
            sync_folder(path.parent)

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)

    def _drop_partials(self, tile: tiles.Tile) -> None:
        if tile.full:
            self._drop(self._folder / tiles.Tile(tile.level, tile.number, 1).path, keep=0)
        elif tile.level == tiles.ENTRIES:
            self._drop(self._folder / tile.path, keep=PARTIAL_BUNDLES_KEPT)

    def _drop(self, any_partial: Path, keep: int) -> None:
        folder = any_partial.parent
        if not folder.is_dir():
            return
        widths = sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
        for width in widths[: max(0, len(widths) - keep)]:
            (folder / str(width)).unlink()
        if not keep:
            folder.rmdir()

    @contextmanager
    def _disk_trouble(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise MandamusError(
                Code.AUDIT_UNAVAILABLE,
                f"the audit log in {self._folder} cannot be written: {error.strerror}",
                remedy="free space or repair the disk; nothing is applied until the log can be written",
                retryable=True,
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        lock = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
