"""Statements of the hottest path: compiled once from Core, run on the driver's own cursor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.elements import CompilerElement


class Direct:
    """A statement that is run for every event of every transaction, where SQLAlchemy's own 70 us would count.

    Every value in it is a named parameter, and an integer, a text, bytes or None: nothing is converted.
    """

    def __init__(self, statement: CompilerElement) -> None:
        self._statement = statement
        self._texts: dict[str, str] = {}

    def rows(self, conn: sa.Connection, values: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
        """Run it in the open transaction; gives the rows that it returns."""
        cursor = conn.connection.cursor()
        text = self._text(conn)
        try:
            cursor.execute(text, values)
            return cursor.fetchall()
        except conn.dialect.loaded_dbapi.Error as error:
            raise driver_trouble(conn, text, error) from error

    def run(self, conn: sa.Connection, values: Sequence[Mapping[str, Any]]) -> None:
        """Run it in the open transaction, once with each of these values, in their order."""
        cursor = conn.connection.cursor()
        text = self._text(conn)
        try:
            if len(values) == 1:
                cursor.execute(text, values[0])
            else:
                cursor.executemany(text, values)
        except conn.dialect.loaded_dbapi.Error as error:
            raise driver_trouble(conn, text, error) from error

    def _text(self, conn: sa.Connection) -> str:
        if not conn.in_transaction():
            raise AssertionError("a direct statement outside of a transaction: the driver would commit it by itself")
        name = conn.dialect.name
        if name not in self._texts:
            # Both drivers then take the parameters by name.
            dialect = sqlite.dialect(paramstyle="named") if name == "sqlite" else conn.dialect
            self._texts[name] = str(self._statement.compile(dialect=dialect))
        return self._texts[name]


def begin(conn: sa.Connection, text: str) -> None:
    """Begin a transaction with that statement."""
    try:
        conn.connection.cursor().execute(text)
    except conn.dialect.loaded_dbapi.Error as error:
        raise driver_trouble(conn, text, error) from error


def driver_trouble(conn: sa.Connection, text: str, error: Exception) -> Exception:
    """The driver's error as SQLAlchemy gives it; a connection that is gone does not go back to the pool."""
    dialect = conn.dialect
    gone = dialect.is_disconnect(error, conn.connection, None)  # type: ignore[arg-type]
    if gone:
        conn.invalidate(error)
    return exc.DBAPIError.instance(
        text, None, error, dialect.loaded_dbapi.Error, dialect=dialect, connection_invalidated=gone
    )
