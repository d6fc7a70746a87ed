"""Puts checkpoints into a home's anchors, and verifies the log against what they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from mandamus.audit import anchor_store, note, proof, store, tree
from mandamus.audit.anchor import Anchor, Kept
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Checkpoint, Event, Finding, Outcome, Report, Resource, Verdict
from mandamus.audit.service import Audit
from mandamus.audit.trust import Trust, parse_trust
from mandamus.audit.verify import verdict_of
from mandamus.kernel.access import Permission, Subject, requires
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database


@dataclass(frozen=True)
class Named:
    """An anchor of a home, by its name in ``anchors.yaml``; due again after ``every_s``."""

    name: str
    every_s: float
    anchor: Anchor


@dataclass(frozen=True)
class Result:
    """What became of one anchor: ``anchored`` with a place, ``not due``, or ``failed`` with the error."""

    anchor: str
    kind: str
    size: int
    state: str
    ref: str = ""
    error: MandamusError | None = None


class Anchoring:
    """The anchors of one home. ``find`` reads what is declared, when it is asked for."""

    def __init__(self, db: Database, audit: Audit, find: Callable[[], Sequence[Named]], clock: Clock) -> None:
        self._db = db
        self._audit = audit
        self._find = find
        self._clock = clock

    @requires(Permission.AUDIT_ADMIN)
    def anchor(self, who: Subject, *, now: bool = False) -> list[Result]:
        """Put the newest checkpoint into every anchor that is due, or with ``now`` into all; each is an event.

        An anchor that fails keeps no other from its turn. Raises ``not_found`` when none is declared.
        """
        anchors = self._declared()
        checkpoint = self._audit.flush()
        return [self._put(who, each, checkpoint, now=now) for each in anchors]

    def _put(self, who: Subject, named: Named, checkpoint: Checkpoint, *, now: bool) -> Result:
        name, kind = named.name, named.anchor.kind
        with self._db.read() as conn:
            last = anchor_store.newest_of(conn, checkpoint.origin, name)
        if not now and last is not None and self._clock.now_us() - last.at_us < named.every_s * 1_000_000:
            return Result(name, kind, last.size, "not due", last.ref)
        try:
            made = named.anchor.put(checkpoint)
        except MandamusError as error:
            self._record(who, named, checkpoint, Outcome.FAILED, "")
            return Result(name, kind, checkpoint.size, "failed", error=error)
        row = anchor_store.Row(
            checkpoint.origin, name, checkpoint.size, kind, made.ref, made.token, self._clock.now_us()
        )
        self._record(who, named, checkpoint, Outcome.OK, made.ref, row)
        return Result(name, kind, checkpoint.size, "anchored", made.ref)

    def _record(
        self,
        who: Subject,
        named: Named,
        checkpoint: Checkpoint,
        outcome: Outcome,
        ref: str,
        row: anchor_store.Row | None = None,
    ) -> None:
        data = {"anchor": named.name, "kind": named.anchor.kind, "size": checkpoint.size, "ref": ref}
        with self._db.begin("audit.anchored") as tx:
            if row is not None:
                anchor_store.keep(tx.conn, row)
            self._audit.record(tx, Event(Kind.LOG_ANCHORED, who, Resource("anchor", named.name), outcome, data=data))

    @requires(Permission.AUDIT_VERIFY)
    def verify(self, who: Subject) -> Report:
        """Verify that the log continues every checkpoint that its anchors hold, and record that and how it went.

        A log that has fewer leaves than an anchor knows of, or another tree of that size, was taken back or changed:
        also when database and published log fit each other. Raises ``not_found`` when no anchor is declared.
        """
        anchors = self._declared()
        self._audit.flush()
        trust = parse_trust(self._audit.vkey)
        problems: list[Finding] = []
        with self._db.read() as conn:
            size, _ = store.read_head(conn)
            check = _Check(conn, trust, size)
            for named in anchors:
                problems += check.anchor(named)
        report = Report(size, tuple(problems), trust.name)
        outcome = Outcome.OK if report.ok else Outcome.FAILED
        data = {"size": size, "outcome": report.outcome.value}
        with self._db.begin("audit.anchors_verified") as tx:
            event = Event(Kind.AUDIT_VERIFIED, who, Resource("log", trust.name), outcome, data=data)
            self._audit.record(tx, event)
        return report

    def _declared(self) -> Sequence[Named]:
        found = self._find()
        if not found:
            raise MandamusError(
                Code.NOT_FOUND,
                "this home has no anchors",
                remedy="declare them in HOME/anchors.yaml, as docs/how-to/anchor-the-log.md shows",
            )
        return found


class _Check:
    """Compares what anchors hold with the tree in the database."""

    def __init__(self, conn: sa.Connection, trust: Trust, size: int) -> None:
        self._conn = conn
        self._trust = trust
        self._size = size
        self._subtree = proof.subtrees(lambda level, low, high: store.hashes(conn, level, low, high))

    def anchor(self, named: Named) -> Iterable[Finding]:
        """Everything that is wrong with one anchor, or with the log as it knows it."""
        found: set[int] = set()
        try:
            for kept in named.anchor.kept(self._trust.name):
                size, problem = self._kept(kept)
                found.add(size)
                if problem is not None:
                    yield problem
        except MandamusError as error:
            verdict = Verdict.INCOMPLETE if error.code is Code.AUDIT_UNAVAILABLE else verdict_of(error)
            yield Finding(verdict, error.message, f"anchor {named.name}")
            return
        for size in anchor_store.sizes_of(self._conn, self._trust.name, named.name):
            if size not in found:
                message = f"the checkpoint of {size} leaves was put there, and is not there any more"
                yield Finding(Verdict.INCOMPLETE, message, f"anchor {named.name}")

    def _kept(self, kept: Kept) -> tuple[int, Finding | None]:
        try:
            checkpoint = note.read_checkpoint(kept.note, self._trust)
        except MandamusError as error:
            return -1, Finding(verdict_of(error), error.message, kept.place)
        size = checkpoint.size
        if kept.problem:
            return size, Finding(Verdict.TAMPERED, kept.problem, kept.place)
        if size > self._size:
            message = f"it has {size} leaves, and the log has {self._size}: the log was taken back"
            return size, Finding(Verdict.TAMPERED, message, kept.place)
        if self._root(size) != checkpoint.root:
            message = f"the log does not continue it: another history of the first {size} leaves"
            return size, Finding(Verdict.TAMPERED, message, kept.place)
        return size, None

    def _root(self, size: int) -> bytes | None:
        try:
            return tree.frontier(size, self._subtree).root()
        except (LookupError, ValueError):
            # Rows are missing, which the verification of the database tells, row by row.
            return None
