"""Decides which old entries of the log may go, and takes them away once the log itself says so."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from mandamus.audit import pruned, store, tiles
from mandamus.audit.kinds import Kind
from mandamus.audit.private_store import Hold, holds
from mandamus.audit.retention import Facts, Rules
from mandamus.audit.retention_store import FactsReader, classes
from mandamus.store.database import Database
from mandamus.store.keys import sync_folder
from mandamus.store.tables.audit import audit_event, audit_floor, audit_leaf, audit_private, export_cursor, lifting

EDGE = tiles.WIDTH + 1
"""The newest entries, which a publication may look back at."""
BATCH = 16 * tiles.WIDTH
"""Entries that are taken away in one transaction."""

KEPT_KINDS = (
    Kind.LOG_OPENED,
    Kind.LOG_KEY_ROTATED,
    Kind.LOG_KEY_RETIRED,
    Kind.AUDIT_REDACTED,
    Kind.HOME_CONFIGURED,
)
"""Whose rows stay when their entries go: without them the home would not know its keys, whom it erased, nor what
governed it before."""

_BUNDLE = (
    sa.select(audit_leaf.c.leaf_index, audit_event.c.leaf)
    .select_from(audit_leaf.join(audit_event, audit_event.c.event_id == audit_leaf.c.event_id))
    .where(audit_leaf.c.leaf_index.between(sa.bindparam("low"), sa.bindparam("last")))
    .order_by(audit_leaf.c.leaf_index)
)
_MARKS = (
    sa.select(audit_leaf.c.leaf_index, audit_event.c.leaf)
    .select_from(audit_leaf.join(audit_event, audit_event.c.event_id == audit_leaf.c.event_id))
    .where(audit_event.c.kind == Kind.AUDIT_PRUNED.text)
    .order_by(audit_leaf.c.leaf_index)
)
_FLOOR = sa.select(audit_floor.c.min_index).where(audit_floor.c.origin == sa.bindparam("of"))
_CURSORS = sa.select(export_cursor.c.sink, export_cursor.c.next_index).where(
    export_cursor.c.origin == sa.bindparam("of")
)
_GOING = (
    sa.select(audit_event.c.event_id)
    .select_from(audit_event.join(audit_leaf, audit_leaf.c.event_id == audit_event.c.event_id))
    .where(
        audit_leaf.c.leaf_index.between(sa.bindparam("low"), sa.bindparam("last")),
        audit_event.c.kind.not_in([kind.text for kind in KEPT_KINDS]),
    )
)


@dataclass(frozen=True)
class Plan:
    """Entries ``[first, min_index)`` may go; ``stop`` says why no more do, empty at the edge of the log."""

    first: int
    min_index: int
    stop: str


def floor(conn: sa.Connection, origin: str) -> int:
    """Entries below it are taken away, in rows and bundles."""
    return conn.scalar(_FLOOR, {"of": origin}) or 0


def marked(conn: sa.Connection, origin: str) -> pruned.Mark | None:
    """The event in the tree that reaches farthest, or None while nothing was ever pruned."""
    return pruned.newest(all_marks(conn), origin)


def all_marks(conn: sa.Connection) -> list[pruned.Mark]:
    """Those of every log that the home had."""
    return [mark for row in conn.execute(_MARKS) for mark in pruned.marks([row.leaf], row.leaf_index)]


def state(conn: sa.Connection) -> tuple[object, ...]:
    """All that a plan depends on beside the entries and the time: classes and holds."""
    return (*classes(conn), *holds(conn))


def plan(conn: sa.Connection, origin: str, now_us: int, before_us: int | None, sinks: Collection[str] = ()) -> Plan:
    """What may go: whole bundles from the oldest on, up to the first with an entry that must or may stay.

    With ``before_us`` whatever is older may go, else what its retention class says. Never goes what a class keeps at
    least so long, what a hold covers, or what one of the ``sinks``, those that are declared now, has not taken.
    """
    mark = marked(conn, origin)
    first = max(floor(conn, origin), mark.min_index if mark else 0)
    size, _ = store.read_head(conn)
    end = max(0, size - EDGE) // tiles.WIDTH * tiles.WIDTH
    judge = _Judge(conn, now_us, before_us)
    taken, sink = _slowest(conn, origin, first, sinks)
    for low in range(first, end, tiles.WIDTH):
        if sink and low + tiles.WIDTH > taken:
            return Plan(first, low, f"the sink {sink} has not taken entry {taken}")
        for row in conn.execute(_BUNDLE, {"low": low, "last": low + tiles.WIDTH - 1}):
            stays = judge.stays(row.leaf)
            if stays:
                return Plan(first, low, f"entry {row.leaf_index}: {stays}")
    return Plan(first, max(first, end), "")


def _slowest(conn: sa.Connection, origin: str, first: int, sinks: Collection[str]) -> tuple[int, str]:
    """The entry that the slowest sink needs next, and its name; one that never took anything begins at the first."""
    needs = {row.sink: row.next_index for row in conn.execute(_CURSORS, {"of": origin})}
    return min(((max(first, needs.get(name, 0)), name) for name in sinks), default=(0, ""))


class _Judge:
    """Says why an entry stays."""

    def __init__(self, conn: sa.Connection, now_us: int, before_us: int | None) -> None:
        self._reader = FactsReader(conn)
        self._rules = Rules(classes(conn))
        self._holds = holds(conn)
        self._now_us = now_us
        self._before_us = before_us

    def stays(self, leaf: bytes) -> str:
        """The reason, or an empty text for an entry that may go."""
        facts = self._reader.facts(leaf)
        kept = self._rules.kept(facts)
        held = next((hold.name for hold in self._holds if _covers(hold, facts)), None)
        if held is not None:
            return f"the hold {held} covers it"
        if kept.until_us > self._now_us:
            return f"the retention class {kept.by} keeps it"
        goes_us = self._rules.goes_us(facts)
        if self._before_us is not None:
            return "" if facts.at_us < self._before_us else "it is not older than the date"
        if goes_us is None:
            return "no retention class says when it goes; give a date"
        return "" if goes_us <= self._now_us else "its time is not over"


def _covers(hold: Hold, facts: Facts) -> bool:
    return {"subject": facts.subject, "run": facts.run, "project": facts.project}[hold.scope] == hold.value


def remove(database: Database, folder: Path, origin: str) -> int:
    """Take away everything below what the log says is kept no longer; how many entries that were.

    Files first and rows after them, from the oldest on. So whoever is killed here finds at the next call where to go
    on, and nothing is missing above. The caller has published the event.
    """
    with database.read() as conn:
        mark, begin = marked(conn, origin), floor(conn, origin)
    for low, high in _batches(begin, mark.min_index if mark else 0):
        for tile in tiles.tiles_of(tiles.ENTRIES, low, high):
            (folder / tile.path).unlink(missing_ok=True)
        sync_folder((folder / tiles.Tile(tiles.ENTRIES, low // tiles.WIDTH, tiles.WIDTH).path).parent)
        with database.begin("audit.prune") as tx:
            _drop_rows(tx.conn, low, high)
            _raise_floor(tx.conn, origin, high)
    return max(0, (mark.min_index if mark else 0) - begin)


def _batches(low: int, end: int) -> Iterator[tuple[int, int]]:
    while low < end:
        high = min(low - low % BATCH + BATCH, end)
        yield low, high
        low = high


def _drop_rows(conn: sa.Connection, low: int, high: int) -> None:
    if conn.dialect.name == "sqlite":
        conn.exec_driver_sql("PRAGMA secure_delete = ON")  # else what was deleted stays in the file until overwritten
    lift, forbid = lifting(audit_event, conn.dialect.name)
    for statement in lift:
        conn.exec_driver_sql(statement)
    ids = list(conn.scalars(_GOING, {"low": low, "last": high - 1}))
    for table in (audit_private, audit_event):
        gone = sa.delete(table).where(table.c.event_id == sa.bindparam("gone"))
        if ids:
            conn.execute(gone, [{"gone": each} for each in ids])
    for statement in forbid:
        conn.exec_driver_sql(statement)


def _raise_floor(conn: sa.Connection, origin: str, to: int) -> None:
    raised = conn.execute(
        sa.update(audit_floor)
        .where(audit_floor.c.origin == origin)
        .values(min_index=sa.case((audit_floor.c.min_index < to, to), else_=audit_floor.c.min_index))
    )
    if not raised.rowcount:
        conn.execute(sa.insert(audit_floor).values(origin=origin, min_index=to))
