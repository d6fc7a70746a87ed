"""Rows of the audit tables to values and back; every statement is built once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mandamus.audit import tiles
from mandamus.audit.model import Checkpoint, IndexedLeaf
from mandamus.store.data_keys import Sealed
from mandamus.store.direct import Direct
from mandamus.store.tables.audit import (
    audit_checkpoint,
    audit_event,
    audit_head,
    audit_leaf,
    audit_node,
    audit_private,
    audit_queue,
    audit_stream,
    lifting,
)

HEAD_ID = 1
_ROWS_PER_STATEMENT = 500

_NEW_STREAM = {"stream": sa.bindparam("stream"), "seq": -1, "hash": b"", "project": None, "environment": None}
_NEW_HEAD = {"id": HEAD_ID, "size": 0, "root": b"", "origin": sa.bindparam("name")}
_OPEN_STREAM: dict[str, sa.Insert] = {
    "sqlite": sqlite.insert(audit_stream).values(_NEW_STREAM).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(audit_stream).values(_NEW_STREAM).on_conflict_do_nothing(),
}
_OPEN_HEAD: dict[str, sa.Insert] = {
    "sqlite": sqlite.insert(audit_head).values(_NEW_HEAD).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(audit_head).values(_NEW_HEAD).on_conflict_do_nothing(),
}

_LOCK_STREAM = Direct(
    sa.select(audit_stream.c.seq, audit_stream.c.hash, audit_stream.c.project, audit_stream.c.environment)
    .where(audit_stream.c.stream == sa.bindparam("stream"))
    .with_for_update()
)
_INSERT_EVENT = sa.insert(audit_event).values(
    {column.name: sa.bindparam(column.name) for column in audit_event.c if column.name != "event_id"}
)
_EVENT_ID = sa.select(audit_event.c.event_id).where(
    audit_event.c.stream == sa.bindparam("stream"), audit_event.c.seq == sa.bindparam("seq")
)
_MOVE_STREAM = (
    sa.update(audit_stream)
    .where(audit_stream.c.stream == sa.bindparam("stream"))
    .values(
        seq=sa.bindparam("seq"),
        hash=sa.bindparam("hash"),
        project=sa.bindparam("of_project"),
        environment=sa.bindparam("of_environment"),
    )
)


def _enqueue(event_id: sa.Select[tuple[int]]) -> sa.Insert:
    return sa.insert(audit_queue).from_select(["event_id"], event_id)


def _keep_apart(event_id: sa.Select[tuple[int]], suffix: str = "") -> sa.Insert:
    columns = [column for column in audit_private.c if column.name != "event_id"]
    values = [sa.bindparam(column.name + suffix, type_=column.type) for column in columns]
    return sa.insert(audit_private).from_select(["event_id", *columns], event_id.add_columns(*values))


_BY_TABLE = (Direct(_INSERT_EVENT), Direct(_enqueue(_EVENT_ID)), Direct(_MOVE_STREAM))
_KEEP_APART = Direct(_keep_apart(_EVENT_ID))
_PLACE_OF = sa.select(audit_stream.c.project, audit_stream.c.environment).where(
    audit_stream.c.stream == sa.bindparam("stream")
)
_PROJECT_OF = sa.select(audit_stream.c.project).where(audit_stream.c.stream == sa.bindparam("stream"))
_LOCK_HEAD = (
    sa.select(audit_head.c.size, audit_head.c.root, audit_head.c.origin)
    .where(audit_head.c.id == HEAD_ID)
    .with_for_update()
)
_READ_HEAD = sa.select(audit_head.c.size, audit_head.c.root).where(audit_head.c.id == HEAD_ID)
_TREE_OF = sa.select(audit_head.c.origin).where(audit_head.c.id == HEAD_ID)
_MOVE_HEAD = (
    sa.update(audit_head)
    .where(audit_head.c.id == HEAD_ID)
    .values(size=sa.bindparam("to"), root=sa.bindparam("new_root"))
)
_FIRST_QUEUED = (
    sa.select(audit_queue.c.event_id).order_by(audit_queue.c.event_id).limit(sa.bindparam("most")).scalar_subquery()
)
_TAKE = sa.delete(audit_queue).where(audit_queue.c.event_id.in_(_FIRST_QUEUED)).returning(audit_queue.c.event_id)
_LEAF_OF_EVENT = sa.select(audit_event.c.event_id, audit_event.c.leaf).where(
    audit_event.c.event_id.in_(sa.bindparam("ids", expanding=True))
)
_CHECKPOINTS = sa.select(audit_checkpoint).where(audit_checkpoint.c.origin == sa.bindparam("of"))
_CHECKPOINT_AT = _CHECKPOINTS.where(audit_checkpoint.c.size == sa.bindparam("at"))
_NEWEST_CHECKPOINT = _CHECKPOINTS.order_by(audit_checkpoint.c.size.desc()).limit(1)
_LEAF_HASHES = (
    sa.select(audit_leaf.c.hash)
    .where(audit_leaf.c.leaf_index.between(sa.bindparam("low"), sa.bindparam("last")))
    .order_by(audit_leaf.c.leaf_index)
)
_NODE_HASHES = (
    sa.select(audit_node.c.hash)
    .where(
        audit_node.c.level == sa.bindparam("level"),
        audit_node.c.node_index.between(sa.bindparam("low"), sa.bindparam("last")),
    )
    .order_by(audit_node.c.node_index)
)
_JOINED = audit_leaf.join(audit_event, audit_leaf.c.event_id == audit_event.c.event_id)
_INDEX_OF_EVENT = (
    sa.select(audit_leaf.c.leaf_index, audit_leaf.c.hash)
    .select_from(_JOINED)
    .where(audit_event.c.stream == sa.bindparam("stream"), audit_event.c.seq == sa.bindparam("seq"))
)
_INDEXED = sa.select(
    audit_leaf.c.leaf_index, audit_event.c.stream, audit_event.c.seq, audit_leaf.c.hash, audit_event.c.leaf
).select_from(_JOINED)
_LEAVES = (
    sa.select(audit_event.c.leaf)
    .select_from(_JOINED)
    .where(audit_leaf.c.leaf_index.between(sa.bindparam("low"), sa.bindparam("last")))
    .order_by(audit_leaf.c.leaf_index)
)
_STREAM = _INDEXED.where(audit_event.c.stream == sa.bindparam("stream")).order_by(audit_event.c.seq)
_LEAF_AT = sa.select(audit_event.c.leaf).where(
    audit_event.c.stream == sa.bindparam("stream"), audit_event.c.seq == sa.bindparam("seq")
)
_NEWEST_LEAF = (
    sa.select(audit_event.c.leaf)
    .where(audit_event.c.stream == sa.bindparam("stream"))
    .order_by(audit_event.c.seq.desc())
    .limit(1)
)
_KEY_LEAVES = (
    sa.select(audit_leaf.c.leaf_index, audit_event.c.leaf)
    .select_from(audit_event.outerjoin(audit_leaf, audit_leaf.c.event_id == audit_event.c.event_id))
    .where(audit_event.c.stream == sa.bindparam("stream"))
    .order_by(audit_event.c.seq)
)
_OPENINGS = (
    sa.select(audit_event.c.leaf).where(audit_event.c.kind == sa.bindparam("kind")).order_by(audit_event.c.event_id)
)
_ENQUEUE_UNPLACED = sa.insert(audit_queue).from_select(
    ["event_id"],
    sa.select(audit_event.c.event_id)
    .where(~sa.exists().where(audit_leaf.c.event_id == audit_event.c.event_id))
    .order_by(audit_event.c.event_id),
)
_RESET_HEAD = (
    sa.update(audit_head).where(audit_head.c.id == HEAD_ID).values(size=0, root=b"", origin=sa.bindparam("name"))
)
_OLDEST_QUEUED = sa.select(sa.func.min(audit_event.c.at_us)).where(
    audit_event.c.event_id.in_(sa.select(audit_queue.c.event_id))
)
_QUEUED = sa.select(sa.func.count()).select_from(audit_queue)
_NEWEST_AT = sa.select(audit_event.c.at_us).order_by(audit_event.c.event_id.desc()).limit(1)


@dataclass(frozen=True)
class StreamHead:
    """Sequence number and leaf hash of a stream's newest event (-1 and empty for a new one), and where it is."""

    seq: int
    hash: bytes
    project: str | None
    environment: str | None = None


