"""How often somebody failed to come in lately, as rows."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from mandamus.identity.store import upsert
from mandamus.store.tables.machines import identity_attempt

_KEY = identity_attempt.c


def levels(conn: sa.Connection, keys: Collection[bytes]) -> dict[bytes, tuple[float, int]]:
    """By key: failures that were not forgotten at a moment, and that moment in microseconds."""
    rows = conn.execute(sa.select(identity_attempt).where(_KEY.key.in_(keys)))
    return {row.key: (row.level, row.at_us) for row in rows}


def put(conn: sa.Connection, key: bytes, level: float, at_us: int) -> None:
    """Write how many there are now."""
    upsert(conn, identity_attempt, {"key": key}, {"level": level, "at_us": at_us})


def drop(conn: sa.Connection, before_us: int, rows_max: int) -> None:
    """Forget what is older than a moment, and the oldest of what is more than so many."""
    conn.execute(identity_attempt.delete().where(_KEY.at_us < before_us))
    oldest = sa.select(_KEY.at_us).order_by(_KEY.at_us.desc()).offset(rows_max).limit(1)
    kept_from = conn.scalar(oldest)
    if kept_from is not None:
        conn.execute(identity_attempt.delete().where(_KEY.at_us <= kept_from))
