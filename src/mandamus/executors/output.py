"""The output log: what steps print, stored by byte offset in few and large pieces, never a row per line."""

from __future__ import annotations

from typing import NamedTuple

from mandamus.executors import store
from mandamus.executors.store import Chunk, OutputKey
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database

CAP_BYTES = 16 * 1024 * 1024
"""What one phase may store; the step goes on, its further output is counted and dropped, and the log says so."""

GATHER_BYTES = 64 * 1024
GATHER_S = 0.2
WAITING_BYTES_MAX = 1024 * 1024
"""What waits in memory while the database cannot be written; beyond it, output is dropped and counted."""

READ_BYTES = 64 * 1024


class Piece(NamedTuple):
    """Some output: ``next_offset`` is where to read on, ``done`` says that nothing will follow."""

    data: bytes
    next_offset: int
    done: bool


class OutputLog:
    """Everybody's output, in the database. ``cap_bytes`` holds for each phase of each attempt."""

    def __init__(self, db: Database, clock: Clock, cap_bytes: int = CAP_BYTES) -> None:
        self._db = db
        self._clock = clock
        self._cap_bytes = cap_bytes

    def open(self, run: str, step: str, attempt: int, phase: str) -> OutputSink:
        """Where one phase's output goes, after whatever an earlier try of the same phase left. One writer at a time."""
        return OutputSink(self._db, self._clock, OutputKey(run, step, attempt, phase), self._cap_bytes)

    def append(self, run: str, step: str, attempt: int, phase: str, data: bytes) -> None:
        """Store redacted bytes at once and leave the output open."""
        sink = self.open(run, step, attempt, phase)
        sink.append(data)
        sink.flush()

    def newest(self) -> int:
        """A number that is another one as soon as anything was stored, by whichever process."""
        with self._db.read() as conn:
            return store.newest(conn)

    def read(self, run: str, step: str, attempt: int, phase: str, offset: int = 0, limit: int = READ_BYTES) -> Piece:
        """At most ``limit`` bytes from ``offset``; empty and not done when there is nothing there yet.

        A negative offset counts from the end of what is stored.
        """
        parts: list[bytes] = []
        done = False
        with self._db.read() as conn:
            if offset < 0:
                offset = max(store.length(conn, OutputKey(run, step, attempt, phase)) + offset, 0)
            at = offset
            for chunk in store.chunks(conn, OutputKey(run, step, attempt, phase), offset):
                if at - offset >= limit:
                    break
                part = chunk.data[at - chunk.start :][: limit - (at - offset)]
                parts.append(part)
                at += len(part)
                done = chunk.final
        return Piece(b"".join(parts), at, done)


class OutputSink:
    """Gathers bytes and stores them at 64 KiB, after 200 ms, or when told; see ``model.Output``."""

    def __init__(self, db: Database, clock: Clock, key: OutputKey, cap_bytes: int) -> None:
        self._db = db
        self._clock = clock
        self._key = key
        self._cap_bytes = cap_bytes
        self._waiting = b""
        self._since_s = 0.0
        self._end: int | None = None
        self._taken = 0
        self._cut = self._lost = 0

    @property
    def pending(self) -> bool:
        """Whether bytes wait to be stored."""
        return bool(self._waiting)

    def append(self, data: bytes) -> None:
        """Add redacted bytes."""
        room = max(self._cap_bytes - self._taken, 0)
        self._taken += len(data[:room])
        if len(data) > room and self._cut == 0:
            note = f"\n[mandamus: output is cut here, at {self._cap_bytes} bytes; the step goes on]\n"
            self._wait(data[:room] + note.encode())
        else:
            self._wait(data[:room])
        self._cut += len(data[room:])
        late = self._waiting and self._clock.monotonic_s() - self._since_s >= GATHER_S
        if late or len(self._waiting) >= GATHER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Store what waits; trouble of the machine leaves it waiting."""
        self._store(final=False)

    def close(self) -> None:
        """Store what waits and mark the output complete."""
        if self._cut:
            self._wait(f"[mandamus: {self._cut} further bytes of output were not kept]\n".encode())
            self._cut = 0
        self._store(final=True)

    def _wait(self, data: bytes) -> None:
        if not self._waiting:
            self._since_s = self._clock.monotonic_s()
        room = max(WAITING_BYTES_MAX - len(self._waiting), 0)
        self._waiting += data[:room]
        self._lost += len(data[room:])

    def _store(self, *, final: bool) -> None:
        if not self._waiting and not (final and self._end is not None):
            # A phase that printed nothing leaves no row; that it is over shows in its step.
            return
        data = self._waiting
        if self._lost:
            data += f"\n[mandamus: {self._lost} bytes are missing here; the database could not be written]\n".encode()
        try:
            with self._db.begin("output") as tx:
                start = store.length(tx.conn, self._key) if self._end is None else self._end
                if data:
                    store.insert(tx.conn, self._key, Chunk(start, data, final=False))
                if final:
                    store.insert(tx.conn, self._key, Chunk(start + len(data), b"", final=True))
        except MandamusError as error:
            if error.code not in {Code.STORAGE_FULL, Code.UNAVAILABLE}:
                raise
            self._since_s = self._clock.monotonic_s()
            return
        self._end = start + len(data)
        self._waiting = b""
        self._lost = 0
