"""What steps printed, by byte offset; the states tools keep, every version; and who holds a state."""

from __future__ import annotations

import sqlalchemy as sa

from mandamus.store.tables.base import MicrosUtc, metadata

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

executor_state = sa.Table(
    "executor_state",
    metadata,
    sa.Column("environment", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False, comment="counts our writes, from 1"),
    sa.Column("lineage", sa.Text, nullable=False),
    sa.Column("serial", sa.BigInteger, nullable=False, comment="the tool's own count; never lower than before"),
    sa.Column("digest", sa.Text, nullable=False, comment="of the state file, a blob; append-only"),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("step", sa.Text, nullable=False),
    sa.Column("written_us", MicrosUtc, nullable=False),
)

executor_state_lock = sa.Table(
    "executor_state_lock",
    metadata,
    sa.Column("environment", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("step", sa.Text, nullable=False),
    sa.Column("since_us", MicrosUtc, nullable=False),
)
