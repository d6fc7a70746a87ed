"""Follows what is committed: whoever watches a stream reads on behind what they have, and is woken for more."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from mandamus.audit import leaf, store
from mandamus.store.database import Database

PAGE = 500


class Following:
    """The followers of one process; `wake` is called after each of its commits that recorded anything."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._recorded = threading.Condition()

    def leaves(self, stream: str, after: int) -> list[Mapping[str, Any]]:
        """The leaves of a stream behind a place in it, decoded, oldest first, a page of at most 500."""
        with self._database.read() as conn:
            found = store.leaves_after(conn, stream, after, PAGE)
        return [leaf.decode(data) for data in found]

    def about(self, type_: str, ids: Sequence[str], most: int) -> list[Mapping[str, Any]]:
        """The newest leaves about some resources of a type, decoded, oldest first; at most so many."""
        with self._database.read() as conn:
            found = store.leaves_about(conn, type_, ids, most)
        return [leaf.decode(data) for data in found]

    def newest(self) -> int:
        """A number that is another one as soon as an event was committed, by whichever process."""
        with self._database.read() as conn:
            return store.newest_event(conn)

    def wait(self, timeout_s: float) -> None:
        """Until this process has committed an event, or the time is over."""
        with self._recorded:
            self._recorded.wait(timeout_s)

    def wake(self) -> None:
        """An event was committed."""
        with self._recorded:
            self._recorded.notify_all()
