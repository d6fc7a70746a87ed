"""Published policy sets and recorded decisions."""

from __future__ import annotations

import sqlalchemy as sa

from mandamus.store.tables.base import Json, MicrosUtc, metadata

policy_set = sa.Table(
    "policy_set",
    metadata,
    sa.Column("digest", sa.Text, primary_key=True, comment="of the snapshot, a blob"),
    sa.Column("files", Json, nullable=False),
    sa.Column("published_us", MicrosUtc, nullable=False),
)

decision = sa.Table(
    "decision",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("run", sa.Text),
    sa.Column("step", sa.Text),
    sa.Column("point", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("sets", Json, nullable=False),
    sa.Column(
        "input", Json, comment="the exact bytes judged; null when they are large: then a blob under input_digest"
    ),
    sa.Column("input_digest", sa.Text, nullable=False),
    sa.Column("engine", sa.Text, nullable=False),
    sa.Column("duration_us", sa.BigInteger, nullable=False),
    sa.Column("result", Json, nullable=False, comment="violations, warnings, requirements, notes, raw values per set"),
    sa.Column("error", sa.Text),
    sa.Column("at_us", MicrosUtc, nullable=False, comment="the clock the policy saw"),
)
sa.Index("ix_decision_run", decision.c.run, decision.c.id)
sa.Index("ix_decision_point", decision.c.point, decision.c.id)
