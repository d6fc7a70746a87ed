"""The one MetaData and the column types every table uses."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Serial = sa.BigInteger().with_variant(sqlite.INTEGER(), "sqlite")
"""An integer key the database hands out: SQLite does so only for a column typed exactly INTEGER."""

Json = sa.LargeBinary
"""Canonical JSON bytes: stored as bytes so that what is read back is byte for byte what was digested."""

MicrosUtc = sa.BigInteger
"""Microseconds since the Unix epoch."""
