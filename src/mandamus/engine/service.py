"""The engine of one home: takes dispatched jobs to their handlers, one job per key at a time, and never loses a wake."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import sqlalchemy as sa
import structlog

from mandamus.engine.dispatch import Dispatch
from mandamus.engine.lock import HomeLock
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database, Tx
from mandamus.store.tables.engine import engine_epoch

RETRY_S_FIRST = 0.2
RETRY_S_MAX = 10.0

log = structlog.get_logger()


class Job:
    """One key being worked on; whoever dispatches the same key meanwhile only wakes it."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.rounds = 0
        self._changed = threading.Condition()
        self._woken = False
        self._told = False

    def wake(self) -> None:
        """Something changed in the rows of this key: look again."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def notify(self) -> None:
        """Something in this process changed: `wait` returns."""
        with self._changed:
            self._told = True
            self._changed.notify_all()

    def take_wake(self) -> bool:
        """Whether somebody woke the job since the last call."""
        with self._changed:
            woken, self._woken = self._woken, False
            return woken

    def wait(self, timeout_s: float | None) -> None:
        """Until woken or notified, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._woken or self._told, timeout_s)
            self._told = False


Handler = Callable[[Job], None]


class Engine:
    """Starts and stops the dispatcher of this home.

    ``lock`` is the file that makes the engine the only one of an embedded home; on Postgres every node has its own.
    """

    def __init__(self, db: Database, lock: Path, node: str, clock: Clock) -> None:
        self._db = db
        self._lock = HomeLock(lock)
        self._node = node
        self._clock = clock
        self._dispatch = Dispatch(db.engine, node)
        self._handlers: Mapping[str, Handler] = {}
        self._jobs: dict[tuple[str, str], Job] = {}
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._closed = False
        self._put_back = 0
        self._token = 0

    @property
    def running(self) -> bool:
        """Whether this process is the engine."""
        return self._token > 0

    def token(self) -> int:
        """The fencing token of this engine's life; raises ``home_locked`` when this process is not the engine."""
        if not self.running:
            raise MandamusError(
                Code.HOME_LOCKED,
                "this process is not the engine of this home, and only the engine may begin an effect",
                remedy="let the process that holds engine.lock do it; `mandamus doctor` names it",
            )
        return self._token

    def check_token(self, tx: Tx) -> int:
        """The token, checked against the database in the transaction that begins an effect; raises ``home_locked``."""
        token = self.token()
        current = tx.conn.scalar(sa.select(engine_epoch.c.epoch).where(engine_epoch.c.node == self._node))
        if current != token:
            raise MandamusError(
                Code.HOME_LOCKED,
                f"another engine took over this home (token {current}, ours is {token})",
                remedy="stop this process; the other one goes on with its work",
            )
        return token

    def enqueue(self, tx: Tx, kind: str, key: str, wake: str, delay_s: float = 0.0) -> None:
        """Have a key worked on once the transaction commits, by whichever process is the engine."""
        self._dispatch.enqueue(tx.conn, kind, key, wake, delay_s)

    def start(self, handlers: Mapping[str, Handler]) -> bool:
        """Become the engine and take up what is pending; False when another process is the engine."""
        if self.running:
            return True
        if not self._lock.acquire():
            return False
        try:
            self._handlers = handlers
            self._stopping.clear()
            self._closed = False
            self._token = self._next_epoch()
            self._dispatch.launch(self._body)
        except BaseException:
            self._token = 0
            self._lock.release()
            raise
        return True

    def stop(self) -> None:
        """Let jobs under way come to their end, then stop being the engine; what waits stays in the queue."""
        if not self.running:
            return
        self._dispatch.stop_claiming()
        with self._changed:
            self._changed.wait_for(lambda: not self._jobs)
            self._closed = True
        self._stopping.set()
        self._dispatch.shutdown()
        self._token = 0
        self._lock.release()

    def wait_idle(self, kind: str, key: str, settled: Callable[[], bool]) -> None:
        """Until no job works on the key and ``settled`` says that its rows ask for no more; needs no polling.

        ``settled`` is asked each time a job of the key has ended.
        """
        with self._changed:
            self._changed.wait_for(lambda: (kind, key) not in self._jobs and settled())

    def _next_epoch(self) -> int:
        with self._db.begin("engine.start") as tx:
            mine = engine_epoch.c.node == self._node
            epoch = tx.conn.scalar(sa.select(engine_epoch.c.epoch).where(mine).with_for_update())
            values = {"epoch": (epoch or 0) + 1, "started_us": self._clock.now_us()}
            if epoch is None:
                tx.conn.execute(engine_epoch.insert().values(node=self._node, **values))
            else:
                tx.conn.execute(engine_epoch.update().where(mine).values(**values))
        return values["epoch"]

    def _body(self, kind: str, key: str) -> None:
        """What a dispatched row does. It ends (and DBOS forgets the row) only when its wake cannot be lost."""
        job = self._join(kind, key)
        if job is None:
            return
        if self._closed:
            self._return(kind, key)
            return
        try:
            self._work(kind, job)
        finally:
            with self._changed:
                self._changed.notify_all()

    def _join(self, kind: str, key: str) -> Job | None:
        """A new job, or None when one is under way: it was woken and will look at the rows again.

        Should we die before it does, its own row is still PENDING and is worked on again after the start.
        """
        with self._changed:
            known = self._jobs.get((kind, key))
            if known is not None:
                known.wake()
                return None
            job = Job(key)
            if not self._closed:
                self._jobs[kind, key] = job
            return job

    def _return(self, kind: str, key: str) -> None:
        """Claimed in the instant in which we stopped: it goes back to the queue under a new name."""
        with self._db.begin("engine.return") as tx:
            self._put_back += 1
            self._dispatch.enqueue(tx.conn, kind, key, f"again.{self._token}.{self._put_back}")

    def _work(self, kind: str, job: Job) -> None:
        pause_s = RETRY_S_FIRST
        while True:
            try:
                self._handlers[kind](job)
                pause_s = RETRY_S_FIRST
            except MandamusError as error:
                if not error.retryable:
                    self._fault(kind, job, error)
                elif self._stopping.wait(pause_s):
                    return
                else:
                    # Trouble of the machine is no outcome of the work: it is tried again for as long as we live.
                    log.warning("engine.retry", kind=kind, key=job.key, code=error.code.text, pause_s=pause_s)
                    pause_s = min(pause_s * 2, RETRY_S_MAX)
                    continue
            except Exception as error:  # noqa: BLE001 - a bug in one job must not end the others
                self._fault(kind, job, error)
            with self._changed:
                job.rounds += 1
                if not job.take_wake():
                    del self._jobs[kind, job.key]
                    return

    def _fault(self, kind: str, job: Job, error: Exception) -> None:
        log.error("engine.fault", kind=kind, key=job.key, error=type(error).__name__, exc_info=error)
