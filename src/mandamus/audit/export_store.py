"""Rows of export cursors to values and back."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from mandamus.store.tables.audit import export_cursor

_OF = sa.select(export_cursor).where(
    export_cursor.c.origin == sa.bindparam("of"), export_cursor.c.sink == sa.bindparam("to")
)
_CHANGE = sa.update(export_cursor).where(
    export_cursor.c.origin == sa.bindparam("of"), export_cursor.c.sink == sa.bindparam("to")
)


@dataclass(frozen=True)
class Cursor:
    """How far a sink is: it has every leaf before ``next``. ``error`` is of the last attempt, empty if that went well.

    ``taken_us`` is when it last took something, 0 for never.
    """

    next: int = 0
    taken_us: int = 0
    error: str = ""
    error_us: int = 0


def read(conn: sa.Connection, origin: str, sink: str) -> Cursor:
    """The cursor of a sink in the log of that origin; at the first leaf when it has none."""
    row = conn.execute(_OF, {"of": origin, "to": sink}).one_or_none()
    return Cursor(row.next_index, row.taken_us, row.error, row.error_us) if row else Cursor()


def write(conn: sa.Connection, origin: str, sink: str, cursor: Cursor) -> None:
    """Write the cursor of a sink."""
    values = {
        "next_index": cursor.next,
        "taken_us": cursor.taken_us,
        "error": cursor.error,
        "error_us": cursor.error_us,
    }
    if not conn.execute(_CHANGE.values(values), {"of": origin, "to": sink}).rowcount:
        conn.execute(sa.insert(export_cursor), {**values, "origin": origin, "sink": sink})
