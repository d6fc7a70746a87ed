"""The only file that touches DBOS: one registered workflow, one queue, no pickle.

What DBOS does here: keep a row per job, claim it once, and give it back to us after a crash. What a job means is in
our own tables; a DBOS row holds two strings.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from typing import Any

import dbos._serialization
import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSConfig
from dbos._dbos import _get_dbos_instance
from dbos._serialization import Serializer

from mandamus.kernel.errors import Code, MandamusError

NAME = "mandamus"
WORKFLOW = "dispatch"
"""Never renamed: rows that wait name it."""
VERSION = "1"
"""A constant of ours: DBOS's own default is a hash of the source, and an upgrade would strand what waits."""
QUEUE = "local"
POLL_S = 0.02
JOBS_MAX = 16

Body = Callable[[str, str], None]


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


def forbid_pickle() -> None:
    """Make every way into pickle raise, whatever a row claims."""
    dbos._serialization.pickle = _NoPickle()  # type: ignore[assignment]  # noqa: SLF001 - there is no switch for it


def migrate(engine: sa.Engine) -> None:
    """Bring DBOS's own tables to what this release of DBOS needs; free when they are."""
    forbid_pickle()
    _quiet()
    client = _client(engine)
    try:
        client._sys_db.verify_migrations()  # noqa: SLF001 - the public way migrates on every start
    except Exception:  # noqa: BLE001 - missing and outdated are told apart by nothing but the text
        _run_migrations(engine)
    client.register_queue(QUEUE, worker_concurrency=JOBS_MAX, polling_interval_sec=POLL_S)


def _run_migrations(engine: sa.Engine) -> None:
    """On an engine of its own: on SQLite DBOS begins its transaction itself, and ours already has."""
    own = sa.create_engine(engine.url)
    try:
        _client(own)._sys_db.run_migrations()  # noqa: SLF001 - see `migrate`
    finally:
        own.dispose()


class Dispatch:
    """Jobs that survive us. ``executor`` names this node, so that after a crash it finds its own work again."""

    def __init__(self, engine: sa.Engine, executor: str) -> None:
        forbid_pickle()
        self._engine = engine
        self._executor = executor
        self._client = _client(engine)

    def enqueue(self, conn: sa.Connection, kind: str, key: str, wake: str, delay_s: float = 0.0) -> None:
        """Put a job on the queue in the caller's transaction; the same kind, key and wake twice is one job.

        The only call of DBOS that is allowed inside a transaction of ours.
        """
        if not (kind and key and wake):
            raise AssertionError("a job needs a kind, a key and a wake: an empty id would run again and again")
        options: dict[str, Any] = {
            "workflow_name": WORKFLOW,
            "queue_name": QUEUE,
            "workflow_id": f"{kind}/{key}/{wake}",
            "app_version": VERSION,
        }
        if delay_s > 0:
            options["delay_seconds"] = delay_s
        self._client.enqueue_in_transaction(conn, options, kind, key)  # type: ignore[arg-type]

    def launch(self, body: Body) -> None:
        """Start claiming jobs and take up those this node had before it died."""
        config: DBOSConfig = {
            "name": NAME,
            "system_database_engine": self._engine,
            "application_version": VERSION,
            "executor_id": self._executor,
            "serializer": _Json(),
            "run_migrations": False,
            "use_listen_notify": False,
            "enable_otlp": False,
            "log_level": "CRITICAL",
            "scheduler_polling_interval_sec": 3600.0,
            "notification_listener_polling_interval_sec": 0.05,
            "max_executor_threads": JOBS_MAX + 8,
        }
        if not self._engine.dialect.name.startswith("sqlite"):
            config["dbos_system_schema"] = "dbos"
        DBOS(config=config)
        _quiet()
        # Ordinary restarts count as recoveries too, so there is no limit on them.
        DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)(_entry(body))
        DBOS.launch()

    def stop_claiming(self) -> None:
        """Claim no further job; those under way go on."""
        instance = _get_dbos_instance()
        for stop in instance.background_thread_stop_events:
            stop.set()
        for thread in threading.enumerate():
            if thread.name.startswith("queue-worker-"):
                thread.join()

    def shutdown(self) -> None:
        """Stop claiming; jobs under way stay PENDING and are found again at the next start."""
        DBOS.destroy(destroy_registry=True)


def _entry(body: Body) -> Body:
    def dispatch(kind: str, key: str) -> None:
        body(kind, key)

    return dispatch


def _client(engine: sa.Engine) -> DBOSClient:
    return DBOSClient(system_database_engine=engine, serializer=_Json(), application_name=NAME, lazy=True)


def _quiet() -> None:
    """The command's output is data; what DBOS would say to a console of its own is not."""
    logger = logging.getLogger("dbos")
    logger.setLevel(logging.CRITICAL)
    logger.propagate = False
