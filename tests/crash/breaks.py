"""Ways to break the house, by which the crash test shows that it would see it: one for each column of its result."""

from __future__ import annotations

from collections.abc import Callable

from mandamus.audit.service import Audit
from mandamus.engine.dispatch import Dispatch
from mandamus.engine.service import Engine
from mandamus.executors import marks
from mandamus.store.database import Tx


def _no_mark_of_a_start() -> None:
    """A probe then thinks that nothing began, and the step acts once more."""
    marks.started = lambda _made: None


def _no_mark_of_an_end() -> None:
    """A probe then knows nothing of an act that has ended, and asks people."""
    marks.ended = lambda _made, _done: None


def _a_job_of_its_own() -> None:
    """State and event commit first, the job that goes on after them: whoever dies in between has no job."""
    enqueue = Dispatch.enqueue

    def later(self: Engine, tx: Tx, kind: str, key: str, wake: str, delay_s: float = 0.0) -> None:
        def alone() -> None:
            with self._db.begin("late job") as own:
                enqueue(self._dispatch, own.conn, kind, key, wake, delay_s)
            self._dispatch.nudge()

        tx.after_commit(alone)

    Engine.enqueue = later  # type: ignore[method-assign]


def _no_checkpoint() -> None:
    """The act starts while its promise is in nobody's hands but ours."""
    Audit.wait_checkpointed = lambda *_arguments, **_options: None  # type: ignore[method-assign]


BREAKS: dict[str, Callable[[], None]] = {
    "no mark of a start": _no_mark_of_a_start,
    "no mark of an end": _no_mark_of_an_end,
    "a job of its own": _a_job_of_its_own,
    "no checkpoint": _no_checkpoint,
}
