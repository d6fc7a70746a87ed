"""Recomputes the log from the database's rows: what ``doctor`` and ``audit verify`` run on a home."""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from mandamus.audit import note, store, tree
from mandamus.audit.chain import Chains
from mandamus.audit.kinds import Kind
from mandamus.audit.leaf import commitment, decode
from mandamus.audit.model import Checkpoint, Finding, Report, Verdict
from mandamus.audit.private_store import unseal
from mandamus.audit.pruning import all_marks, marked
from mandamus.audit.signer import Verifier
from mandamus.audit.trust import Trust, trust_in
from mandamus.kernel.errors import MandamusError
from mandamus.store.data_keys import DataKeys, Sealed
from mandamus.store.tables.audit import (
    audit_checkpoint,
    audit_event,
    audit_head,
    audit_leaf,
    audit_node,
    audit_private,
    audit_queue,
    audit_stream,
)

_ROWS_AT_ONCE = 1_000
_PROBLEMS_MAX = 100

_INTEGRATED = (
    sa.select(audit_leaf.c.leaf_index, audit_leaf.c.hash.label("stored"), audit_event)
    .select_from(audit_leaf.outerjoin(audit_event, audit_leaf.c.event_id == audit_event.c.event_id))
    .where(audit_leaf.c.leaf_index >= sa.bindparam("low"))
    .order_by(audit_leaf.c.leaf_index)
    .limit(_ROWS_AT_ONCE)
)
_WAITING = (
    sa.select(audit_event, audit_queue.c.event_id.label("queued"))
    .select_from(
        audit_event.outerjoin(audit_leaf, audit_leaf.c.event_id == audit_event.c.event_id).outerjoin(
            audit_queue, audit_queue.c.event_id == audit_event.c.event_id
        )
    )
    .where(audit_leaf.c.event_id.is_(None))
    .order_by(audit_event.c.event_id)
)
_QUEUED_FOR_NOTHING = (
    sa.select(audit_queue.c.event_id)
    .where(
        ~sa.exists().where(audit_event.c.event_id == audit_queue.c.event_id)
        | sa.exists().where(audit_leaf.c.event_id == audit_queue.c.event_id)
    )
    .order_by(audit_queue.c.event_id)
)
_PRIVATE = sa.select(audit_private).where(audit_private.c.event_id.in_(sa.bindparam("ids", expanding=True)))
_GONE = (
    sa.select(audit_leaf.c.hash)
    .select_from(audit_leaf.outerjoin(audit_event, audit_event.c.event_id == audit_leaf.c.event_id))
    .where(audit_leaf.c.leaf_index < sa.bindparam("end"), audit_event.c.event_id.is_(None))
)
_PRIVATE_OF_NOBODY = (
    sa.select(audit_private.c.event_id)
    .where(~sa.exists().where(audit_event.c.event_id == audit_private.c.event_id))
    .distinct()
)


def check_database(
    conn: sa.Connection,
    root: Verifier | Trust,
    published: Checkpoint | None = None,
    people: DataKeys | None = None,
) -> Report:
    """Everything the rows must agree on; each finding names the table and, where there is one, the leaf.

    1. Leaf indices are dense and every stored hash, subtree and checkpoint root is what the event bytes give.
    2. Every checkpoint is signed by a key of ours in its time, and the head is the newest one.
    3. Every stream's chain is whole, up to its head row and including events that wait for their place.
    4. Every event waits in the queue or has its place; the columns by which events are found say what the leaf says.
    5. Salt and value of a commitment give what the leaf says; where they are erased there is nothing to compare.
       That needs ``people``, the keys that open them; a key that is gone must have been destroyed by an erasure.
    6. The published checkpoint is one of these, when it is given (read it before the rows: they may grow).
    """
    trust = trust_in(root)
    check = _Check(conn, trust, people)
    check.tree()
    check.waiting()
    check.streams()
    check.private()
    if published is not None:
        check.published(published)
    return Report(check.frontier.size, tuple(check.problems[:_PROBLEMS_MAX]), trust.name)


