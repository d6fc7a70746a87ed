"""How runs stand in the log: which ended in a period, so that an auditor can draw a sample, and what a run did last."""

from __future__ import annotations

import sqlalchemy as sa

from mandamus.audit.kinds import Kind
from mandamus.store.tables.audit import audit_event, audit_leaf

_CLOSED = (
    sa.select(audit_event.c.run, sa.func.max(audit_leaf.c.leaf_index), sa.func.max(audit_event.c.project))
    .join(audit_leaf, audit_leaf.c.event_id == audit_event.c.event_id)
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


def closed_runs(conn: sa.Connection, since_us: int, until_us: int) -> list[tuple[str, int, str | None]]:
    """Each run with a ``run.closed`` in the log from one moment to before another.

    With the newest such leaf's index and the run's project, in the order of the runs' ids.
    """
    found = conn.execute(_CLOSED, {"since": since_us, "until": until_us})
    return [(run, index, project) for run, index, project in found]
