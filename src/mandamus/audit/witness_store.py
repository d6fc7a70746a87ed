"""Rows of cosignatures to values and back."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mandamus.audit.model import Checkpoint
from mandamus.store.tables.audit import audit_checkpoint, audit_cosig, audit_head

_SIZES_READ = 200

_KEEP = {
    "sqlite": sqlite.insert(audit_cosig).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(audit_cosig).on_conflict_do_nothing(),
}
_LINES_AT = (
    sa.select(audit_cosig.c.witness, audit_cosig.c.line)
    .where(audit_cosig.c.origin == sa.bindparam("log"), audit_cosig.c.size == sa.bindparam("at"))
    .order_by(audit_cosig.c.witness)
)
_NEWEST_OF = sa.select(sa.func.max(audit_cosig.c.size)).where(
    audit_cosig.c.origin == sa.bindparam("log"), audit_cosig.c.witness == sa.bindparam("of")
)
_SIZES = (
    sa.select(audit_cosig.c.size)
    .where(audit_cosig.c.origin == sa.bindparam("log"))
    .distinct()
    .order_by(audit_cosig.c.size.desc())
    .limit(_SIZES_READ)
)
_FIRST_AFTER = (
    sa.select(audit_checkpoint.c.at_us)
    .where(audit_checkpoint.c.origin == sa.select(audit_head.c.origin).scalar_subquery())
    .where(audit_checkpoint.c.size > sa.bindparam("after"))
    .order_by(audit_checkpoint.c.size)
    .limit(1)
)


def keep(conn: sa.Connection, checkpoint: Checkpoint, witness: str, line: str, at_us: int) -> None:
    """Write a cosignature; a second one of the same witness for the same tree says nothing new."""
    values = {"origin": checkpoint.origin, "size": checkpoint.size, "witness": witness, "line": line, "at_us": at_us}
    conn.execute(_KEEP[conn.dialect.name], values)


def lines_at(conn: sa.Connection, origin: str, size: int) -> dict[str, str]:
    """The cosignatures of a tree, by the witness's key."""
    return {row.witness: row.line for row in conn.execute(_LINES_AT, {"log": origin, "at": size})}


def newest_of(conn: sa.Connection, origin: str, witness: str) -> int:
    """The size of the newest tree that this witness cosigned for us; 0 for none."""
    return conn.scalar(_NEWEST_OF, {"log": origin, "of": witness}) or 0


def sizes(conn: sa.Connection, origin: str) -> list[int]:
    """Sizes of the newest trees that anybody cosigned, greatest first."""
    return list(conn.scalars(_SIZES, {"log": origin}))


def first_after_us(conn: sa.Connection, size: int) -> int | None:
    """When the first checkpoint beyond that size was signed; None when there is none."""
    return conn.scalar(_FIRST_AFTER, {"after": size})