@dataclass(frozen=True)
class Recorded:
    """An event that waits for its rows: its columns, its stream's new head, and what opens each commitment by field."""

    columns: Mapping[str, Any]
    head: StreamHead
    private: Mapping[str, Sealed]

    def row(self) -> dict[str, Any]:
        """The values of its row and of its stream's."""
        return {
            **self.columns,
            "hash": self.head.hash,
            "of_project": self.head.project,
            "of_environment": self.head.environment,
        }

    def kept(self) -> list[dict[str, Any]]:
        """The values of each row that is kept apart from the leaf."""
        return [{"field": name, "key": sealed.key, "sealed": sealed.data} for name, sealed in self.private.items()]


def lock_stream(conn: sa.Connection, stream: str) -> StreamHead:
    """The stream's head, locked to us until the transaction ends."""
    rows = _LOCK_STREAM.rows(conn, {"stream": stream})
    if not rows:
        conn.execute(_OPEN_STREAM[conn.dialect.name], {"stream": stream})
        rows = _LOCK_STREAM.rows(conn, {"stream": stream})
    return StreamHead(*rows[0])


def append(conn: sa.Connection, events: Sequence[Recorded]) -> None:
    """Write the events in their order: their rows, queue rows, what is kept apart, and their streams' heads."""
    if conn.dialect.name == "sqlite":
        _append_by_table(conn, events)
    else:
        _append_by_event(conn, events)


