"""Fencing epochs of engines, and effects with intent and result."""

from __future__ import annotations

import sqlalchemy as sa

from mandamus.store.tables.base import Json, MicrosUtc, metadata

engine_epoch = sa.Table(
    "engine_epoch",
    metadata,
    sa.Column("node", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, nullable=False, comment="the fencing token; grows with every start"),
    sa.Column("started_us", MicrosUtc, nullable=False),
)

effect = sa.Table(
    "effect",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("step", sa.Text, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("phase", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False, comment="intended, indeterminate, succeeded, failed, void"),
    sa.Column("token", sa.BigInteger, nullable=False),
    sa.Column("intended_us", MicrosUtc, nullable=False),
    sa.Column("finished_us", MicrosUtc),
    sa.Column("result", Json),
)
sa.Index("ix_effect_state", effect.c.state)
