"""One thread that outlives its callers: for what must not be done by a thread that may end before the result does."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class Background:
    """Runs what it is given, one after the other, on one daemon thread that starts with the first task."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, task: Callable[[], T]) -> Future[T]:
        """Run the task later; the future holds its value or its exception."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(task())
            except BaseException as error:  # noqa: BLE001 - the future hands it to whoever asked
                future.set_exception(error)

        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
        self._tasks.put(run)
        return future

    def close(self) -> None:
        """Wait for what was submitted, then end the thread."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            self._tasks.put(None)
            thread.join()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()
