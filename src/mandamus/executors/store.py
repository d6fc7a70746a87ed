"""Rows of output to bytes and back; nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from mandamus.store.tables.executors import executor_output as table


@dataclass(frozen=True)
class OutputKey:
    """Whose output: one phase of one attempt at one step."""

    run: str
    step: str
    attempt: int
    phase: str


@dataclass(frozen=True)
class Chunk:
    """Some bytes and where they begin."""

    start: int
    data: bytes
    final: bool


_NEWEST_SQLITE = sa.text("SELECT max(rowid) FROM executor_output")
_NEWEST_POSTGRES = sa.text("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")
# Rows of output have no number of their own, and need none for anything else.


def newest(conn: sa.Connection) -> int:
    """A number that is another one as soon as output was stored; on Postgres, as soon as anything was written."""
    query = _NEWEST_SQLITE if conn.dialect.name == "sqlite" else _NEWEST_POSTGRES
    found: int | None = conn.scalar(query)
    return found or 0


def insert(conn: sa.Connection, key: OutputKey, chunk: Chunk) -> None:
    """Add a chunk; a final mark that stood at its place gives way (a phase may be run again)."""
    conn.execute(table.delete().where(*_of(key), table.c.start == chunk.start, table.c.final))
    conn.execute(table.insert().values(**vars(key), start=chunk.start, data=chunk.data, final=chunk.final))


def length(conn: sa.Connection, key: OutputKey) -> int:
    """How many bytes are stored."""
    end = table.c.start + sa.func.length(table.c.data)
    return conn.scalar(sa.select(end).where(*_of(key)).order_by(table.c.start.desc()).limit(1)) or 0


def chunks(conn: sa.Connection, key: OutputKey, offset: int) -> Iterator[Chunk]:
    """The chunk that holds the offset, and those after it, read as they are asked for."""
    first = sa.select(sa.func.max(table.c.start)).where(*_of(key), table.c.start <= offset).scalar_subquery()
    wanted = sa.select(table.c.start, table.c.data, table.c.final).where(
        *_of(key), table.c.start >= sa.func.coalesce(first, 0)
    )
    with conn.execution_options(yield_per=16).execute(wanted.order_by(table.c.start)) as rows:
        for row in rows:
            yield Chunk(row.start, bytes(row.data), row.final)


def _of(key: OutputKey) -> tuple[sa.ColumnElement[bool], ...]:
    return tuple(table.c[name] == value for name, value in vars(key).items())
