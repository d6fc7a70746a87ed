"""The only file that touches DBOS: one registered workflow, one queue, no pickle.

What DBOS does here: keep a row per job, claim it once, and give it back to us after a crash. What a job means is in
our own tables; a DBOS row holds two strings.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

import dbos._dbos
import dbos._serialization
import sqlalchemy as sa
import structlog
from dbos import DBOS, DBOSClient, DBOSConfig, EnqueueOptions
from dbos._error import DBOSInitializationError
from dbos._queue import Queue, queue_worker_thread
from dbos._serialization import Serializer

from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import machine_trouble

NAME = "mandamus"
WORKFLOW = "dispatch"
"""Never renamed: rows that wait name it."""
VERSION = "1"
"""A constant of ours: DBOS's own default is a hash of the source, and an upgrade would strand what waits."""
QUEUE = "local"
POLL_S = 0.05
"""How often the queue is looked at for jobs of other processes; a job of this process wakes the claimer at once."""
JOBS_MAX = 16
HOUSEKEEPING_TURNS = 20
"""Looks at the queue between two rounds of housekeeping: about a second."""
FORGET_MAX = 200
"""Finished rows deleted at once; a full batch is followed by the next at the next look."""
TAKEN_UP_MAX = 3
STOP_TIMEOUT_S = 10.0
"""How long DBOS gets, at the end, to write down that jobs are done; what it does not write is looked at once more."""
REPEAT_S = 10.0
SAID_MAX = 1_000
SQLITE_MIN_FROM_PYTHON_312 = (3, 42)

JobKey = tuple[str, str]
"""Kind and key of a job."""
Body = Callable[[str, str], None]
Crowd = Callable[[], Collection[JobKey]]

log = structlog.get_logger()


class Unfinished(BaseException):
    """Ends a job so that its row stays PENDING and is found again at the next start.

    DBOS records an outcome for every return and for every ``Exception``, and none for this.
    """


class Dispatch:
    """Jobs that survive us. ``executor`` names this node, so that after a crash it finds its own work again."""

    def __init__(self, engine: sa.Engine, executor: str) -> None:
        forbid_pickle()
        _listen_to_dbos()
        self._engine = engine
        self._executor = executor
        self._client = _client(engine)
        self._claimer: _Claimer | None = None

    def enqueue(self, conn: sa.Connection, kind: str, key: str, wake: str, delay_s: float = 0.0) -> None:
        """Put a job on the queue in the caller's transaction; the same kind, key and wake twice is one job.

        The only call of DBOS that is allowed inside a transaction of ours.
        """
        if not (kind and key and wake) or "/" in kind + wake:
            raise AssertionError("a job needs a kind, a key and a wake: an empty id would run again and again")
        options: EnqueueOptions = {
            "workflow_name": WORKFLOW,
            "queue_name": QUEUE,
            "workflow_id": f"{kind}/{key}/{wake}",
            "app_version": VERSION,
        }
        if delay_s > 0:
            options["delay_seconds"] = delay_s
        self._client.enqueue_in_transaction(conn, options, kind, key)

    def nudge(self) -> None:
        """Something was enqueued and committed here: look at the queue now."""
        if self._claimer is not None:
            self._claimer.nudge()

    def launch(self, body: Body, crowd: Crowd, woken: Body) -> None:
        """Start claiming jobs and take up those this node had before it died.

        ``body`` may raise nothing but ``Unfinished``. ``crowd`` gives the jobs under way when they hold every slot,
        and ``woken`` is told which of them has a new row that can therefore not be claimed.
        """
        if dbos._dbos._dbos_global_instance is not None:  # noqa: SLF001 - where DBOS keeps its only instance
            raise AssertionError("DBOS allows one engine in a process, and one is running")
        try:
            with machine_trouble():
                self._claimer = self._launch(body, crowd, woken)
        except BaseException:
            DBOS.destroy(destroy_registry=True)
            raise

    def _launch(self, body: Body, crowd: Crowd, woken: Body) -> _Claimer:
        begun: set[str] = set()
        DBOS(config=self._config())
        # Ordinary restarts count as recoveries too, so there is no limit on them.
        DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)(_entry(body, begun))
        DBOS.listen_queues([])  # DBOS's own claimer cannot be nudged; ours runs the same code
        # DBOS would do this in the background, row by row, while we already claim: after many crashes that never ends.
        for row in _rows(self._client, status="PENDING", executor_id=self._executor):
            _give_back(self._client, self._executor, row)
        DBOS.launch()
        queue = DBOS.register_queue(
            QUEUE, worker_concurrency=JOBS_MAX, polling_interval_sec=POLL_S, on_conflict="always_update"
        )
        queue.database_backed_queue = False  # the limits are those above: no need to read them again at every look
        claimer = _Claimer(queue, _Housekeeper(self._client, self._executor, begun, crowd, woken))
        claimer.start()
        return claimer

    def stop_claiming(self) -> None:
        """Claim no further job; those under way go on."""
        if self._claimer is not None:
            self._claimer.set()

    def shutdown(self) -> None:
        """Let DBOS write down which jobs are done, and let go of it; all others stay PENDING.

        With the database away the writing cannot end, so it is waited for a while only.
        """
        self.stop_claiming()
        if self._claimer is not None:
            self._claimer.join(STOP_TIMEOUT_S)
            self._claimer = None
            executor = dbos._dbos._get_dbos_instance()._executor  # noqa: SLF001 - DBOS itself abandons its jobs
            writing = threading.Thread(target=executor.shutdown, name="engine-drain", daemon=True)
            writing.start()
            writing.join(STOP_TIMEOUT_S)
        DBOS.destroy(destroy_registry=True)

    def _config(self) -> DBOSConfig:
        return {
            "name": NAME,
            "system_database_engine": self._engine,
            "application_version": VERSION,
            "executor_id": self._executor,
            "serializer": _Json(),
            "run_migrations": False,
            "use_listen_notify": False,
            "enable_otlp": False,
            "log_level": "WARNING",
            # We schedule nothing and send no messages through DBOS; its threads for both only have to end quickly.
            "scheduler_polling_interval_sec": 3600.0,
            "notification_listener_polling_interval_sec": 0.02,
            "max_executor_threads": JOBS_MAX + 8,
        }


