"""Live progress on standard error: a line per change of a step's state, and on a terminal a line that moves."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from mandamus.cli.render import Painted, Screen, brief, duration, first_line, state
from mandamus.runs.lifecycle import StepState
from mandamus.runs.model import Notice

_FRAMES = "|/-\\"
_FRAME_S = 0.1
_ERASE = "\r\x1b[K"

_STALE = {
    "planning": frozenset({"planning", StepState.PENDING.value}),
    "applying": frozenset({"applying", StepState.PENDING.value, StepState.PLANNED.value, StepState.WAITING.value}),
}


class Progress:
    """A watcher of one run; called from many threads. Enter it while the run is followed."""

    def __init__(self, screen: Screen, monotonic_s: Callable[[], float]) -> None:
        self._screen = screen
        self._monotonic_s = monotonic_s
        self._began_s = monotonic_s()
        self._lock = threading.Lock()
        self._states: dict[str, str] = {}
        self._talk: dict[str, str] = {}
        self._frame = 0
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._screen.live:
            self._thread = threading.Thread(target=self._spin, name="progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()
            self._screen.err.write(_ERASE)
            self._screen.err.flush()

    def __call__(self, notice: Notice) -> None:
        """Show what changed; a tool's own talk only moves the spinner."""
        if not notice.step:
            return
        with self._lock:
            before = self._states.get(notice.step)
            if _is_talk(before, notice):
                self._talk[notice.step] = first_line(notice.text)
                return
            self._states[notice.step] = notice.state
            self._talk.pop(notice.step, None)
            text = brief(notice.text)
            self._erase()
            elapsed = duration(self._monotonic_s() - self._began_s)
            self._screen.say(
                Painted(f"{elapsed:>7}", "dim"), f"  {notice.step}: ", state(notice.state), f"  {text}" if text else ""
            )

    def _spin(self) -> None:
        while not self._done.wait(_FRAME_S):
            with self._lock:
                self._draw()

    def _draw(self) -> None:
        busy = [name for name, word in self._states.items() if word in _STALE]
        if not busy:
            return
        self._frame = (self._frame + 1) % len(_FRAMES)
        words = ", ".join(f"{name}: {self._talk.get(name) or self._states[name]}" for name in busy)
        elapsed = duration(self._monotonic_s() - self._began_s)
        text = f"{_FRAMES[self._frame]} {elapsed:>5}  {words}"[: self._columns() - 1]
        self._screen.err.write(_ERASE + self._screen.paint(self._screen.err, Painted(text, "dim")))
        self._screen.err.flush()

    def _columns(self) -> int:
        try:
            return max(os.get_terminal_size(self._screen.err.fileno()).columns, 2)
        except OSError:
            return 80

    def _erase(self) -> None:
        if self._thread is not None:
            self._screen.err.write(_ERASE)


def _is_talk(before: str | None, notice: Notice) -> bool:
    """A tool's line comes with the state its step had when the phase began, which is no news."""
    return before in _STALE and notice.state in _STALE[before]
