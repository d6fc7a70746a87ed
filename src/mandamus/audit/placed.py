"""Reads the log's events in the order of the log, from a place on: for whoever follows all of it by a cursor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from mandamus.audit import store
from mandamus.audit.leaf import decode
from mandamus.audit.retention_store import FactsReader
from mandamus.store.tables.audit import audit_event, audit_leaf

_ROW = sa.select(audit_leaf.c.leaf_index, audit_leaf.c.event_id, audit_event.c.leaf).select_from(
    audit_leaf.join(audit_event, audit_leaf.c.event_id == audit_event.c.event_id)
)
_FROM = (
    _ROW.where(audit_leaf.c.leaf_index >= sa.bindparam("low"))
    .order_by(audit_leaf.c.leaf_index)
    .limit(sa.bindparam("most"))
)
# The first leaf of a new epoch is the newest event, and all the others are behind it in their old order.
_FIRST_BEHIND = sa.select(sa.func.min(audit_leaf.c.leaf_index)).where(
    audit_leaf.c.event_id > sa.bindparam("event"), audit_leaf.c.leaf_index > 0
)
_NEWEST = sa.select(sa.func.max(audit_leaf.c.event_id))


@dataclass(frozen=True)
class Place:
    """A place in the log of that origin: behind it stands the leaf ``next``, before it the event with that row id.

    The row's id finds the place again when a new epoch has given every event another index.
    """

    origin: str
    next: int
    event_id: int


@dataclass(frozen=True)
class Placed:
    """An event, decoded, of which environment it is (None when nobody knows any more), and the place behind it."""

    leaf: Mapping[str, Any]
    environment: str | None
    place: Place


def end(conn: sa.Connection) -> Place:
    """The place behind the newest event of the log."""
    size, _ = store.read_head(conn)
    return Place(store.tree_of(conn), size, conn.scalar(_NEWEST) or 0)


def after(conn: sa.Connection, place: Place, most: int) -> list[Placed]:
    """The events behind a place, in the order of the log, at most so many."""
    origin = store.tree_of(conn)
    low: int | None = place.next
    if origin != place.origin:
        low = conn.scalar(_FIRST_BEHIND, {"event": place.event_id})
    if low is None:
        return []
    reader = FactsReader(conn)
    return [
        Placed(decode(row.leaf), reader.facts(row.leaf).environment, Place(origin, row.leaf_index + 1, row.event_id))
        for row in conn.execute(_FROM, {"low": low, "most": most})
    ]
