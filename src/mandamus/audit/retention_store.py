"""Rows of retention classes, and what classes and holds ask of recorded events."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from mandamus.audit import store
from mandamus.audit.leaf import decode
from mandamus.audit.retention import Facts, Kept, RetentionClass, Rules, facts_of
from mandamus.kernel import canonical
from mandamus.store.tables.audit import audit_event, audit_retention

_RUNS_REMEMBERED = 4_096
_CLASSES = sa.select(audit_retention).order_by(audit_retention.c.name)
_OF_SUBJECT = (
    sa.select(audit_event.c.leaf)
    .where(audit_event.c.subject == sa.bindparam("who"), audit_event.c.at_us > sa.bindparam("after"))
    .order_by(audit_event.c.at_us.desc(), audit_event.c.event_id.desc())
)


def classes(conn: sa.Connection) -> list[RetentionClass]:
    """Every class, by name."""
    return [
        RetentionClass(
            row.name, row.at_least_s, row.at_most_s, *map(_names, (row.kinds, row.projects, row.environments))
        )
        for row in conn.execute(_CLASSES)
    ]


def put_class(conn: sa.Connection, made: RetentionClass) -> None:
    """Write a class, in the place of one with its name."""
    conn.execute(sa.delete(audit_retention).where(audit_retention.c.name == made.name))
    conn.execute(
        sa.insert(audit_retention).values(
            name=made.name,
            at_least_s=made.at_least_s,
            at_most_s=made.at_most_s,
            kinds=canonical.dumps(made.kinds),
            projects=canonical.dumps(made.projects),
            environments=canonical.dumps(made.environments),
        )
    )


def kept(conn: sa.Connection, subject: str, now_us: int) -> Kept | None:
    """Until when a user's events must be kept and by which class, or None when none must be any longer."""
    rules = Rules(classes(conn))
    if not rules.longest_s:
        return None
    reader = FactsReader(conn)
    latest = Kept(now_us, "")
    rows = conn.execute(_OF_SUBJECT, {"who": subject, "after": now_us - rules.longest_s * 1_000_000})
    for leaf in rows.scalars():
        found = reader.facts(leaf)
        if found.at_us + rules.longest_s * 1_000_000 <= latest.until_us:
            break  # No older event can be kept longer than this.
        latest = max(latest, rules.kept(found), key=lambda each: each.until_us)
    return latest if latest.by else None


class FactsReader:
    """Reads what leaves say, and remembers the environments of runs."""

    def __init__(self, conn: sa.Connection) -> None:
        self._conn = conn
        self._environments: dict[str, str | None] = {}

    def facts(self, leaf: bytes) -> Facts:
        """What classes and holds can ask of the event."""
        fields = decode(leaf)
        return facts_of(fields, self._environment(fields["run"]) if fields["run"] else "")

    def _environment(self, run: str) -> str | None:
        if run not in self._environments:
            if len(self._environments) >= _RUNS_REMEMBERED:
                self._environments.clear()
            first = store.leaf_at(self._conn, f"run/{run}", 0)
            self._environments[run] = None if first is None else str(decode(first)["data"].get("environment") or "")
        return self._environments[run]


def _names(data: bytes) -> tuple[str, ...]:
    found: Any = canonical.loads(data)
    return tuple(str(each) for each in found)