def _append_by_table(conn: sa.Connection, events: Sequence[Recorded]) -> None:
    # SQLite has no statement that writes several tables; but one costs it only some microseconds.
    rows = [event.row() for event in events]
    for statement in _BY_TABLE:
        statement.run(conn, rows)
    kept = [{**event.columns, **each} for event in events for each in event.kept()]
    if kept:
        _KEEP_APART.run(conn, kept)


def _append_by_event(conn: sa.Connection, events: Sequence[Recorded]) -> None:
    # A statement is a round trip to Postgres, and a plan; so one writes all the rows of an event.
    for count, group in groupby(events, lambda event: len(event.private)):
        rows = [
            event.row() | {f"{name}_{n}": value for n, each in enumerate(event.kept()) for name, value in each.items()}
            for event in group
        ]
        _all_rows(count).run(conn, rows)


@cache
def _all_rows(kept: int) -> Direct:
    """The statement for an event that keeps so many values apart."""
    event = _INSERT_EVENT.returning(audit_event.c.event_id).cte("event")
    event_id = sa.select(event.c.event_id)
    apart = [_keep_apart(event_id, f"_{n}").cte(f"apart_{n}") for n in range(kept)]
    return Direct(_MOVE_STREAM.add_cte(_enqueue(event_id).cte("queued"), *apart))


def place_of(conn: sa.Connection, stream: str) -> tuple[str, str]:
    """The project and the environment that a stream is in, each empty for none and for a stream that is not there."""
    row = conn.execute(_PLACE_OF, {"stream": stream}).one_or_none()
    return ("", "") if row is None else (row.project or "", row.environment or "")


def project_of(conn: sa.Connection, stream: str) -> str | None:
    """The project that a stream is of, or None for no project and for a stream that is not there."""
    found: str | None = conn.scalar(_PROJECT_OF, {"stream": stream})
    return found


def lock_head(conn: sa.Connection, origin: str) -> tuple[int, bytes, str]:
    """Size and root of the tree and the origin of its log, locked to us until the transaction ends.

    A database without a tree gets an empty one of the log ``origin``.
    """
    row = conn.execute(_LOCK_HEAD).one_or_none()
    if row is None:
        conn.execute(_OPEN_HEAD[conn.dialect.name], {"name": origin})
        row = conn.execute(_LOCK_HEAD).one()
    return row.size, row.root, row.origin


