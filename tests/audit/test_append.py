"""Events of one transaction: each row of each event is written once, in order, with what belongs to it."""

from __future__ import annotations

import sqlalchemy as sa

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Resource
from mandamus.audit.service import Audit
from mandamus.kernel.access import Subject, Where
from mandamus.store.database import Database
from mandamus.store.tables import audit as tables

KEPT = (0, 2, 2, 1, 0)
"""How many values each event keeps apart from its leaf."""


def test_events_of_one_transaction_keep_their_order_and_what_is_theirs(audit: Audit, database: Database) -> None:
    """Whatever each keeps apart, ids go up in the order of recording, and each row names its own event."""
    with database.begin("several") as tx:
        recorded = [
            audit.record(
                tx,
                Event(
                    Kind.STEP_PLANNED,
                    Subject(
                        "ada",
                        "os-user",
                        display_name="Ada Lovelace" if kept else "",
                        where=Where(address="192.0.2.7" if kept == 2 else ""),
                    ),
                    Resource("step", "build"),
                    run=f"run_{number % 2}",
                ),
            )
            for number, kept in enumerate(KEPT)
        ]
    event = tables.audit_event.c
    with database.read() as conn:
        rows = conn.execute(
            sa.select(event.event_id, event.leaf).where(event.run.is_not(None)).order_by(event.event_id)
        )
        ids = {row.leaf: row.event_id for row in rows}
        kept = [conn.scalar(_kept(ids[leaf.bytes])) for leaf in recorded]
        queued = list(conn.scalars(sa.select(tables.audit_queue.c.event_id).order_by("event_id")))
    assert list(ids) == [leaf.bytes for leaf in recorded]
    assert kept == list(KEPT)
    assert queued == list(ids.values())
    assert audit.verify_database().ok


def _kept(event_id: int) -> sa.Select[tuple[int]]:
    kept = tables.audit_private.c
    return sa.select(sa.func.count()).where(kept.event_id == event_id)