def migrate(engine: sa.Engine) -> None:
    """Bring DBOS's own tables to what this release of DBOS needs; free when they are. Goes before ``store.migrate``.

    Raises ``tool_missing`` for a SQLite that DBOS cannot work with.
    """
    forbid_pickle()
    _listen_to_dbos()
    if engine.dialect.name == "sqlite":
        check_sqlite(sys.version_info[:2], sqlite3.sqlite_version_info)
    with machine_trouble():
        try:
            _client(engine)._sys_db.verify_migrations()  # noqa: SLF001 - the public way migrates on every start
        except DBOSInitializationError:
            _run_migrations(engine)


def forbid_pickle() -> None:
    """Make every way into pickle raise, whatever a row claims."""
    vars(dbos._serialization)["pickle"] = _NoPickle()  # noqa: SLF001 - there is no switch for it


def check_sqlite(python: tuple[int, int], sqlite: tuple[int, ...]) -> None:
    """Raise ``tool_missing`` where DBOS asks for a function (``unixepoch`` with ``subsec``) this SQLite lacks."""
    if python >= (3, 12) and sqlite < SQLITE_MIN_FROM_PYTHON_312:
        found = ".".join(str(part) for part in sqlite)
        raise MandamusError(
            Code.TOOL_MISSING,
            f"SQLite {found} is too old: from Python 3.12 on the engine needs SQLite 3.42 or newer",
            remedy="use Python 3.11, a Python with a newer SQLite (`uv python install` brings one), or Postgres",
        )


def _run_migrations(engine: sa.Engine) -> None:
    """On an engine of its own: on SQLite DBOS begins its transaction itself, and ours already has."""
    own = sa.create_engine(engine.url)
    try:
        _client(own)._sys_db.run_migrations()  # noqa: SLF001 - see `migrate`
    finally:
        own.dispose()


def _client(engine: sa.Engine) -> DBOSClient:
    return DBOSClient(system_database_engine=engine, serializer=_Json(), application_name=NAME, lazy=True)


def _entry(body: Body, begun: set[str]) -> Body:
    """The registered workflow. ``begun`` holds the rows this process has begun, until they are forgotten.

    Whatever becomes of them, parked or done and not yet written down, they are not astray.
    """

    def dispatch(kind: str, key: str) -> None:
        begun.add(str(DBOS.workflow_id))
        body(kind, key)

    return dispatch


