"""The queries of a search. The newest event is first; an index for each filter has the same order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import sqlalchemy as sa

from mandamus.audit.model import IndexedLeaf
from mandamus.kernel import canonical
from mandamus.kernel.access import EVERYWHERE, Area
from mandamus.store.tables.audit import audit_event, audit_leaf, audit_stream

SCANNED_MAX = 2_000
"""Of the events that one filter gives, so many are looked at for the others before a page ends: what a page costs."""
STRETCH_FIRST = 250
STRETCH_GROWS = 4
"""The first look is short, since it fills most pages."""
_ESCAPE = "!"

Place: TypeAlias = tuple[int, int]
"""Time and event id: the order in which events are found."""


@dataclass(frozen=True)
class Wanted:
    """What to look for; None for whatever. ``resource`` is ``TYPE`` or ``TYPE/ID``; times are microseconds.

    ``since`` is the first moment that counts, ``until`` the first that does not. ``text`` is looked for in kind,
    resource, step, why and ticket; of ASCII letters, the case does not matter.
    """

    actor: str | None = None
    kind: str | None = None
    resource: str | None = None
    run: str | None = None
    outcome: str | None = None
    since: int | None = None
    until: int | None = None
    text: str | None = None
    project: str | None = None


@dataclass(frozen=True)
class Scope:
    """What a reader is held to: events of any project that are in one of these places."""

    areas: tuple[Area, ...] = (EVERYWHERE,)

    @property
    def projects(self) -> frozenset[str] | None:
        """The projects outside of which nothing lies, None when there may be any."""
        found: set[str] = set()
        for area in self.areas:
            if area.projects is None:
                return None
            found |= area.projects
        return frozenset(found)

    @property
    def of_environments(self) -> bool:
        """Whether a place is some environments only."""
        return any(area.environments is not None for area in self.areas)


@dataclass(frozen=True)
class Row:
    """A leaf that was found."""

    index: int
    leaf: bytes
    place: Place


Filter: TypeAlias = Callable[[sa.FromClause], sa.ColumnElement[bool]]
"""A condition on events: on the table of them, or on some that were taken out of it."""

_EVENT = audit_event.c
_JOINED = audit_event.join(audit_leaf, audit_leaf.c.event_id == audit_event.c.event_id)
_PLACE_OF = (
    sa.select(_EVENT.at_us, _EVENT.event_id)
    .select_from(_JOINED)
    .where(audit_leaf.c.leaf_index == sa.bindparam("at_index"))
)
_LEAF = sa.select(audit_leaf.c.leaf_index, audit_leaf.c.hash, _EVENT.stream, _EVENT.seq, _EVENT.leaf).select_from(
    _JOINED
)
_INDEX_OF = sa.select(audit_leaf.c.leaf_index).where(audit_leaf.c.event_id == sa.bindparam("of_event"))


def place_of(conn: sa.Connection, index: int) -> Place | None:
    """Where a leaf stands in the order of a search, or None when there is no such leaf."""
    row = conn.execute(_PLACE_OF, {"at_index": index}).one_or_none()
    return None if row is None else (row.at_us, row.event_id)


def leaf(conn: sa.Connection, index: int, scope: Scope | None) -> IndexedLeaf | None:
    """A leaf that the scope lets be read."""
    query = _LEAF.where(audit_leaf.c.leaf_index == index, *(held(audit_event) for held in _held(scope)))
    row = conn.execute(query).one_or_none()
    return None if row is None else IndexedLeaf(row.leaf_index, row.stream, row.seq, row.hash, row.leaf)


def is_placed(conn: sa.Connection, index: int) -> bool:
    """Whether the tree has a leaf of that index, be its bytes there or not."""
    return conn.scalar(sa.select(audit_leaf.c.event_id).where(audit_leaf.c.leaf_index == index)) is not None


def page(
    conn: sa.Connection, wanted: Wanted, scope: Scope | None, below: Place | None, limit: int
) -> tuple[list[Row], int | None]:
    """Up to ``limit`` leaves below a place, and the index before which the next page begins.

    1. Of the filters that have an index, the one that gives the fewest events leads; if it is that of projects, each
       project leads in its turn.
    2. The events it gives are looked at, newest first, until the page is full or enough of them were looked at.
    3. What stands below the place where a turn stopped early is left for the next page.
    """
    found: list[Row] = []
    ends: list[Place] = []
    leads, others = plan(conn, wanted, scope, below)
    for lead in leads:
        rows, end = _look(conn, wanted, lead, others, below, limit, SCANNED_MAX // len(leads))
        found += rows
        ends += [] if end is None else [end]
    found.sort(key=lambda row: row.place, reverse=True)
    if ends:
        found = [row for row in found if row.place >= max(ends)]
    if len(found) > limit:
        return found[:limit], found[limit - 1].index
    following: int | None = conn.scalar(_INDEX_OF, {"of_event": max(ends)[1]}) if ends else None
    return found, following


def plan(
    conn: sa.Connection, wanted: Wanted, scope: Scope | None, below: Place | None
) -> tuple[Sequence[Filter], list[Filter]]:
    """Which filters lead, in turn, and which ones what they give has to pass; none lead when nothing can be found."""
    indexed, others = _filters(wanted, scope, conn.dialect.name)
    if len(indexed) > 1:
        indexed.sort(key=lambda any_of: sum(_count(conn, wanted, each, below) for each in any_of))
    leads = indexed[0] if indexed else [_whatever]
    return leads, [*map(_either, indexed[1:]), *others]


def stretch(wanted: Wanted, lead: Filter, below: Place | None, count: int) -> sa.Select[tuple[Any, ...]]:
    """The next so many events that a filter gives within the time that is wanted, in order."""
    query = (
        sa.select(audit_leaf.c.leaf_index, audit_event)
        .select_from(_JOINED)
        .where(lead(audit_event), *_within(wanted, below))
    )
    return query.order_by(*_newest_first(audit_event)).limit(count)


def _look(
    conn: sa.Connection,
    wanted: Wanted,
    lead: Filter,
    others: Sequence[Filter],
    below: Place | None,
    limit: int,
    most: int,
) -> tuple[list[Row], Place | None]:
    """Up to ``limit`` + 1 that fit of what a filter gives; and the place they were looked for down to, None for all."""
    found: list[Row] = []
    count, looked = max(STRETCH_FIRST, limit + 1) if others else limit + 1, 0
    while True:
        looked_at = stretch(wanted, lead, below, count)
        taken = looked_at.subquery()
        fits = sa.select(taken.c.leaf_index, taken.c.leaf, taken.c.at_us, taken.c.event_id)
        fits = fits.where(*(each(taken) for each in others)).order_by(*_newest_first(taken))
        rows = conn.execute(fits.limit(limit + 1 - len(found))).all()
        found += [Row(row.leaf_index, row.leaf, (row.at_us, row.event_id)) for row in rows]
        if len(found) > limit:
            return found, found[-1].place
        places = looked_at.with_only_columns(_EVENT.at_us, _EVENT.event_id).offset(count - 1)
        end = conn.execute(places.limit(1)).first()
        if end is None:
            return found, None
        below, looked = (end.at_us, end.event_id), looked + count
        if looked >= most:
            return found, below
        count = min(count * STRETCH_GROWS, most - looked)


def _filters(wanted: Wanted, scope: Scope | None, dialect: str) -> tuple[list[list[Filter]], list[Filter]]:
    """The filters that have an index, each as what must hold one of; and the others."""
    exact = {"subject": wanted.actor, "kind": wanted.kind, "run": wanted.run}
    indexed = [[_equal(name, value)] for name, value in exact.items() if value is not None]
    others: list[Filter] = []
    if wanted.outcome == "ok":
        others += [_equal("outcome", "ok")]
    elif wanted.outcome is not None:
        indexed += [[_failed(wanted.outcome)]]
    if wanted.resource is not None:
        kind, slash, name = wanted.resource.partition("/")
        if slash:
            indexed += [[_about(kind, name)]]
        else:
            others += [_equal("resource_type", kind)]
    projects = scope.projects if scope is not None else None
    if wanted.project is not None:
        projects = frozenset({wanted.project}) if projects is None else projects & {wanted.project}
    if projects is not None:
        indexed += [[_equal("project", name) for name in sorted(projects)]]
    if scope is not None and (projects is None or scope.of_environments):
        others += _held(scope)
    if wanted.text is not None:
        others += [_text(wanted.text, dialect)]
    return indexed, others


def _count(conn: sa.Connection, wanted: Wanted, lead: Filter, below: Place | None) -> int:
    """How many events a filter gives; one that gives more than are looked at is as good as any other."""
    events = sa.select(_EVENT.event_id).where(lead(audit_event), *_within(wanted, below)).limit(SCANNED_MAX)
    return conn.scalars(sa.select(sa.func.count()).select_from(events.subquery())).one()


def _within(wanted: Wanted, below: Place | None) -> list[sa.ColumnElement[bool]]:
    return [
        *([_EVENT.at_us >= wanted.since] if wanted.since is not None else []),
        *([_EVENT.at_us < wanted.until] if wanted.until is not None else []),
        *([sa.tuple_(_EVENT.at_us, _EVENT.event_id) < sa.tuple_(*map(sa.literal, below))] if below else []),
    ]


def _newest_first(events: sa.FromClause) -> tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]:
    return events.c.at_us.desc(), events.c.event_id.desc()


def _whatever(_events: sa.FromClause) -> sa.ColumnElement[bool]:
    return sa.true()


def _equal(name: str, value: str) -> Filter:
    return lambda events: events.c[name] == value


def _failed(outcome: str) -> Filter:
    """The second condition is that of the index, so that it is used."""
    return lambda events: sa.and_(events.c.outcome == outcome, events.c.outcome != sa.literal_column("'ok'"))


def _about(kind: str, name: str) -> Filter:
    return lambda events: sa.and_(events.c.resource_type == kind, events.c.resource_id == name)


def _held(scope: Scope | None) -> list[Filter]:
    if scope is None:
        return []
    return [lambda events: sa.or_(sa.false(), *(_lies_in(area, events) for area in scope.areas))]


def _lies_in(area: Area, events: sa.FromClause) -> sa.ColumnElement[bool]:
    """That an event is of a project, and of a run in the environments where these are some."""
    project = events.c.project
    held = project.is_not(None) if area.projects is None else project.in_(sorted(area.projects))
    if area.environments is None:
        return held
    # Only a run names where it is, and its stream keeps that; to look each up is cheaper than to gather all of them.
    in_environments = sa.exists().where(
        audit_stream.c.stream == events.c.stream, audit_stream.c.environment.in_(sorted(area.environments))
    )
    return in_environments if area.projects is None else sa.and_(held, in_environments)


def _either(any_of: Sequence[Filter]) -> Filter:
    return lambda events: sa.or_(sa.false(), *(each(events) for each in any_of))


def _text(text: str, dialect: str) -> Filter:
    """Whether a leaf holds a text as its JSON writes it."""
    written = canonical.dumps(text).decode()[1:-1]
    for each in (_ESCAPE, "%", "_"):
        written = written.replace(each, _ESCAPE + each)
    like = f"%{written}%"
    if dialect == "sqlite":
        return lambda events: sa.cast(events.c.leaf, sa.Text).like(like, escape=_ESCAPE)
    return lambda events: sa.func.convert_from(events.c.leaf, "UTF8").ilike(like, escape=_ESCAPE)
