"""Ctrl-C: once cancels the run (or leaves it alone) and waits for the truth, twice leaves at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from mandamus.kernel.errors import Exit, MandamusError
from mandamus.kernel.ids import RunId

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Turns the first interrupt into ``cancel(run)`` and the second into the end of this process.

    Without ``cancel`` the first one only leaves: who looks on has no say in the run. Before there is a run an
    interrupt is the ordinary one. Does nothing outside the main thread, where Python delivers no signals. ``look`` is
    the command that shows a run, for whoever leaves early.
    """

    def __init__(self, cancel: Callable[[RunId], object] | None, look: Callable[[RunId], str]) -> None:
        self._cancel = cancel
        self._look = look
        self._run: RunId | None = None
        self._asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def guard(self, run_id: RunId) -> None:
        """From here on an interrupt means this run."""
        self._run = run_id

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        # Nothing here may take a lock or use a buffered stream: the interrupted code may hold either.
        if self._run is None:
            raise KeyboardInterrupt
        if self._asked:
            _tell(
                f"\nleft at once: an effect of {self._run} may be under way, and its end is not recorded yet\n"
                f"look at it with `{self._look(self._run)}`; the next engine of this home settles what can be settled\n"
            )
            os._exit(int(Exit.INDETERMINATE))
        self._asked = True
        if self._cancel is None:
            _tell(f"\nleaving, {self._run} goes on; what this process runs is seen to its end, or interrupt again\n")
            raise KeyboardInterrupt
        _tell(f"\ncancelling {self._run}: what runs is told to stop; interrupt again to leave at once\n")
        threading.Thread(target=self._ask, args=(self._cancel, self._run), name="cancel", daemon=True).start()

    def _ask(self, cancel: Callable[[RunId], object], run_id: RunId) -> None:
        try:
            cancel(run_id)
        except MandamusError as error:
            _tell(f"not cancelled: {error.message}\n")


def _tell(text: str) -> None:
    os.write(2, text.encode())
