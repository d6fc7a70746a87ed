"""Sealed bundles: which run, up to which event of it, and the bundle's digest."""

from __future__ import annotations

import sqlalchemy as sa

from mandamus.store.tables.base import MicrosUtc, metadata

evidence_bundle = sa.Table(
    "evidence_bundle",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False, comment="of the run.closed it ends with"),
    sa.Column("digest", sa.Text, nullable=False, comment="of the bundle, a blob"),
    sa.Column("sealed_us", MicrosUtc, nullable=False),
)
