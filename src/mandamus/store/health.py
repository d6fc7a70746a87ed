"""What a database can tell of its own health: whether it is whole, and what it lacks of this release's schema."""

from __future__ import annotations

import re
from collections.abc import Iterator

import sqlalchemy as sa

from mandamus.store import schema

_TRIGGER_NAME = re.compile(r"CREATE TRIGGER (\w+) ")
_SQLITE_TRIGGERS = sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
_POSTGRES_TRIGGERS = sa.text("SELECT tgname AS name FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D'")


def damage(conn: sa.Connection) -> list[str]:
    """What the database finds wrong with itself. Postgres checks its pages when it reads them and is not asked."""
    if conn.dialect.name != "sqlite":
        return []
    lines = [str(line) for line in conn.scalars(sa.text("PRAGMA integrity_check")) if line != "ok"]
    rows = conn.execute(sa.text("PRAGMA foreign_key_check"))
    return lines + [f"row {row[1]} of {row[0]} names a row of {row[2]} that is not there" for row in rows]


def lacking(conn: sa.Connection) -> list[str]:
    """Tables, columns, indexes and triggers that this release needs and the database does not have."""
    return [*_tables(conn), *_triggers(conn)]


def _tables(conn: sa.Connection) -> Iterator[str]:
    found = sa.inspect(conn)
    for table in schema.metadata.sorted_tables:
        if not found.has_table(table.name):
            yield f"table {table.name}"
            continue
        columns = {column["name"] for column in found.get_columns(table.name)}
        yield from (f"column {table.name}.{column.name}" for column in table.columns if column.name not in columns)
        indexes = {index["name"] for index in found.get_indexes(table.name)}
        yield from (f"index {index.name}" for index in table.indexes if index.name not in indexes)


def _triggers(conn: sa.Connection) -> Iterator[str]:
    """Those that keep the log append-only: gone, switched off, or (on SQLite) saying something else."""
    wanted = schema.triggers(conn.dialect.name)
    if conn.dialect.name == "sqlite":
        found = {row.name: row.sql for row in conn.execute(_SQLITE_TRIGGERS)}
        yield from (f"trigger {name}" for name, sql in _named(wanted) if found.get(name) != sql)
    else:
        names = set(conn.scalars(_POSTGRES_TRIGGERS))
        yield from (f"trigger {name}" for name, _ in _named(wanted) if name not in names)


def _named(statements: list[str]) -> Iterator[tuple[str, str]]:
    for statement in statements:
        match = _TRIGGER_NAME.match(statement)
        if match:
            yield match[1], statement