class _Check:
    def __init__(self, conn: sa.Connection, trust: Trust, people: DataKeys | None) -> None:
        self.conn = conn
        self.trust = trust
        self._people = people
        self._erased = _erased(conn) if people else frozenset()
        self.frontier = tree.Frontier()
        self.problems: list[Finding] = []
        self._chains = Chains()
        self._projects: dict[str, str | None] = {}
        # The leaf that says so is a row like the others, and checked with them.
        mark = marked(conn, trust.name)
        self._pruned_to = mark.min_index if mark else 0
        self._nodes: dict[tuple[int, int], bytes] = {}
        self._private: dict[int, dict[str, Sealed]] = {}

    def tree(self) -> None:
        """Leaves, subtrees, checkpoints and head against the event bytes."""
        checkpoints, newest = self._checkpoints()
        for row in self._integrated():
            if row.leaf_index != self.frontier.size or (row.leaf is None and row.leaf_index >= self._pruned_to):
                self._add("audit_leaf", f"leaf {self.frontier.size} is missing", self.frontier.size)
                return
            if row.leaf is None:
                self._append(_bytes(row.stored))
            else:
                self._leaf(row)
            checkpoint = checkpoints.pop(self.frontier.size, None)
            if checkpoint is not None:
                self._checkpoint(checkpoint)
        for size in checkpoints:
            self._add("audit_checkpoint", f"the checkpoint of size {size} is for leaves that are not there")
        self._subtrees()
        size, root = store.read_head(self.conn)
        if size != self.frontier.size or (size and root != self.frontier.root()):
            self._add("audit_head", f"the head names size {size}, the rows give size {self.frontier.size}")
        if self.conn.scalar(sa.select(sa.func.count()).select_from(audit_head)) != 1:
            self._add("audit_head", "it does not have exactly one row")
        if size != newest or store.tree_of(self.conn) != self.trust.name:
            self._add("audit_head", f"the head is not of the newest checkpoint of {self.trust.name}, of size {newest}")

    def _checkpoints(self) -> tuple[dict[int, sa.Row[Any]], int]:
        """Our checkpoints by size, each naming the one before it, and the size of the newest."""
        ours = sa.select(audit_checkpoint).where(audit_checkpoint.c.origin == self.trust.name)
        found, newest = {}, 0
        for row in self.conn.execute(ours.order_by(audit_checkpoint.c.size)):
            if row.before != newest:
                self._add("audit_checkpoint", f"between the checkpoints of {newest} and {row.size} one is missing")
            found[row.size], newest = row, row.size
        logs = {_text(leaf, "origin") for leaf in store.openings(self.conn, Kind.LOG_OPENED.text)}
        for origin in self.conn.scalars(sa.select(audit_checkpoint.c.origin).distinct()):
            if origin != self.trust.name and origin not in logs:
                self._add("audit_checkpoint", f"there are checkpoints of {origin}, which this database never was")
        return found, newest

    def waiting(self) -> None:
        """Events without a place: each must be queued, and continues its stream's chain."""
        rows = self.conn.execute(_WAITING).all()
        self._read_private(rows)
        for row in rows:
            if row.queued is None:
                self._add("audit_queue", f"event {row.event_id} has no place in the log and does not wait for one")
            self._event(row, tree.leaf_hash(_bytes(row.leaf)), None)
        for event_id in self.conn.scalars(_QUEUED_FOR_NOTHING):
            self._add("audit_queue", f"event {event_id} waits for a place in the log, and has one or is not there")

    def streams(self) -> None:
        """The stored stream heads against the chains."""
        stored = {}
        for row in self.conn.execute(sa.select(audit_stream)):
            stored[row.stream] = (row.seq, row.hash)
            said = self._projects.get(row.stream, row.project)
            # The events of a run that is older than projects name none, and its stream does.
            if row.project != said and (said or not row.stream.startswith("run/")):
                self._add("audit_stream", f"the stream {row.stream} is of the project {said}, not {row.project}")
        found = self._chains.newest()
        loose = dict(self._chains.loose)
        for stream in sorted(stored.keys() | found.keys()):
            message = f"the head of stream {stream} is not its newest event"
            head = stored.get(stream)
            # What is newest in a chain may be pruned.
            if head is not None and (stream not in found or head[0] > found[stream][0]):
                loose[hexlify(_bytes(head[1]))] = (-2, message)
            elif head != found.get(stream):
                self._add("audit_stream", message)
        self._loose(loose)

    def _loose(self, loose: dict[bytes, tuple[int, str]]) -> None:
        """What continues nothing that is there must continue what is pruned, by this log or an earlier one."""
        if loose and self._pruned_to:
            for hashed in self.conn.scalars(_GONE, {"end": self._pruned_to}):
                loose.pop(hexlify(hashed), None)
        if loose and any(mark.origin != self.trust.name for mark in all_marks(self.conn)):
            return
        for index, wrong in loose.values():
            self._add("audit_stream" if index == -2 else "audit_event", wrong, index if index >= 0 else None)

    def _integrated(self) -> Iterator[sa.Row[tuple[object, ...]]]:
        low = 0
        while rows := self.conn.execute(_INTEGRATED, {"low": low}).all():
            self._read_private(rows)
            yield from rows
            low = rows[-1].leaf_index + 1

    def private(self) -> None:
        """What is kept apart from leaves, of events that are not there."""
        for event_id in self.conn.scalars(_PRIVATE_OF_NOBODY):
            self._add("audit_private", f"it keeps something of event {event_id}, which is not there")

    def published(self, published: Checkpoint) -> None:
        """What others have seen against what is here."""
        known = store.checkpoint_at(self.conn, published.size, published.origin)
        if known is None or known.root != published.root:
            message = f"the published checkpoint of size {published.size} is not here: rolled back, or another history"
            self._add("audit_checkpoint", message)

    def _read_private(self, rows: Sequence[sa.Row[Any]]) -> None:
        self._private = {}
        ids = [row.event_id for row in rows if row.event_id is not None]
        for at in range(0, len(ids), _ROWS_AT_ONCE):
            for row in self.conn.execute(_PRIVATE, {"ids": ids[at : at + _ROWS_AT_ONCE]}):
                sealed = Sealed(str(row.key), _bytes(row.sealed))
                self._private.setdefault(row.event_id, {})[row.field] = sealed

    def _commitments(self, event_id: int, leaf: Mapping[str, Any], hashed: bytes, index: int | None) -> None:
        said = {"who.name": leaf["who"]["name"], "where.address": leaf["where"]["address"]}
        for field, sealed in self._private.get(event_id, {}).items():
            wrong = "it is of no field of the leaf"
            if said.get(field) is not None:
                wrong = self._commitment(leaf["who"]["subject"], hashed, field, sealed, said[field])
            if wrong:
                self._add("audit_private", f"{field} of event {event_id}: {wrong}", index)

    def _commitment(self, subject: str, hashed: bytes, field: str, sealed: Sealed, said: str) -> str:
        """What is wrong with salt and value of a commitment, or an empty text."""
        if self._people is None:
            return ""
        try:
            opened = unseal(self._people, subject, hashed, field, sealed)
        except MandamusError as error:
            return error.message
        if opened is None:
            erased = subject in self._erased
            return "" if erased else "the key that opens it is not there, and no event says that it was destroyed"
        return "" if commitment(*opened) == said else "salt and value do not give the leaf's commitment"

    def _leaf(self, row: sa.Row[tuple[object, ...]]) -> None:
        index, hashed = self.frontier.size, tree.leaf_hash(_bytes(row.leaf))
        if hashed != row.stored:
            self._add("audit_event", f"leaf {index} does not have the hash that audit_leaf holds for it", index)
        self._append(hashed)
        self._event(row, hashed, index)

    def _append(self, hashed: bytes) -> None:
        for level, at, node in self.frontier.append(hashed):
            if level:
                self._nodes[level, at] = node

    def _event(self, row: sa.Row[tuple[object, ...]], hashed: bytes, index: int | None) -> None:
        wrong = self._chains.follow(_bytes(row.leaf), hashed, -1 if index is None else index)
        if wrong:
            self._add("audit_event", f"event {row.event_id}: {wrong}", index)
            return
        try:
            leaf = decode(_bytes(row.leaf))
        except MandamusError as error:
            self._add("audit_event", f"event {row.event_id}: {error.message}", index)
            return
        says = (
            leaf["at"],
            leaf["kind"],
            leaf["who"]["subject"],
            leaf["what"]["type"],
            leaf["what"]["id"],
            leaf["run"],
            leaf["project"],
            leaf["outcome"],
            leaf["stream"],
            leaf["seq"],
        )
        if says != tuple(row._mapping[audit_event.c[name]] for name in _COLUMNS):  # noqa: SLF001 - SQLAlchemy's public name
            self._add("audit_event", f"the columns of event {row.event_id} do not say what its leaf says", index)
        if leaf["seq"] == 0 or leaf["project"]:
            self._projects[leaf["stream"]] = self._projects.get(leaf["stream"]) or leaf["project"]
        self._commitments(row.event_id, leaf, hashed, index)

    def _checkpoint(self, row: sa.Row[tuple[object, ...]]) -> None:
        if row.root != self.frontier.root():
            self._add("audit_checkpoint", f"the tree of {row.size} leaves does not have the signed root", row.size - 1)
        try:
            signed = note.read_checkpoint(row.note, self.trust)
        except MandamusError as error:
            self._add("audit_checkpoint", f"checkpoint of size {row.size}: {error.message}")
            return
        if (signed.size, signed.root) != (row.size, row.root):
            self._add("audit_checkpoint", f"the note of size {row.size} signs another tree")

    def _subtrees(self) -> None:
        for row in self.conn.execute(sa.select(audit_node)):
            if self._nodes.pop((row.level, row.node_index), None) != row.hash:
                self._add("audit_node", f"node {row.node_index} of level {row.level} is not the root of its leaves")
        for level, index in self._nodes:
            self._add("audit_node", f"node {index} of level {level} is missing")

    def _add(self, table: str, message: str, leaf: int | None = None) -> None:
        self.problems.append(Finding(Verdict.TAMPERED, message, table, leaf))


def _erased(conn: sa.Connection) -> frozenset[str]:
    """Whose key was destroyed, as the log says: a restored database may hold rows that it opened."""
    return frozenset(_text(leaf, "subject") for leaf in store.openings(conn, Kind.AUDIT_REDACTED.text))


def _bytes(value: object) -> bytes:
    """SQLite keeps whatever type it is given, and a tampered row may hold text where bytes belong."""
    return value if isinstance(value, bytes) else str(value).encode()


def _text(leaf: bytes, field: str) -> str:
    """A field of a leaf's data; empty when it was changed, which is a finding elsewhere."""
    try:
        return str(decode(_bytes(leaf))["data"][field])
    except (MandamusError, KeyError, TypeError):
        return ""


_COLUMNS = ("at_us", "kind", "subject", "resource_type", "resource_id", "run", "project", "outcome", "stream", "seq")
