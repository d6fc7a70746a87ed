"""Puts checkpoints into a home's anchors, and verifies the log against what they hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mandamus.audit import anchor_store
from mandamus.audit.anchor_check import Named, compare
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Checkpoint, Event, Outcome, Report, Resource
from mandamus.audit.service import Audit
from mandamus.audit.trust import parse_trust
from mandamus.kernel.access import Permission, Subject, requires
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database


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
        with self._db.read() as conn:
            report = compare(conn, trust, anchors)
        outcome = Outcome.OK if report.ok else Outcome.FAILED
        data = {"size": report.size, "outcome": report.outcome.value}
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
