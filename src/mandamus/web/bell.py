"""How many runs wait for the word of each visitor, for every page: counted anew when anything has happened."""

from __future__ import annotations

import threading
from collections import OrderedDict

from mandamus.kernel.access import Permission, Subject
from mandamus.serving.house import House

COUNTED_MAX = 9
"""More is not counted: nobody looks at the bell for the exact number."""
HOLDS_S = 15.0
"""So long a count holds while nothing happens: what somebody may can end with time alone."""
VISITORS_MAX = 10_000


class Bell:
    """The counts of one console."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[int, float, str]] = OrderedDict()

    def count(self, who: Subject) -> str | None:
        """How many wait, empty for none; None for whoever has no word to give."""
        if not {Permission.RUN_READ, Permission.RUN_DECIDE} <= who.permissions:
            return None
        newest, now_s = self._house.audit.following.newest(), self._house.clock.monotonic_s()
        with self._lock:
            known = self._known.get(who.user)
        if known is not None and known[0] == newest and now_s - known[1] < HOLDS_S:
            return known[2]
        found = len(self._house.runs.inbox(who, limit=COUNTED_MAX + 1))
        words = f"{COUNTED_MAX}+" if found > COUNTED_MAX else str(found or "")
        with self._lock:
            self._known[who.user] = (newest, now_s, words)
            self._known.move_to_end(who.user)
            if len(self._known) > VISITORS_MAX:
                self._known.popitem(last=False)
        return words
