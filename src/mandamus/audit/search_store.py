"""The queries of a search. The newest event is first; an index for each filter has the same order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from mandamus.audit.model import IndexedLeaf
from mandamus.kernel import canonical
from mandamus.store.tables.audit import audit_event, audit_leaf

SCANNED_MAX = 20_000
"""In so many events a text is looked for before a page ends; it bounds what a page costs."""
_ESCAPE = "!"

Place = tuple[int, int]
"""Time and event id: the order in which events are found."""


@dataclass(frozen=True)
class Wanted:
    """What to look for; None for whatever. ``resource`` is ``TYPE`` or ``TYPE/ID``; times are microseconds.

    ``since`` is the first moment that counts, ``until`` the first that does not. ``text`` is looked for in kind,
    resource, step and why; of ASCII letters, the case does not matter.
    """

    actor: str | None = None
    kind: str | None = None
    resource: str | None = None
    run: str | None = None
    outcome: str | None = None
    since: int | None = None
    until: int | None = None
    text: str | None = None


@dataclass(frozen=True)
class Scope:
    """Whose own events, and which kinds beside those of runs, a reader may see."""

    user: str
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """A leaf that was found."""

    index: int
    leaf: bytes


_EVENT = audit_event.c
_JOINED = audit_event.join(audit_leaf, audit_leaf.c.event_id == audit_event.c.event_id)
_NEWEST_FIRST = (_EVENT.at_us.desc(), _EVENT.event_id.desc())
_PLACE_OF = (
    sa.select(_EVENT.at_us, _EVENT.event_id)
    .select_from(_JOINED)
    .where(audit_leaf.c.leaf_index == sa.bindparam("at_index"))
)
_LEAF = sa.select(audit_leaf.c.leaf_index, audit_leaf.c.hash, _EVENT.stream, _EVENT.seq, _EVENT.leaf).select_from(
    _JOINED
)


def place_of(conn: sa.Connection, index: int) -> Place | None:
    """Where a leaf stands in the order of a search, or None when there is no such leaf."""
    row = conn.execute(_PLACE_OF, {"at_index": index}).one_or_none()
    return None if row is None else (row.at_us, row.event_id)


def leaf(conn: sa.Connection, index: int, scope: Scope | None) -> IndexedLeaf | None:
    """A leaf that the scope lets be read."""
    query = _LEAF.where(audit_leaf.c.leaf_index == index, *_scoped(scope))
    row = conn.execute(query).one_or_none()
    return None if row is None else IndexedLeaf(row.leaf_index, row.stream, row.seq, row.hash, row.leaf)


def page(
    conn: sa.Connection, wanted: Wanted, scope: Scope | None, below: Place | None, limit: int
) -> tuple[list[Row], int | None]:
    """Up to ``limit`` leaves below a place, and the index before which the next page begins."""
    query = select(wanted, scope, below)
    if wanted.text is None:
        return _cut(conn.execute(query.limit(limit + 1)).all(), limit)
    scanned = query.limit(SCANNED_MAX).subquery()
    hits = sa.select(scanned).where(_like(scanned.c.leaf, wanted.text, conn.dialect.name))
    hits = hits.order_by(scanned.c.at_us.desc(), scanned.c.event_id.desc()).limit(limit + 1)
    rows, following = _cut(conn.execute(hits).all(), limit)
    if following is None:
        last = sa.select(query.subquery().c.leaf_index).offset(SCANNED_MAX - 1).limit(1)
        following = conn.scalar(last)
    return rows, following


def select(wanted: Wanted, scope: Scope | None, below: Place | None) -> sa.Select[tuple[int, bytes, int, int]]:
    """The query for everything but the text, in order and without an end."""
    exact = {_EVENT.subject: wanted.actor, _EVENT.kind: wanted.kind, _EVENT.outcome: wanted.outcome}
    clauses: list[sa.ColumnElement[bool]] = [column == value for column, value in exact.items() if value is not None]
    if wanted.outcome not in (None, "ok"):
        clauses.append(_EVENT.outcome != sa.literal_column("'ok'"))  # as in the index, so that it is used
    if wanted.run is not None:
        clauses.append(_EVENT.run == wanted.run)
    if wanted.resource is not None:
        kind, slash, name = wanted.resource.partition("/")
        clauses.append(_EVENT.resource_type == kind)
        if slash:
            clauses.append(_EVENT.resource_id == name)
    if wanted.since is not None:
        clauses.append(_EVENT.at_us >= wanted.since)
    if wanted.until is not None:
        clauses.append(_EVENT.at_us < wanted.until)
    if below is not None:
        clauses.append(sa.tuple_(_EVENT.at_us, _EVENT.event_id) < sa.tuple_(*map(sa.literal, below)))
    columns = (audit_leaf.c.leaf_index, _EVENT.leaf, _EVENT.at_us, _EVENT.event_id)
    return sa.select(*columns).select_from(_JOINED).where(*clauses, *_scoped(scope)).order_by(*_NEWEST_FIRST)


def _scoped(scope: Scope | None) -> list[sa.ColumnElement[bool]]:
    if scope is None:
        return []
    seen = sa.or_(_EVENT.run.is_not(None), _EVENT.kind.in_(scope.kinds), _EVENT.subject == scope.user)
    # In a CASE it is only ever a filter: of a bare OR, SQLite joins three indexes and sorts what they give.
    return [sa.case((seen, 1), else_=0) == 1]


def _like(column: sa.ColumnElement[bytes], text: str, dialect: str) -> sa.ColumnElement[bool]:
    """Whether a leaf holds a text as its JSON writes it."""
    written = canonical.dumps(text).decode()[1:-1]
    for each in (_ESCAPE, "%", "_"):
        written = written.replace(each, _ESCAPE + each)
    if dialect == "sqlite":
        return sa.cast(column, sa.Text).like(f"%{written}%", escape=_ESCAPE)
    return sa.func.convert_from(column, "UTF8").ilike(f"%{written}%", escape=_ESCAPE)


def _cut(rows: Sequence[sa.Row[Any]], limit: int) -> tuple[list[Row], int | None]:
    found = [Row(row.leaf_index, row.leaf) for row in rows[:limit]]
    return found, found[-1].index if len(rows) > limit else None
