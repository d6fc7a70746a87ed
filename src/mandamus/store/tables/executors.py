"""What steps printed: redacted bytes in chunks, addressed by byte offset."""

from __future__ import annotations

import sqlalchemy as sa

from mandamus.store.tables.base import metadata

executor_output = sa.Table(
    "executor_output",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("step", sa.Text, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("phase", sa.Text, primary_key=True),
    sa.Column("start", sa.BigInteger, primary_key=True, autoincrement=False, comment="byte offset of the first byte"),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.Column("final", sa.Boolean, nullable=False, comment="an empty chunk after the last byte: nothing follows"),
)
