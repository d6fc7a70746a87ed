"""Rows of anchored checkpoints to values and back."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mandamus.store.tables.audit import audit_anchor

_KEEP = {
    "sqlite": sqlite.insert(audit_anchor).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(audit_anchor).on_conflict_do_nothing(),
}
_NEWEST_OF = (
    sa.select(audit_anchor)
    .where(audit_anchor.c.origin == sa.bindparam("log"), audit_anchor.c.anchor == sa.bindparam("name"))
    .order_by(audit_anchor.c.size.desc())
    .limit(1)
)
_SIZES_OF = (
    sa.select(audit_anchor.c.size)
    .where(audit_anchor.c.origin == sa.bindparam("log"), audit_anchor.c.anchor == sa.bindparam("name"))
    .order_by(audit_anchor.c.size)
)
_STAMPED_SINCE = (
    sa.select(audit_anchor)
    .where(audit_anchor.c.origin == sa.bindparam("log"), audit_anchor.c.size >= sa.bindparam("least"))
    .where(audit_anchor.c.kind == "rfc3161")
    .order_by(audit_anchor.c.size)
)


@dataclass(frozen=True)
class Row:
    """A checkpoint of a log that was put into an anchor."""

    origin: str
    anchor: str
    size: int
    kind: str
    ref: str
    token: bytes
    at_us: int


def keep(conn: sa.Connection, row: Row) -> None:
    """Write a row; the same tree in the same anchor again says nothing new."""
    conn.execute(_KEEP[conn.dialect.name], vars(row))


def newest_of(conn: sa.Connection, origin: str, anchor: str) -> Row | None:
    """The newest tree in an anchor."""
    row = conn.execute(_NEWEST_OF, {"log": origin, "name": anchor}).one_or_none()
    return Row(row.origin, row.anchor, row.size, row.kind, row.ref, row.token, row.at_us) if row else None


def sizes_of(conn: sa.Connection, origin: str, anchor: str) -> list[int]:
    """The sizes of all trees in an anchor, smallest first."""
    return list(conn.scalars(_SIZES_OF, {"log": origin, "name": anchor}))


def stamped_since(conn: sa.Connection, origin: str, size: int) -> list[Row]:
    """The checkpoints of at least that size that a timestamp server stamped, smallest first."""
    return [Row(**row) for row in conn.execute(_STAMPED_SINCE, {"log": origin, "least": size}).mappings()]
