"""How the log stands, as far as this home knows by itself: its newest checkpoint, what waits, who has seen how much."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from mandamus.audit import store
from mandamus.store.tables.audit import audit_anchor, audit_checkpoint, audit_cosig

COSIGNATURES_READ = 200
"""The newest ones: a witness that is not among them has been silent for long."""


@dataclass(frozen=True)
class Sight:
    """How many leaves somebody outside had seen, and when."""

    name: str
    size: int
    at_us: int


@dataclass(frozen=True)
class Standing:
    """The newest signed tree, how many events wait for a place in one, and what witnesses and anchors have of it."""

    size: int
    signed_us: int
    waiting: int
    witnesses: tuple[Sight, ...]
    anchors: tuple[Sight, ...]

    def to_json(self) -> dict[str, Any]:
        """As commands print it."""
        return asdict(self)


def standing(conn: sa.Connection, origin: str) -> Standing:
    """How the log of that name stands; of a log without a checkpoint everything is 0."""
    point = audit_checkpoint.c
    newest = conn.execute(
        sa.select(point.size, point.at_us).where(point.origin == origin).order_by(point.size.desc()).limit(1)
    ).one_or_none()
    seen = audit_cosig.c
    rows = conn.execute(
        sa.select(seen.witness, seen.size, seen.at_us)
        .where(seen.origin == origin)
        .order_by(seen.size.desc())
        .limit(COSIGNATURES_READ)
    )
    witnesses: dict[str, Sight] = {}
    for row in rows:
        name = row.witness.partition("+")[0]
        witnesses.setdefault(name, Sight(name, row.size, row.at_us))
    kept = audit_anchor.c
    anchors = conn.execute(
        sa.select(kept.anchor, sa.func.max(kept.size).label("size"), sa.func.max(kept.at_us).label("at_us"))
        .where(kept.origin == origin)
        .group_by(kept.anchor)
    )
    return Standing(
        size=newest.size if newest else 0,
        signed_us=newest.at_us if newest else 0,
        waiting=store.queued(conn),
        witnesses=tuple(sorted(witnesses.values(), key=lambda each: each.name)),
        anchors=tuple(Sight(row.anchor, row.size, row.at_us) for row in anchors),
    )