def clear_tree(conn: sa.Connection, origin: str) -> None:
    """Take every event out of the tree and begin an empty one of another log; checkpoints of the old one stay."""
    for table in (audit_leaf, audit_node):
        lift, forbid = lifting(table, conn.dialect.name)
        for statement in lift:
            conn.exec_driver_sql(statement)
        conn.execute(sa.delete(table))
        for statement in forbid:
            conn.exec_driver_sql(statement)
    conn.execute(sa.delete(audit_queue))
    conn.execute(_RESET_HEAD, {"name": origin})


def enqueue_unplaced(conn: sa.Connection) -> None:
    """Let every event that has no place in the tree wait for one; the queue must be empty."""
    conn.execute(_ENQUEUE_UNPLACED)


def openings(conn: sa.Connection, kind: str) -> list[bytes]:
    """The leaves of a kind, oldest first."""
    return list(conn.scalars(_OPENINGS, {"kind": kind}))


def tree_of(conn: sa.Connection) -> str:
    """The origin of the log that the tree is of; empty before there is one."""
    return conn.scalar(_TREE_OF) or ""


def read_head(conn: sa.Connection) -> tuple[int, bytes]:
    """Size and root of the tree; 0 and empty before the first integration."""
    row = conn.execute(_READ_HEAD).one_or_none()
    return (row.size, row.root) if row else (0, b"")


def take_queue(conn: sa.Connection, most: int) -> list[tuple[int, bytes]]:
    """Take up to ``most`` queued events out of the queue: ``(event id, leaf bytes)`` in the order of their ids."""
    ids = sorted(conn.scalars(_TAKE, {"most": most}))
    taken: list[tuple[int, bytes]] = []
    for at in range(0, len(ids), _ROWS_PER_STATEMENT):
        part = ids[at : at + _ROWS_PER_STATEMENT]
        found = {row.event_id: row.leaf for row in conn.execute(_LEAF_OF_EVENT, {"ids": part})}
        taken += [(event_id, found[event_id]) for event_id in part]
    return taken


def insert_leaves(conn: sa.Connection, rows: Sequence[tuple[int, int, bytes]]) -> None:
    """Write ``(leaf index, event id, leaf hash)`` rows."""
    values = [{"leaf_index": index, "event_id": event, "hash": hashed} for index, event, hashed in rows]
    conn.execute(sa.insert(audit_leaf), values)


def insert_nodes(conn: sa.Connection, rows: Sequence[tuple[int, int, bytes]]) -> None:
    """Write ``(tile level, index, hash)`` of subtrees that are now complete."""
    if rows:
        values = [{"level": level, "node_index": index, "hash": hashed} for level, index, hashed in rows]
        conn.execute(sa.insert(audit_node), values)


def move_head(conn: sa.Connection, checkpoint: Checkpoint, at_us: int) -> None:
    """Write the new head and its checkpoint; the primary key refuses a second root for a size."""
    before, _ = read_head(conn)
    conn.execute(_MOVE_HEAD, {"to": checkpoint.size, "new_root": checkpoint.root})
    values = {"size": checkpoint.size, "root": checkpoint.root, "note": checkpoint.note, "at_us": at_us}
    conn.execute(sa.insert(audit_checkpoint), {**values, "origin": checkpoint.origin, "before": before})


def checkpoint_at(conn: sa.Connection, size: int, origin: str) -> Checkpoint | None:
    """The checkpoint signed for that size, if one was."""
    row = conn.execute(_CHECKPOINT_AT, {"of": origin, "at": size}).one_or_none()
    return Checkpoint(origin, row.size, row.root, row.note) if row else None


def newest_checkpoint(conn: sa.Connection, origin: str) -> Checkpoint | None:
    """The checkpoint of the greatest size, if there is one."""
    row = conn.execute(_NEWEST_CHECKPOINT, {"of": origin}).one_or_none()
    return Checkpoint(origin, row.size, row.root, row.note) if row else None


