"""Rows of a home as somebody with every right to its database could change them, and as an older copy has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from mandamus.store.database import Database
from mandamus.store.schema import metadata
from mandamus.store.tables.audit import triggers

Change = Callable[[sa.Connection], None]


@contextmanager
def changed(db: Database, change: Change) -> Iterator[sa.Connection]:
    """The database after a change by somebody with every right; undone at the end."""
    with db.engine.connect() as conn:
        conn.begin()
        try:
            for name in triggers("sqlite"):
                conn.exec_driver_sql(f"DROP TRIGGER {name.split()[2]}")
            change(conn)
            yield conn
        finally:
            conn.rollback()


def rows(database: Path, table: str) -> list[dict[str, Any]]:
    """The rows of a table in a copy of the database."""
    engine = sa.create_engine(f"sqlite:///{database}")
    with engine.connect() as conn:
        found = [dict(row._mapping) for row in conn.execute(sa.select(metadata.tables[table]))]  # noqa: SLF001 - SQLAlchemy's public name
    engine.dispose()
    return found
