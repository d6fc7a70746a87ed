"""Wakes whoever follows something when an event was committed: at once for this process's, soon for another's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mandamus.serving.house import House

LOOK_S = 0.1
"""How often the newest event is looked at while somebody follows: nothing else tells of another process's commits."""


class Hub:
    """The followers of one server. While there are none, nothing is looked at."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._lock = threading.Lock()
        self._followers: set[Follower] = set()
        self._thread: threading.Thread | None = None
        self._nobody = threading.Event()

    @asynccontextmanager
    async def follower(self, *, output: bool = False) -> AsyncIterator[Follower]:
        """Somebody who wants to be woken, also by what steps print with ``output``, until the block ends."""
        made = Follower(asyncio.get_running_loop(), output=output)
        with self._lock:
            self._followers.add(made)
            if self._thread is None:
                self._nobody.clear()
                self._thread = threading.Thread(target=self._look, name="hub", daemon=True)
                self._thread.start()
        try:
            yield made
        finally:
            with self._lock:
                self._followers.discard(made)

    def _look(self) -> None:
        event, output = self._house.audit.following.newest(), self._house.runs.newest_output()
        while True:
            self._house.audit.following.wait(LOOK_S)
            was, event = event, self._house.audit.following.newest()
            printed, output = output, self._house.runs.newest_output()
            with self._lock:
                if not self._followers:
                    self._thread = None
                    return
                followers = list(self._followers)
            for each in followers:
                if event != was or (each.output and output != printed):
                    each.wake()


class Follower:
    """One who follows."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, output: bool) -> None:
        self.output = output
        self._loop = loop
        self._event = asyncio.Event()

    def wake(self) -> None:
        """From any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)

    async def woken(self, timeout_s: float) -> bool:
        """Whether somebody woke it within the time."""
        try:
            await asyncio.wait_for(self._event.wait(), timeout_s)
        except TimeoutError:
            return False
        self._event.clear()
        return True