def hashes(conn: sa.Connection, level: int, low: int, high: int) -> list[bytes]:
    """The hashes ``[low, high)`` of a tile level."""
    if level == 0:
        return list(conn.scalars(_LEAF_HASHES, {"low": low, "last": high - 1}))
    return list(conn.scalars(_NODE_HASHES, {"level": level, "low": low, "last": high - 1}))


def leaves(conn: sa.Connection, low: int, high: int) -> list[bytes]:
    """The exact bytes of leaves ``[low, high)``."""
    return list(conn.scalars(_LEAVES, {"low": low, "last": high - 1}))


def tile_items(conn: sa.Connection, level: int, low: int, high: int) -> list[bytes]:
    """What a tile of that level holds: hashes, or leaves for an entry bundle."""
    return leaves(conn, low, high) if level == tiles.ENTRIES else hashes(conn, level, low, high)


def index_of(conn: sa.Connection, stream: str, seq: int) -> tuple[int, bytes] | None:
    """Leaf index and leaf hash of an event, or None while it waits for its place."""
    row = conn.execute(_INDEX_OF_EVENT, {"stream": stream, "seq": seq}).one_or_none()
    return (row.leaf_index, row.hash) if row else None


def leaf_at(conn: sa.Connection, stream: str, seq: int) -> bytes | None:
    """The leaf of an event, whether or not it has its place in the log; None when there is no such event."""
    return conn.scalar(_LEAF_AT, {"stream": stream, "seq": seq})


def newest_leaf(conn: sa.Connection, stream: str) -> bytes | None:
    """The newest leaf of a stream, whether or not it has its place in the log; None for a stream without one."""
    return conn.scalar(_NEWEST_LEAF, {"stream": stream})


def key_leaves(conn: sa.Connection, stream: str) -> list[tuple[int | None, bytes]]:
    """Every leaf of a stream with its index, or None while it waits for its place."""
    return [(row.leaf_index, row.leaf) for row in conn.execute(_KEY_LEAVES, {"stream": stream})]


def stream_leaves(conn: sa.Connection, stream: str) -> list[IndexedLeaf]:
    """The leaves of a stream that have their place in the log, in the order of the stream."""
    rows = conn.execute(_STREAM, {"stream": stream})
    return [IndexedLeaf(row.leaf_index, row.stream, row.seq, row.hash, row.leaf) for row in rows]


def leaves_after(conn: sa.Connection, stream: str, seq: int, most: int) -> list[bytes]:
    """The leaves of a stream behind a place in it, oldest first."""
    event = audit_event.c
    query = sa.select(event.leaf).where(event.stream == stream, event.seq > seq).order_by(event.seq).limit(most)
    return list(conn.scalars(query))


def leaves_about(conn: sa.Connection, type_: str, ids: Sequence[str], most: int) -> list[bytes]:
    """The newest leaves about these resources, oldest first."""
    event = audit_event.c
    query = sa.select(event.leaf).where(event.resource_type == type_, event.resource_id.in_(ids))
    return list(conn.scalars(query.order_by(event.event_id.desc()).limit(most)))[::-1]


def newest_event(conn: sa.Connection) -> int:
    """The id of the newest event; 0 when there is none."""
    found: int | None = conn.scalar(sa.select(sa.func.max(audit_event.c.event_id)))
    return found or 0


def oldest_queued(conn: sa.Connection) -> int | None:
    """When the oldest event that waits for its place was recorded; None when none waits."""
    found: int | None = conn.scalar(_OLDEST_QUEUED)
    return found


def newest_us(conn: sa.Connection) -> int | None:
    """When the newest event was recorded, by the clock of whoever did; None for an empty log."""
    found: int | None = conn.scalar(_NEWEST_AT)
    return found


def queued(conn: sa.Connection) -> int:
    """How many events wait for their place in the log."""
    return conn.scalars(_QUEUED).one()
