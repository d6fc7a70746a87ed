"""How runs stand in the log: which ended in a period, so that an auditor can draw a sample, and what a run did last."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from mandamus.audit.kinds import Kind
from mandamus.kernel.access import EVERYWHERE, Area
from mandamus.store.inside import inside
from mandamus.store.tables.audit import audit_event, audit_leaf, audit_stream

_CLOSED = (
    sa.select(audit_event.c.run, sa.func.max(audit_leaf.c.leaf_index))
    .join(audit_leaf, audit_leaf.c.event_id == audit_event.c.event_id)
    .join(audit_stream, audit_stream.c.stream == audit_event.c.stream)
    .where(
        audit_event.c.kind == Kind.RUN_CLOSED.text,
        audit_event.c.at_us >= sa.bindparam("since"),
        audit_event.c.at_us < sa.bindparam("until"),
    )
    .group_by(audit_event.c.run)
    .order_by(audit_event.c.run)
)
_NEWEST_KIND = (
    sa.select(audit_event.c.kind)
    .where(audit_event.c.stream == sa.bindparam("stream"))
    .order_by(audit_event.c.seq.desc())
    .limit(1)
)


def newest_kind(conn: sa.Connection, run: str) -> str:
    """The kind of the newest event of a run, whether or not it has its place in the log; empty without one."""
    return conn.scalar(_NEWEST_KIND, {"stream": f"run/{run}"}) or ""


def closed_runs(
    conn: sa.Connection, since_us: int, until_us: int, areas: Sequence[Area] = (EVERYWHERE,)
) -> list[tuple[str, int]]:
    """Each run in one of the places with a ``run.closed`` in the log from one moment to before another.

    With the newest such leaf's index, in the order of the runs' ids.
    """
    held = inside(areas, audit_stream.c.project, audit_stream.c.environment)
    found = conn.execute(_CLOSED.where(*held), {"since": since_us, "until": until_us})
    return [(run, index) for run, index in found]
