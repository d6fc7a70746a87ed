"""Hands the published log to sinks: in order, without a gap, each leaf at least once, from where a sink stopped."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mandamus.audit import export_store, note, pruning, tiles
from mandamus.audit.export_model import Record, Taker
from mandamus.audit.export_store import Cursor
from mandamus.audit.model import Checkpoint
from mandamus.audit.pruned import Mark
from mandamus.audit.publisher import CHECKPOINT_FILE
from mandamus.audit.source import SMALL_BYTES_MAX, Folder, read_tile
from mandamus.audit.trust import parse_trust
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database


@dataclass(frozen=True)
class Pumped:
    """What one sink was given: the leaves ``[first, next)`` of a log of ``size`` leaves.

    It does not have the ``pruned`` leaves before ``first``: they were taken away before it asked for them.
    """

    first: int
    next: int
    size: int
    pruned: int = 0


class Exporter:
    """Reads what is published, never what only the database has: no sink can know of an event that may yet be undone.

    ``vkey`` gives the log's keys at the time of the call; ``locks`` is a folder: one process pumps a sink at a time.
    """

    def __init__(self, database: Database, folder: Path, vkey: Callable[[], str], clock: Clock, locks: Path) -> None:
        self._database = database
        self._source = Folder(folder)
        self._vkey = vkey
        self._clock = clock
        self._locks = locks

    def published(self) -> Checkpoint:
        """The published checkpoint; raises ``audit_incomplete``, ``audit_tampered`` and ``audit_untrusted``."""
        data = self._source.read(CHECKPOINT_FILE, SMALL_BYTES_MAX)
        if data is None:
            raise _gone(CHECKPOINT_FILE)
        return note.read_checkpoint(data, parse_trust(self._vkey()))

    def records(self, checkpoint: Checkpoint, low: int, most: int = tiles.WIDTH) -> Iterator[list[Record]]:
        """The leaves from ``low`` to the checkpoint's end, ``most`` at a time and never from two bundles."""
        while low < checkpoint.size:
            tile = tiles.bundle_of(low, checkpoint.size)
            data = read_tile(self._source, tile)
            if data is None:
                raise _gone(tile.path)
            found, rest = tiles.scan_bundle(data)
            if rest or len(found) != tile.width:
                raise MandamusError(
                    Code.AUDIT_TAMPERED,
                    f"{tile.path} does not hold {tile.width} leaves",
                    remedy="find out what happened to it: `mandamus audit verify`",
                )
            made = [Record(checkpoint.origin, tile.low + at, leaf) for at, leaf in enumerate(found)][low - tile.low :]
            yield from (made[at : at + most] for at in range(0, len(made), most))
            low = tile.low + tile.width

    def cursor(self, sink: str, origin: str) -> Cursor:
        """How far a sink is; one that is new begins at the first leaf that is kept."""
        return self._cursor(sink, origin)[0]

    def pruned(self, origin: str) -> Mark | None:
        """The leaf that says which of the log's leaves are kept no longer, or None while all are."""
        with self._database.read() as conn:
            return pruning.marked(conn, origin)

    def _cursor(self, sink: str, origin: str) -> tuple[Cursor, int]:
        """And how many leaves it does not have since they are pruned."""
        with self._database.read() as conn:
            known, kept = export_store.read(conn, origin, sink), pruning.floor(conn, origin)
        gone = max(0, kept - known.next)
        return replace(known, next=known.next + gone), gone

    def rewind(self, sink: str, origin: str, index: int) -> None:
        """Have the sink given everything from that leaf again; raises ``value_invalid`` for one it was never given."""
        with self._locked(sink):
            cursor = self.cursor(sink, origin)
            if index > cursor.next:
                raise MandamusError(
                    Code.VALUE_INVALID,
                    f"the sink {sink} has nothing from leaf {cursor.next} on, so it cannot go on at {index}",
                    remedy=f"give at most {cursor.next}: a sink is never left with a gap",
                )
            mark = self.pruned(origin)
            if mark is not None and index < mark.min_index:
                raise MandamusError(
                    Code.VALUE_INVALID,
                    f"the leaves before {mark.min_index} are pruned, so the sink {sink} cannot be given leaf {index}",
                    remedy=f"give at least {mark.min_index}; older ones are where a copy of the log was kept",
                )
            self._move(sink, origin, replace(cursor, next=index))

    def pump(self, sink: str, open_taker: Callable[[], Taker]) -> Pumped:
        """Give the sink all it does not have. Its cursor moves when it has taken a batch, never before.

        Raises ``conflict`` while another process pumps it, and what the sink raises; that is kept with the cursor.
        """
        checkpoint = self.published()
        with self._locked(sink):
            cursor, gone = self._cursor(sink, checkpoint.origin)
            first = cursor.next
            if first > checkpoint.size:
                raise _ahead(sink, first, checkpoint)
            try:
                taker = open_taker()
                try:
                    for records in self.records(checkpoint, first, taker.batch):
                        taker.take(records)
                        cursor = Cursor(records[-1].index + 1, self._clock.now_us())
                        self._move(sink, checkpoint.origin, cursor)
                finally:
                    taker.close()
            except MandamusError as error:
                failed = replace(cursor, error=error.message, error_us=self._clock.now_us())
                self._move(sink, checkpoint.origin, failed)
                raise
            if cursor.error:
                self._move(sink, checkpoint.origin, replace(cursor, error="", error_us=0))
        return Pumped(first, cursor.next, checkpoint.size, gone)

    def _move(self, sink: str, origin: str, cursor: Cursor) -> None:
        with self._database.begin("audit.export") as tx:
            export_store.write(tx.conn, origin, sink, cursor)

    @contextmanager
    def _locked(self, sink: str) -> Iterator[None]:
        self._locks.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(self._locks / f"{sink}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise MandamusError(
                    Code.CONFLICT,
                    f"another process is sending to the sink {sink}",
                    remedy="wait for it: `mandamus audit export list` shows how far it is",
                    retryable=True,
                ) from error
            yield
        finally:
            os.close(fd)


def _gone(path: str) -> MandamusError:
    return MandamusError(
        Code.AUDIT_INCOMPLETE,
        f"the published log has no {path}",
        remedy="restore it from a copy of the log; `mandamus audit verify` names all that is missing",
    )


def _ahead(sink: str, index: int, checkpoint: Checkpoint) -> MandamusError:
    return MandamusError(
        Code.AUDIT_TAMPERED,
        f"the sink {sink} took {index} leaves of a log that now has {checkpoint.size}: the log was rolled back",
        remedy="restore the newest copy of the home; what the sink has shows what is missing",
        context={"sink": sink, "next": index, "size": checkpoint.size},
    )
