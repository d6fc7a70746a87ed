"""The events of one transaction, until they are written together at its end."""

from __future__ import annotations

from mandamus.audit import store
from mandamus.store.database import Tx


class Entry:
    """The events of one transaction, written together at its end."""

    def __init__(self, tx: Tx) -> None:
        self._conn = tx.conn
        self._heads: dict[str, store.StreamHead] = {}
        self._events: list[store.Recorded] = []

    def __len__(self) -> int:
        return len(self._events)

    def head(self, stream: str) -> store.StreamHead:
        """Where the stream's newest event stands, locked to us until the transaction ends."""
        if stream not in self._heads:
            self._heads[stream] = store.lock_stream(self._conn, stream)
        return self._heads[stream]

    def add(self, stream: str, event: store.Recorded) -> None:
        """Take one more event."""
        self._heads[stream] = event.head
        self._events.append(event)

    def write(self) -> None:
        """Write them all."""
        store.append(self._conn, self._events)
