"""Back-tests that were started from a page: one at a time, in a thread, and how far it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Digest
from mandamus.operations.trouble import known
from mandamus.policy.backtest_work import Listener

log = structlog.get_logger()


@dataclass
class Trial:
    """A candidate tried on the decisions of a set: ``done`` of ``of`` decisions; ``trouble`` is why it ended early."""

    name: str
    candidate: Digest
    done: int = 0
    of: int = 0
    over: bool = False
    trouble: MandamusError | None = None


class Trials:
    """The trial of one server that runs, or the last one that ran."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: Trial | None = None

    def find(self, name: str, candidate: Digest) -> Trial | None:
        """The trial of a pair, if it is the last that was started."""
        last = self._last
        return last if last is not None and (last.name, last.candidate) == (name, candidate) else None

    def start(self, name: str, candidate: Digest, run: Callable[[Listener], object]) -> None:
        """Begin; raises ``conflict`` while another one runs: it takes every core."""
        with self._lock:
            if self._last is not None and not self._last.over:
                raise MandamusError(
                    Code.CONFLICT,
                    f"a back-test of {self._last.name} runs already",
                    remedy="wait until it is over, and start this one then",
                )
            trial = self._last = Trial(name, candidate)
        threading.Thread(target=self._run, args=(trial, run), name="backtest", daemon=True).start()

    def _run(self, trial: Trial, run: Callable[[Listener], object]) -> None:
        def told(done: int, of: int) -> None:
            trial.done, trial.of = done, of

        try:
            run(Listener(progress=told))
        except Exception as error:
            trial.trouble = known(error)
            if trial.trouble.code is Code.INTERNAL:
                log.exception("a back-test failed")
        trial.over = True
