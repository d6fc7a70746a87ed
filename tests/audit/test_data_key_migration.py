"""From a database that kept names in the clear to one that seals them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from mandamus.audit.model import Leaf
from mandamus.audit.private_store import unseal
from mandamus.audit.service import Audit
from mandamus.audit.tree import leaf_hash
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.data_keys import Sealed
from mandamus.store.database import Database
from mandamus.store.migrate import migrate

Write = Callable[..., list[Leaf]]
Row = tuple[int, str, bytes, str]

_ROWS = sa.text(
    "SELECT p.event_id, p.field, p.key, p.sealed, e.subject, e.leaf "
    "FROM audit_private p JOIN audit_event e ON e.event_id = p.event_id ORDER BY 1, 2"
)


def opened(audit: Audit, database: Database) -> list[Row]:
    """Every row with its salt and value."""
    with database.read() as conn:
        rows = conn.execute(_ROWS).all()
    found = []
    for row in rows:
        kept = unseal(audit.people, row.subject, leaf_hash(row.leaf), row.field, Sealed(row.key, row.sealed))
        assert kept is not None
        found.append((row.event_id, row.field, *kept))
    return found


def set_back(database: Database, rows: list[Row]) -> None:
    """Make it the first schema, in which salt and value stood in the clear."""
    blob, big = ("BLOB", "BIGINT") if database.is_sqlite else ("BYTEA", "BIGINT")
    with database.begin("old") as tx:
        tx.conn.exec_driver_sql("DROP TABLE audit_private")
        tx.conn.exec_driver_sql(
            f"CREATE TABLE audit_private (event_id {big} NOT NULL, field TEXT NOT NULL, salt {blob} NOT NULL, "
            "value TEXT NOT NULL, CONSTRAINT pk_audit_private PRIMARY KEY (event_id, field))"
        )
        insert = sa.text("INSERT INTO audit_private VALUES (:event_id, :field, :salt, :value)")
        tx.conn.execute(insert, [dict(zip(("event_id", "field", "salt", "value"), row, strict=True)) for row in rows])
        tx.conn.exec_driver_sql("UPDATE mandamus_schema SET version_num = '0001'")


def test_rows_in_the_clear_are_sealed(audit: Audit, database: Database, write: Write) -> None:
    """Each keeps its salt and value, the log stays sound, and what follows is recorded as ever."""
    write(audit, 12)
    rows = opened(audit, database)
    assert len(rows) >= 12
    assert "Ada Lovelace" in {row[3] for row in rows}
    set_back(database, rows)
    migrate(database.engine, audit.people.seal)
    assert opened(audit, database) == rows
    write(audit, 1)
    audit.flush()
    assert audit.verify_database().ok
    with database.read() as conn:
        assert {each["name"] for each in sa.inspect(conn).get_columns("audit_private")} == {
            "event_id", "field", "key", "sealed",
        }  # fmt: skip
        assert not sa.inspect(conn).has_table("audit_private_0001")


def test_many_rows_are_sealed_page_by_page(audit: Audit, database: Database, write: Write) -> None:
    """More rows than a page of 500 holds."""
    write(audit, 260)
    rows = opened(audit, database)
    assert len(rows) > 500
    set_back(database, rows)
    migrate(database.engine, audit.people.seal)
    assert opened(audit, database) == rows


def test_without_keys_nothing_is_changed(audit: Audit, database: Database, write: Write) -> None:
    """A database with names in it is not migrated by somebody who has no home for their keys."""
    write(audit, 2)
    rows = opened(audit, database)
    set_back(database, rows)
    with pytest.raises(MandamusError) as caught:
        migrate(database.engine)
    assert caught.value.code is Code.SCHEMA_UNKNOWN
    migrate(database.engine, audit.people.seal)
    assert opened(audit, database) == rows


def test_nothing_in_the_clear_stays_in_the_file(
    audit: Audit, sqlite_database: Database, database: Database, write: Write
) -> None:
    """What stood in the clear is overwritten on SQLite."""
    if not database.is_sqlite:
        return  # Postgres has no such file of ours
    write(audit, 12)
    set_back(database, opened(audit, database))
    path = Path(str(sqlite_database.engine.url.database))

    def held() -> bool:
        with closing(sqlite3.connect(path)) as direct:
            direct.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return b"Ada Lovelace" in path.read_bytes()

    assert held()
    migrate(database.engine, audit.people.seal)
    assert not held()
