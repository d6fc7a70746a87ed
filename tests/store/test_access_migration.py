"""From a database without roles, grants and places of runs to one that has them."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from mandamus.store.migrate import HEAD, migrate
from mandamus.store.schema import metadata

NEW_TABLES = ("identity_grant", "identity_role")
NEW_COLUMNS = (
    ("audit_stream", "environment"),
    ("decision", "project"),
    ("identity_member", "since_us"),
    ("identity_token", "made_by"),
    ("identity_token", "behalf_of"),
    ("identity_token", "projects"),
    ("identity_user", "nature"),
    ("identity_user", "owner"),
    ("identity_user", "since_us"),
)


def _row(table: str, **given: object) -> dict[str, object]:
    """A row of a table as it was: every column that must have a value has an empty one."""
    values: dict[str, object] = {}
    for column in metadata.tables[table].columns:
        if not column.nullable and (table, column.name) not in NEW_COLUMNS:
            empty = b"{}" if isinstance(column.type, sa.LargeBinary) else "" if isinstance(column.type, sa.Text) else 0
            values[column.name] = False if isinstance(column.type, sa.Boolean) else empty
    return values | given


@pytest.fixture
def older(database):
    """A database as the release before left it, with a run in an environment, its decision, one of none, and a user."""
    with database.begin("old") as tx:
        for table in NEW_TABLES:
            metadata.tables[table].drop(tx.conn)
        for table, column in NEW_COLUMNS:
            tx.conn.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN {column}")
        tx.conn.exec_driver_sql("UPDATE mandamus_schema SET version_num = '0005'")
        for table, row in (
            ("run", _row("run", id="run_1", project="shop", environment="prod")),
            ("audit_stream", _row("audit_stream", stream="run/run_1", hash=b"")),
            ("audit_stream", _row("audit_stream", stream="log/x", hash=b"")),
            ("decision", _row("decision", id="dec_1", run="run_1")),
            ("decision", _row("decision", id="dec_2")),
            ("identity_user", _row("identity_user", name="ada", active=True, role="auditor")),
        ):
            old = sa.table(table, *(sa.column(name) for name in row))
            tx.conn.execute(sa.insert(old).values(**row))
    return database


def test_what_was_there_stays_and_is_somewhere(older):
    """A run's stream knows its environment and its decisions know their project; a user is a person with their role."""
    migrate(older.engine)
    with older.read() as conn:
        streams = conn.execute(sa.text("SELECT stream, environment FROM audit_stream ORDER BY stream")).all()
        decisions = conn.execute(sa.text("SELECT id, project FROM decision ORDER BY id")).all()
        users = conn.execute(sa.text("SELECT role, nature, owner, since_us FROM identity_user")).all()
        tables = set(sa.inspect(conn).get_table_names())
        version = conn.scalar(sa.text("SELECT version_num FROM mandamus_schema"))
    assert [tuple(row) for row in streams] == [("log/x", None), ("run/run_1", "prod")]
    assert [tuple(row) for row in decisions] == [("dec_1", "shop"), ("dec_2", "")]
    assert [tuple(row) for row in users] == [("auditor", "person", "", None)]
    assert set(NEW_TABLES) <= tables
    assert version == HEAD
    migrate(older.engine)
