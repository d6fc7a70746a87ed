"""Tables of the house itself."""

from __future__ import annotations

import sqlalchemy as sa

from mandamus.store.tables.base import Json, MicrosUtc, metadata

operation_request = sa.Table(
    "operation_request",
    metadata,
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True, comment="the caller's Idempotency-Key"),
    sa.Column("asked", sa.Text, nullable=False, comment="digest of the request"),
    sa.Column("at_us", MicrosUtc, nullable=False, index=True),
    sa.Column("answer", Json, comment="null while nobody knows how it ended"),
)
