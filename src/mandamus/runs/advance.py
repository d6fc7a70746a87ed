"""Advance: one dispatched job takes a run as far as it can go, then lets go of every thread.

1. Steps whose effect began before a crash are taken up again first, through the same code as new ones.
2. Ready steps run side by side on a few threads, while this one listens for a cancel.
3. When nothing runs and nothing is ready, the run is closed, or it waits: for people, for a lock, for a settlement.
   A waiting run has no job, no thread and no timer; whoever ends the wait enqueues the next advance.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from mandamus.catalog.model import Environment, Workflow
from mandamus.engine.service import Job
from mandamus.executors.model import Cancel
from mandamus.kernel.ids import RunId
from mandamus.runs import close, progress, stages, store
from mandamus.runs.lifecycle import StepState
from mandamus.runs.model import Run, StepRow
from mandamus.runs.plan import Work
from mandamus.runs.rooms import Rooms

THREADS = 8
"""Steps of one run that run side by side in one process."""


def advance(rooms: Rooms, job: Job) -> None:
    """The handler of kind ``run``; the job's key is the run's id."""
    with rooms.db.read() as conn:
        run = store.get_run(conn, RunId(job.key))
    seen = run.wakes
    if run.closed_us is None and run.steps_left > 0 and run.state not in close.CLOSING:
        workflow = rooms.catalog.load(run.source, run.workflow_file)
        environment = rooms.catalog.environment(run.environment, run.project)
        seen = _Advance(rooms, job, run, workflow, environment).go()
    close.close(rooms, run.id, seen)


class _Advance:
    """The loop over one run's steps; everything in it can be lost and is found again in the rows."""

    def __init__(self, rooms: Rooms, job: Job, run: Run, workflow: Workflow, environment: Environment) -> None:
        self.rooms = rooms
        self.job = job
        self.run = run
        self.workflow = workflow
        self.environment = environment
        self.cancel = Cancel()
        self.running: dict[Future[None], str] = {}
        self.blocked: set[str] = set()
        self.due_us: int | None = None
        """When the next retry that waits for its time may begin."""

    def go(self) -> int:
        """Until nothing can go on; gives how many of the run's wakes were looked at."""
        with ThreadPoolExecutor(THREADS, thread_name_prefix="step") as pool:
            todo = self._resumable()
            while True:
                if self.job.take_wake():
                    todo += self._after_wake(todo)
                for row in todo or self._ready():
                    future = pool.submit(self._step, row)
                    self.running[future] = row.name
                    future.add_done_callback(lambda _future: self.job.notify())
                todo = []
                if not self.running and self.due_us is None:
                    return self.run.wakes
                self._wait_for_something()

    def _resumable(self) -> list[StepRow]:
        """What may go on without having become ready just now."""
        with self.rooms.db.read() as conn:
            self.run = store.get_run(conn, self.run.id)
            rows = store.list_steps(conn, self.run.id, [StepState.APPLYING, StepState.WAITING])
        if self.run.cancel_requested:
            self._cancel_idle()
            return [row for row in rows if row.state is StepState.APPLYING]
        return rows

    def _after_wake(self, todo: list[StepRow]) -> list[StepRow]:
        self.blocked.clear()
        self.environment = self.rooms.catalog.environment(self.run.environment, self.run.project)
        busy = set(self.running.values()) | {row.name for row in todo}
        return [row for row in self._resumable() if row.name not in busy]

    def _ready(self) -> list[StepRow]:
        self.due_us = None
        if self.cancel.is_set():
            return []
        now_us = self.rooms.clock.now_us()
        with self.rooms.db.read() as conn:
            rows = store.ready_steps(conn, self.run.id)
        busy = set(self.running.values()) | self.blocked
        free = [row for row in rows if row.name not in busy]
        self.due_us = min((row.not_before_us for row in free if row.not_before_us > now_us), default=None)
        return [row for row in free if row.not_before_us <= now_us]

    def _step(self, row: StepRow) -> None:
        step = self.workflow.by_name[row.name]
        work = Work(self.run, row, self.workflow, step, self.environment, self.cancel)
        if not stages.take(self.rooms, work):
            self.blocked.add(row.name)

    def _wait_for_something(self) -> None:
        """Until a step ends, a retry is due, or somebody wakes the run; trouble of the machine is raised here."""
        due_s = None if self.due_us is None else max((self.due_us - self.rooms.clock.now_us()) / 1_000_000, 0.001)
        self.job.wait(due_s)
        for future in [future for future in self.running if future.done()]:
            del self.running[future]
            future.result()

    def _cancel_idle(self) -> None:
        """Cancel what does not run; what runs is told and records its own end."""
        self.cancel.set()
        idle = [StepState.PENDING, StepState.PLANNED, StepState.WAITING]
        busy = set(self.running.values())
        with self.rooms.db.begin("cancel") as tx:
            for row in store.list_steps(tx.conn, self.run.id, idle):
                if row.name not in busy:
                    progress.finished(self.rooms, tx, self.run, row, StepState.CANCELLED)