class _Claimer(threading.Thread):
    """The thread that claims jobs, by DBOS's own code.

    It stands in for the event that code waits on between two looks at the queue, so that a look can be had at once.
    """

    def __init__(self, queue: Queue, keeper: _Housekeeper) -> None:
        super().__init__(name="engine-claim", daemon=True)
        self._queue = queue
        self._keeper = keeper
        self._changed = threading.Condition()
        self._nudged = True
        self._ended = False

    def run(self) -> None:
        """Claim until the end."""
        instance = dbos._dbos._get_dbos_instance()  # noqa: SLF001 - see `Dispatch.launch`
        queue_worker_thread(self, instance, self._queue)  # type: ignore[arg-type]  # it wants an event

    def is_set(self) -> bool:
        """Whether the end has come."""
        return self._ended

    def set(self) -> None:
        """Let the end come."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def nudge(self) -> None:
        """Look now."""
        with self._changed:
            self._nudged = True
            self._changed.notify_all()

    def wait(self, timeout: float) -> bool:
        """Until nudged, or the end, or the time is over; whether it was the end."""
        self._keeper.turn(nudged=self._nudged)
        with self._changed:
            self._changed.wait_for(lambda: self._nudged or self._ended, timeout)
            self._nudged = False
            return self._ended


class _Housekeeper:
    """What has to be seen to now and then, between two looks at the queue."""

    def __init__(self, client: DBOSClient, executor: str, begun: set[str], crowd: Crowd, woken: Body) -> None:
        self._client = client
        self._executor = executor
        self._begun = begun
        self._crowd = crowd
        self._woken = woken
        self._turns = 0
        self._more = True
        self._astray: set[str] = set()
        self._taken_up: Counter[str] = Counter()

    def turn(self, *, nudged: bool) -> None:
        """Called between two looks; trouble with the database is no reason to stop claiming."""
        self._turns += 1
        due = self._turns % HOUSEKEEPING_TURNS == 0
        try:
            if due or nudged:
                self._wake_the_crowd()
            if due or self._more:
                self._forget_finished()
            if due:
                self._take_up_astray()
        except Exception as error:  # noqa: BLE001 - the next round tries again
            log.warning("engine.housekeeping", error=type(error).__name__, said=str(error))

    def _wake_the_crowd(self) -> None:
        """Jobs that hold every slot learn of their new rows here: those cannot be claimed, yet may say `cancel`."""
        crowd = self._crowd()
        if crowd:
            prefixes = [f"{kind}/{key}/" for kind, key in crowd]
            for row in _rows(self._client, status="ENQUEUED", workflow_id_prefix=prefixes):
                kind, _, rest = row.partition("/")
                self._woken(kind, rest.rpartition("/")[0])

    def _forget_finished(self) -> None:
        """Our own rows hold the truth about what is done; DBOS's would only grow."""
        finished = _rows(self._client, status=["SUCCESS", "CANCELLED"], limit=FORGET_MAX)
        if finished:
            self._client.delete_workflows(finished)
            self._begun.difference_update(finished)
        self._more = len(finished) == FORGET_MAX

    def _take_up_astray(self) -> None:
        """Rows that are claimed by us and were never begun: the connection broke in between.

        Only what two rounds in a row have found, since a claim and its begin are not one instant; and a few times
        only, since DBOS may refuse the row for what it holds.
        """
        found = set(_rows(self._client, status="PENDING", executor_id=self._executor)) - self._begun
        for row in found & self._astray:
            if self._taken_up[row] == TAKEN_UP_MAX:
                continue
            self._taken_up[row] += 1
            log.warning("engine.astray", row=row, time=self._taken_up[row])
            _give_back(self._client, self._executor, row)
        self._astray = found - self._astray


def _rows(client: DBOSClient, **which: Any) -> list[str]:
    found = client.list_workflows(queue_name=QUEUE, app_version=VERSION, load_input=False, load_output=False, **which)
    return [row.workflow_id for row in found]


def _give_back(client: DBOSClient, executor: str, row: str) -> None:
    """A claimed row goes back to the queue, unless another node has taken it over meanwhile."""
    client._sys_db.reenqueue_for_recovery(row, [executor], QUEUE)  # noqa: SLF001 - the public way has no such guard


class _NoPickle:
    """Stands where DBOS's serializer module keeps ``pickle``: the row, not the configuration, chooses the format."""

    def __getattr__(self, name: str) -> Any:
        raise MandamusError(
            Code.ENGINE_PICKLE,
            f"a row of the dispatch tables asks for pickle ({name})",
            remedy="somebody wrote to the database by hand: stop, and restore it from a backup you trust",
        )


class _Json(Serializer):
    """Plain JSON; a job's arguments are two strings."""

    def serialize(self, data: Any) -> str:
        return json.dumps(data, sort_keys=True)

    def deserialize(self, serialized_data: str) -> Any:
        return json.loads(serialized_data)

    def name(self) -> str:
        return "mandamus_json"


class _OurLog(logging.Handler):
    """Takes DBOS's warnings to our own log, the same one every ``REPEAT_S`` at most: some come at every look."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said_s: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        if record.created - self._said_s.get(said, 0.0) >= REPEAT_S:
            if len(self._said_s) >= SAID_MAX:
                self._said_s.clear()
            self._said_s[said] = record.created
            log.warning("engine.dbos", said=said)


def _listen_to_dbos() -> None:
    """A command's output is data: what DBOS would say to a console of its own goes to our log."""
    logger = logging.getLogger("dbos")
    logger.propagate = False
    if not any(isinstance(handler, _OurLog) for handler in logger.handlers):
        logger.handlers = [_OurLog()]
        logger.setLevel(logging.WARNING)
