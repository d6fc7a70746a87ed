"""Rows of sealed bundles to values and back; nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mandamus.kernel.ids import Digest, RunId
from mandamus.store.tables.evidence import evidence_bundle


@dataclass(frozen=True)
class Sealed:
    """A sealed bundle: the blob ``digest`` proves the run up to the event with which it closed, ``seq`` of its stream.

    Not its index in the log, which changes when another log begins.
    """

    run: RunId
    seq: int
    digest: Digest
    sealed_us: int


def add(conn: sa.Connection, made: Sealed) -> bool:
    """Write a sealed bundle; False when this closing of the run was sealed before."""
    insert = sqlite.insert if conn.dialect.name == "sqlite" else postgresql.insert
    return conn.execute(insert(evidence_bundle).values(**vars(made)).on_conflict_do_nothing()).rowcount == 1


def find(conn: sa.Connection, run: RunId, seq: int) -> Sealed | None:
    """The bundle of one closing of a run, or None."""
    return _sealed(conn, sa.and_(evidence_bundle.c.run == run, evidence_bundle.c.seq == seq))


def newest(conn: sa.Connection, run: RunId) -> Sealed | None:
    """The bundle of the run's newest closing that was sealed, or None."""
    return _sealed(conn, evidence_bundle.c.run == run)


def _sealed(conn: sa.Connection, where: sa.ColumnElement[bool]) -> Sealed | None:
    query = evidence_bundle.select().where(where).order_by(evidence_bundle.c.seq.desc()).limit(1)
    row = conn.execute(query).one_or_none()
    return None if row is None else Sealed(RunId(row.run), row.seq, Digest(row.digest), row.sealed_us)
