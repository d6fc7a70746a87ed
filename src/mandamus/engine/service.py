"""The engine of one home: takes jobs to their handlers, one job per key at a time, and never loses a wake."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import sqlalchemy as sa
import structlog

from mandamus.engine.dispatch import JOBS_MAX, Dispatch, JobKey, Unfinished
from mandamus.engine.lock import HomeLock
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database, Tx
from mandamus.store.tables.engine import engine_epoch

RETRY_S_FIRST = 0.2
RETRY_S_MAX = 10.0
RECHECK_S = 1.0
"""How often a waiter asks again although no job of this process has ended: on Postgres another node's may have."""

_MACHINE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})

_EPOCH = (
    sa.select(engine_epoch.c.epoch).where(engine_epoch.c.node == sa.bindparam("of_node")).with_for_update(read=True)
)

log = structlog.get_logger()


class Job:
    """One key being worked on; whoever dispatches the same key meanwhile only wakes it."""

    def __init__(self, key: str) -> None:
        self.key = key
        self._changed = threading.Condition()
        self._woken = False
        self._told = False
        self._stopped = False

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

    def stop(self) -> None:
        """The engine stops: the job ends at the next place where it can."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def take_wake(self) -> bool:
        """Whether somebody woke the job since the last call. Raises ``Unfinished`` when the engine stops."""
        with self._changed:
            self._go_on()
            woken, self._woken = self._woken, False
            return woken

    def wait(self, timeout_s: float | None) -> None:
        """Until woken or notified, or the time is over. Raises ``Unfinished`` when the engine stops."""
        with self._changed:
            self._changed.wait_for(lambda: self._woken or self._told or self._stopped, timeout_s)
            self._go_on()
            self._told = False

    def done(self) -> bool:
        """Whether nobody woke the job since it last looked; if somebody did, it has to look once more."""
        with self._changed:
            if self._woken:
                self._go_on()
            woken, self._woken = self._woken, False
            return not woken

    def _go_on(self) -> None:
        if self._stopped:
            raise Unfinished


Handler = Callable[[Job], None]
"""Takes a key as far as it can go. It may be stopped in `Job.wait` and `Job.take_wake`, and nowhere else."""


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
        self._life = threading.Lock()
        self._changed = threading.Condition()
        self._jobs: dict[JobKey, Job] = {}
        self._faults: dict[JobKey, Exception] = {}
        self._ended = 0
        self._stopping = threading.Event()
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

    def check_token(self, conn: sa.Connection) -> int:
        """The token, checked against the database in the transaction that begins an effect.

        Raises ``home_locked``; retryable when another engine took over, since it is that one's turn to try.
        """
        token = self.token()
        # On Postgres the row is held until the commit, so that nobody takes over between the check and the promise.
        current = conn.scalar(_EPOCH, {"of_node": self._node})
        if current != token:
            raise MandamusError(
                Code.HOME_LOCKED,
                f"another engine took over this home (token {current}, ours is {token})",
                remedy="stop this process; the other one goes on with its work",
                retryable=True,
            )
        return token

    def enqueue(self, tx: Tx, kind: str, key: str, wake: str, delay_s: float = 0.0) -> None:
        """Have a key worked on once the transaction commits, by whichever process is the engine.

        The same kind, key and wake twice is one job.
        """
        self._dispatch.enqueue(tx.conn, kind, key, wake, delay_s)
        tx.after_commit(self._dispatch.nudge)

    def start(self, handlers: Mapping[str, Handler]) -> bool:
        """Become the engine and take up what is pending; False when another process is the engine."""
        self._outside_transaction("start")
        with self._life:
            if self.running:
                return True
            if not self._lock.acquire():
                return False
            try:
                self._handlers = handlers
                self._stopping.clear()
                self._faults.clear()
                self._token = self._next_epoch()
                self._dispatch.launch(self._body, self._crowd, self._wake)
            except BaseException:
                self._token = 0
                self._lock.release()
                raise
            return True

    def stop(self) -> None:
        """Stop being the engine: no job is taken any more, and jobs under way end at the next place where they can.

        What is left, waiting or half done, is found again at the next start. A job that is within an effect is
        waited for as long as that takes, and so is its result: it is the only one who knows it.
        """
        self._outside_transaction("stop")
        with self._life:
            if not self.running:
                return
            self._let_go()
            with self._changed:
                self._changed.wait_for(lambda: not self._jobs)
            self._dispatch.shutdown()
            self._token = 0
            self._lock.release()

    def wait_idle(self, kind: str, key: str, settled: Callable[[], bool]) -> None:
        """Until no job works on the key and ``settled`` says that its rows ask for no more.

        ``settled`` is asked each time a job has ended. Raises what ended the key's last job when that was a fault of
        the program, and ``home_locked`` when the engine stops before.
        """
        self._outside_transaction("wait_idle")
        while True:
            with self._changed:
                self._changed.wait_for(lambda: (kind, key) not in self._jobs)
                ended = self._ended
                fault = self._faults.get((kind, key))
            if settled():
                return
            if fault is not None:
                raise fault
            if self._stopping.is_set() or not self.running:
                raise _stopped(key)
            self._wait_for_an_end(ended)

    def _wait_for_an_end(self, seen: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._ended != seen or self._stopping.is_set(), RECHECK_S)

    def _outside_transaction(self, verb: str) -> None:
        # On SQLite anything but an enqueue would wait for our own write lock until its time is over.
        if self._db.in_transaction:
            raise AssertionError(f"engine.{verb} inside a transaction")

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
        """What a dispatched row does. It returns only when its wake has been looked at or surely will be.

        1. No job works on the key: this one does, until a look at the rows has seen every wake.
        2. A job does: it is woken and looks again. Should we die before, its own row is still PENDING.
        3. Anything else ends in ``Unfinished``: the row stays PENDING until the next start.
        """
        with self._changed:
            if self._stopping.is_set():
                raise Unfinished
            known = self._jobs.get((kind, key))
            if known is not None:
                known.wake()
                return
            job = self._jobs[kind, key] = Job(key)
            self._faults.pop((kind, key), None)
        try:
            self._work(kind, job)
        finally:
            with self._changed:
                self._end(kind, job)

    def _work(self, kind: str, job: Job) -> None:
        pause_s = RETRY_S_FIRST
        while True:
            fault: Exception | None = None
            try:
                self._handlers[kind](job)
            except Exception as error:  # whatever it is, it ends neither the row nor the other jobs
                if _is_of_the_machine(error) and not _is_lost(error):
                    self._pause(kind, job, error, pause_s)
                    pause_s = min(pause_s * 2, RETRY_S_MAX)
                    continue
                log.exception("engine.fault", kind=kind, key=job.key)
                fault = error
            if fault is not None and _is_lost(fault):
                self._let_go()
            with self._changed:
                # One step with the end of the job, so that no wake falls in between.
                if job.done():
                    self._end(kind, job)
                    if fault is None:
                        return
                    self._faults[kind, job.key] = fault
                    raise Unfinished
            pause_s = RETRY_S_FIRST

    def _pause(self, kind: str, job: Job, error: Exception, pause_s: float) -> None:
        """Trouble of the machine is no outcome of the work: it is tried again for as long as we live."""
        code = error.code.text if isinstance(error, MandamusError) else type(error).__name__
        log.warning("engine.retry", kind=kind, key=job.key, code=code, said=str(error), pause_s=pause_s)
        if self._stopping.wait(pause_s):
            raise Unfinished

    def _let_go(self) -> None:
        with self._changed:
            self._stopping.set()
            for job in self._jobs.values():
                job.stop()
            self._changed.notify_all()
        self._dispatch.stop_claiming()

    def _end(self, kind: str, job: Job) -> None:
        """Under the lock. By then the key may already have another job, which stays."""
        if self._jobs.get((kind, job.key)) is job:
            del self._jobs[kind, job.key]
            self._ended += 1
            self._changed.notify_all()

    def _crowd(self) -> Collection[JobKey]:
        """The jobs under way when they hold every slot, so that no further row can be claimed."""
        with self._changed:
            return tuple(self._jobs) if len(self._jobs) >= JOBS_MAX else ()

    def _wake(self, kind: str, key: str) -> None:
        with self._changed:
            job = self._jobs.get((kind, key))
            if job is not None:
                job.wake()


def _is_of_the_machine(error: Exception) -> bool:
    if isinstance(error, MandamusError):
        return error.retryable
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _MACHINE)


def _is_lost(error: Exception) -> bool:
    """Whether another engine has this home: then every job is its own, and we take none any more."""
    return isinstance(error, MandamusError) and error.code is Code.HOME_LOCKED


def _stopped(key: str) -> MandamusError:
    return MandamusError(
        Code.HOME_LOCKED,
        f"the engine of this home stopped before {key} came to rest; nothing of it is lost",
        remedy=f"`mandamus runs show {key}` says where it is; the next engine of this home goes on with it",
        retryable=True,
    )
