"""Transactions on SQLite or Postgres: short, explicit, and with hooks around the commit."""

from __future__ import annotations

import select
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.direct import begin

POOL_SIZE = 48
"""At least the number of threads that may hold a transaction; fewer starves them (a wait of 30 s was measured)."""

WAL_PAUSES_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

_READ = "mandamus_read"

CommitHook = Callable[[str, str], None]
"""Called with ``before`` or ``after`` and the transaction's label; the crash test kills the process here."""


def no_hook(_moment: str, _label: str) -> None:
    """The hook of normal operation."""


class Tx:
    """One open writing transaction; ``conn`` executes statements."""

    def __init__(self, conn: sa.Connection, label: str) -> None:
        self.conn = conn
        self.label = label
        self.kept: dict[object, Any] = {}
        """What a room has gathered for the end of this transaction, by a key of its own."""
        self._before: list[Callable[[], object]] = []
        self._after: list[Callable[[], None]] = []

    def before_commit(self, action: Callable[[], object]) -> None:
        """Run the action as the last of this transaction, so that rows can be written together."""
        self._before.append(action)

    def after_commit(self, action: Callable[[], None]) -> None:
        """Run the action once the commit is durable; never when it rolled back."""
        self._after.append(action)

    def complete(self) -> None:
        """Run what was left for the end."""
        for action in self._before:
            action()

    def committed(self) -> None:
        """Run what was left for after the commit."""
        for action in self._after:
            action()


class Database:
    """The only way to a connection. Writers take the write lock at once, readers never do."""

    def __init__(self, engine: sa.Engine, hook: CommitHook = no_hook) -> None:
        self.engine = engine
        self._hook = hook
        self._local = threading.local()
        # SQLite lets one writer in and has the others wait by polling, each with a connection on its hands: enough of
        # them starve the one inside. So the writers of this process queue here, before they take a connection.
        self._turn: AbstractContextManager[object] = threading.Lock() if self.is_sqlite else nullcontext()

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded database."""
        return self.engine.dialect.name == "sqlite"

    @property
    def in_transaction(self) -> bool:
        """Whether this thread is inside a writing transaction of ours."""
        return getattr(self._local, "tx", None) is not None

    @contextmanager
    def begin(self, label: str) -> Iterator[Tx]:
        """A writing transaction, committed at the end of the block or rolled back on any exception.

        Raises ``storage_full`` or ``unavailable`` (both retryable) for trouble of the machine; never nested.
        """
        if self.in_transaction:
            raise AssertionError(f"transaction {label!r} inside {self._local.tx.label!r}")
        with machine_trouble(), self._turn, self.engine.connect() as conn:
            conn.begin()
            tx = Tx(conn, label)
            self._local.tx = tx
            try:
                yield tx
                tx.complete()
                self._hook("before", label)
                conn.commit()
            finally:
                self._local.tx = None
        self._hook("after", label)
        tx.committed()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A consistent snapshot for reading."""
        with machine_trouble(), self.engine.connect() as conn:
            yield conn.execution_options(**{_READ: True})

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def open_sqlite(path: Path) -> sa.Engine:
    """Engine on a SQLite file: WAL, synchronous FULL, BEGIN IMMEDIATE for writers."""
    engine = sa.create_engine(
        f"sqlite:///{path}",
        pool_size=POOL_SIZE,
        max_overflow=0,
        poolclass=sa.QueuePool,
        connect_args={"timeout": 30, "check_same_thread": False},
    )
    event.listen(engine, "connect", _sqlite_connect)
    event.listen(engine, "begin", _sqlite_begin)
    return engine


def open_postgres(url: str) -> sa.Engine:
    """Engine on Postgres through psycopg 3; ``url`` is a libpq URL such as ``postgresql://host/db``."""
    engine = sa.create_engine(
        sa.make_url(url).set(drivername="postgresql+psycopg"),
        pool_size=POOL_SIZE,
        max_overflow=0,
        connect_args={"options": "-c idle_in_transaction_session_timeout=15000"},
    )
    event.listen(engine, "checkout", _postgres_checkout)
    return engine


def _postgres_checkout(dbapi_connection: Any, _record: object, _proxy: object) -> None:
    # To ask the server would cost each transaction a round trip. A connection that the server ended while it lay in
    # the pool has the server's goodbye to read, or the end of the stream; the pool then opens another one.
    if dbapi_connection.closed or _has_something_to_read(dbapi_connection.fileno()):
        raise exc.DisconnectionError


def _has_something_to_read(descriptor: int) -> bool:
    asked = select.poll()
    asked.register(descriptor, select.POLLIN)
    return bool(asked.poll(0))


def _sqlite_connect(dbapi_connection: Any, _record: object) -> None:
    # The driver's own implicit BEGIN is deferred and loses updates; we emit our own (see _sqlite_begin).
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    for pragma in ("busy_timeout=30000", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    _sqlite_wal(cursor)
    cursor.close()


def _sqlite_wal(cursor: Any) -> None:
    # Only the first connections of a new database change its mode; of several at once SQLite fails all but one
    # without waiting, and they find it changed a moment later.
    for pause_s in WAL_PAUSES_S:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            threading.Event().wait(pause_s)
        else:
            return
    cursor.execute("PRAGMA journal_mode=WAL")


def _sqlite_begin(conn: sa.Connection) -> None:
    reading = conn.get_execution_options().get(_READ, False)
    begin(conn, "BEGIN" if reading else "BEGIN IMMEDIATE")


@contextmanager
def machine_trouble() -> Iterator[None]:
    """Turns a database that is full, away or overrun into ``storage_full`` or ``unavailable``, both retryable."""
    try:
        yield
    except (exc.DBAPIError, exc.TimeoutError) as error:
        if isinstance(error, exc.DBAPIError) and not _is_of_the_machine(error):
            raise
        text = str(error.orig if isinstance(error, exc.DBAPIError) else error)
        if "disk is full" in text or "No space left" in text:
            raise MandamusError(
                Code.STORAGE_FULL,
                "the disk that holds the database is full; nothing of this action was recorded",
                remedy="free space, then run `mandamus doctor`; interrupted runs go on by themselves",
                retryable=True,
            ) from error
        raise MandamusError(
            Code.UNAVAILABLE,
            f"the database did not answer: {text.splitlines()[0] if text else 'no reason given'}",
            remedy="check that the database is reachable, then try again",
            retryable=True,
        ) from error


def _is_of_the_machine(error: exc.DBAPIError) -> bool:
    # A connection that Postgres ended may come as any class of error, but the driver knows that it is gone.
    return isinstance(error, exc.OperationalError) or error.connection_invalidated
