"""How much one caller may ask for: a bucket of tokens each."""

from __future__ import annotations

import threading
from collections import OrderedDict

from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError

PER_SECOND = 50.0
BURST = 200.0
CALLERS_MAX = 10_000


class Limits:
    """A token bucket for each caller: ``burst`` at once, ``per_second`` in the long run."""

    def __init__(self, clock: Clock, per_second: float = PER_SECOND, burst: float = BURST) -> None:
        self._clock = clock
        self._per_second = per_second
        self._burst = burst
        self._lock = threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str, cost: float = 1.0) -> None:
        """Count one request; raises ``rate_limited`` with the seconds to wait."""
        now_s = self._clock.monotonic_s()
        with self._lock:
            left, at_s = self._left.pop(caller, (self._burst, now_s))
            left = min(self._burst, left + (now_s - at_s) * self._per_second)
            self._left[caller] = (left - cost if left >= cost else left, now_s)
            if len(self._left) > CALLERS_MAX:
                self._left.popitem(last=False)
        if left < cost:
            wait_s = (cost - left) / self._per_second
            raise MandamusError(
                Code.RATE_LIMITED,
                f"more than {self._per_second:g} requests a second",
                remedy=f"try again in {wait_s:.1f} seconds",
                context={"retry_after_s": wait_s},
                retryable=True,
            )
