"""Feeds sinks and subscriptions in the background while this process integrates the log; no run waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import structlog

from mandamus.kernel.errors import Code, MandamusError

RETRY_S_FIRST = 1.0
RETRY_S_MAX = 60.0
STOP_S = 3.0
"""What a sink that works gets, at the end, for the last leaves; what it does not take then is sent by the next."""

Feed = Callable[[str], float | None]

log = structlog.get_logger()


class Feeder:
    """One thread for each sink, so that a dead one keeps no other from its share.

    ``names`` gives the sinks as declared now; ``feed`` gives one what it does not have, and raises when it is dead. It
    says after how many seconds there is more to do without news, None for never. ``what`` is the feeder's own name.
    """

    def __init__(self, names: Callable[[], Iterable[str]], feed: Feed, what: str = "export") -> None:
        self._names = names
        self._feed = feed
        self._what = what
        self._feeds: dict[str, _Feed] = {}
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; once."""
        if self._thread is None:
            self._stopping = False
            self._thread = threading.Thread(target=self._run, name=f"{self._what}-feeder", daemon=True)
            self._thread.start()

    def nudge(self) -> None:
        """There is a new checkpoint."""
        self._wake.set()

    def stop(self) -> None:
        """Give the sinks that work what was published last, for seconds at most, and end the threads."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._stopping = True
        self._wake.set()
        thread.join(STOP_S)
        feeds, self._feeds = list(self._feeds.values()), {}
        for each in feeds:
            each.end()
        for each in feeds:
            each.join(0 if each.failing else STOP_S)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            try:
                self._wake_feeds()
            except MandamusError as error:
                log.warning("feeder.names", what=self._what, code=error.code.text, said=error.message)
            if self._stopping:
                return

    def _wake_feeds(self) -> None:
        declared = set(self._names())
        for name in declared - self._feeds.keys():
            self._feeds[name] = _Feed(name, self._feed, self._what)
            self._feeds[name].start()
        for name in self._feeds.keys() - declared:
            self._feeds.pop(name).end()
        for each in self._feeds.values():
            each.wake()


class _Feed(threading.Thread):
    """Feeds one sink whenever there is news; rests after a failure, longer after each."""

    def __init__(self, name: str, feed: Feed, what: str) -> None:
        # A daemon: a sink that answers late, or never, keeps no process from ending.
        super().__init__(name=f"{what}-{name}", daemon=True)
        self._sink = name
        self._feed = feed
        self._what = what
        self._due_s: float | None = None
        self._changed = threading.Condition()
        self._news = False
        self._ended = False
        self.failing = False

    def wake(self) -> None:
        """There is news."""
        with self._changed:
            self._news = True
            self._changed.notify_all()

    def end(self) -> None:
        """No more news will come."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def run(self) -> None:
        """Feed until the end."""
        pause_s = RETRY_S_FIRST
        while self._next():
            self.failing = not self._fed()
            if not self.failing:
                pause_s = RETRY_S_FIRST
                continue
            with self._changed:
                self._news = True
                self._changed.wait_for(lambda: self._ended, pause_s)
                if self._ended:
                    return
            pause_s = min(pause_s * 2, RETRY_S_MAX)

    def _next(self) -> bool:
        """Wait for news, or until there is more to do; False at the end, when there is nothing at once."""
        due_s, self._due_s = self._due_s, None
        with self._changed:
            told = self._changed.wait_for(lambda: self._news or self._ended, due_s)
            news, self._news = self._news, False
            return news or not told or due_s == 0

    def _fed(self) -> bool:
        try:
            self._due_s = self._feed(self._sink)
        except MandamusError as error:
            if error.code is Code.CONFLICT:
                return True  # Another process feeds it.
            log.warning("feeder.failed", what=self._what, sink=self._sink, code=error.code.text, said=error.message)
            return False
        except Exception:
            log.exception("feeder.crashed", what=self._what, sink=self._sink)
            return False
        return True
