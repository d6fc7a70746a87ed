"""Declares how long which events are kept."""

from __future__ import annotations

from collections.abc import Sequence

from mandamus.audit import retention_store as store
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Resource
from mandamus.audit.retention import RetentionClass
from mandamus.audit.service import Audit
from mandamus.kernel.access import Permission, Subject, authorize, requires
from mandamus.store.database import Database, Tx


class Retention:
    """The retention classes of one home."""

    def __init__(self, db: Database, audit: Audit) -> None:
        self._db = db
        self._audit = audit

    @requires(Permission.AUDIT_READ)
    def classes(self, who: Subject) -> Sequence[RetentionClass]:  # noqa: ARG002 - the decorator reads it
        """Every class, by name."""
        with self._db.read() as conn:
            return store.classes(conn)

    def apply(self, tx: Tx, who: Subject, classes: Sequence[RetentionClass]) -> None:
        """Declare classes: those named become exactly this, others stay as they are.

        Raises ``forbidden`` without ``audit:admin``.
        """
        authorize(who, Permission.AUDIT_ADMIN)
        known = {each.name: each for each in store.classes(tx.conn)}
        for each in classes:
            before = known.get(each.name)
            if before == each:
                continue
            store.put_class(tx.conn, each)
            data = {
                "class": each.name,
                "digest": each.digest,
                "previous": before.digest if before else None,
                "at_least_s": each.at_least_s,
                "at_most_s": each.at_most_s,
            }
            self._audit.record(tx, Event(Kind.RETENTION_APPLIED, who, Resource("retention", each.name), data=data))
