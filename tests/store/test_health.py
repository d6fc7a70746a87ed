from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
import sqlalchemy as sa

from mandamus.store import health, schema
from mandamus.store.database import Database


def _lacking(database: Database) -> list[str]:
    with database.read() as conn:
        return health.lacking(conn)


def _run(database: Database, statement: str) -> None:
    with database.begin("a test") as tx:
        tx.conn.execute(sa.text(statement))


def test_a_migrated_database_lacks_nothing(database):
    """What the migrations make is what the schema says, on both databases."""
    assert _lacking(database) == []
    with database.read() as conn:
        assert health.damage(conn) == []


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("DROP INDEX ix_run_state", "index ix_run_state"),
        ("DROP TABLE lock_waiter", "table lock_waiter"),
        ("ALTER TABLE run DROP COLUMN reason", "column run.reason"),
    ],
)
def test_what_is_gone_is_named(database, statement, named):
    """A table, a column, an index that somebody dropped."""
    _run(database, statement)
    assert named in _lacking(database)


def test_a_guard_that_is_gone_is_named(database):
    """The triggers that keep the log append-only are part of the schema, dropped or switched off."""
    if database.is_sqlite:
        _run(database, "DROP TRIGGER audit_event_no_delete")
        assert _lacking(database) == ["trigger audit_event_no_delete"]
    else:
        _run(database, "ALTER TABLE audit_leaf DISABLE TRIGGER audit_leaf_append_only")
        assert _lacking(database) == ["trigger audit_leaf_append_only"]
        _run(database, "DROP TRIGGER audit_event_append_only ON audit_event")
        assert set(_lacking(database)) == {"trigger audit_leaf_append_only", "trigger audit_event_append_only"}


def test_every_append_only_table_has_its_guards(database):
    """As many triggers are asked for as the schema declares."""
    dialect = database.engine.dialect.name
    wanted = [text for text in schema.triggers(dialect) if text.startswith("CREATE TRIGGER")]
    for text in wanted:
        name = text.split()[2]
        on = "" if database.is_sqlite else f" ON {name.removesuffix('_append_only')}"
        _run(database, f"DROP TRIGGER {name}{on}")
    assert len(_lacking(database)) == len(wanted) >= 4


def _by_hand(path, *statements: str) -> None:
    """Change a SQLite file as somebody would who should not."""
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        for statement in statements:
            conn.execute(statement)


def test_a_row_that_names_one_that_is_not_there_is_damage(sqlite_database, home):
    """Foreign keys hold only for connections that ask for them, so they are checked."""
    _by_hand(home / "mandamus.db", "INSERT INTO identity_member (group_name, user_name) VALUES ('no', 'one')")
    with sqlite_database.read() as conn:
        found = health.damage(conn)
    assert any("of identity_member names a row of identity_group that is not there" in text for text in found)


def test_an_index_that_does_not_fit_its_table_is_damage(sqlite_database, home):
    """What SQLite's own check finds is passed on."""
    _by_hand(
        home / "mandamus.db",
        "INSERT INTO effect VALUES ('r', 's', 1, 'apply', 'intended', 1, 1, NULL, NULL)",
        "PRAGMA writable_schema=ON",
        "UPDATE sqlite_master SET sql = replace(sql, '(state)', '(token)') WHERE name = 'ix_effect_state'",
        "PRAGMA schema_version=9999",
    )
    with sqlite_database.read() as conn:
        found = health.damage(conn)
    assert any("ix_effect_state" in text for text in found)
