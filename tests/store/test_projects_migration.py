"""From a database whose events had no project column to one that has it."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from mandamus.store.migrate import HEAD, migrate
from mandamus.store.schema import metadata


@pytest.fixture
def older(database):
    """A database as the release before left it, with a run of a project, one of none, and a user."""
    drop = ("ix_audit_event_project",)
    with database.begin("old") as tx:
        for name in drop:
            tx.conn.exec_driver_sql(f"DROP INDEX {name}")
        for table, column in (
            ("audit_event", "project"), ("audit_stream", "project"), ("identity_user", "role"),
            ("identity_user", "projects"),
        ):  # fmt: skip
            tx.conn.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN {column}")
        tx.conn.exec_driver_sql("UPDATE mandamus_schema SET version_num = '0002'")
        empty = "X''" if database.is_sqlite else "''"
        for run, project in (("run_1", "payments"), ("run_2", "")):
            values = {}
            for column in metadata.tables["run"].columns:
                if not column.nullable:
                    is_text = isinstance(column.type, sa.Text)
                    values[column.name] = b"{}" if isinstance(column.type, sa.LargeBinary) else "" if is_text else 0
            values |= {"id": run, "project": project, "plan_only": False, "cancel_requested": False}
            tx.conn.execute(sa.insert(metadata.tables["run"]), values)
            tx.conn.exec_driver_sql(f"INSERT INTO audit_stream (stream, seq, hash) VALUES ('run/{run}', 3, {empty})")
        tx.conn.exec_driver_sql(f"INSERT INTO audit_stream (stream, seq, hash) VALUES ('log/x', 0, {empty})")
        tx.conn.exec_driver_sql(
            "INSERT INTO identity_user (name, display_name, email, active) VALUES ('ada', '', '', TRUE)"
        )
    return database


def test_a_run_that_goes_on_knows_its_project(older):
    """Its later events carry it; a user of before is a member of every project; the index is there again."""
    migrate(older.engine)
    with older.read() as conn:
        streams = conn.execute(sa.text("SELECT stream, project FROM audit_stream ORDER BY stream")).all()
        users = conn.execute(sa.text("SELECT role, projects FROM identity_user")).all()
        indexes = {index["name"] for index in sa.inspect(conn).get_indexes("audit_event")}
        version = conn.scalar(sa.text("SELECT version_num FROM mandamus_schema"))
    assert [tuple(row) for row in streams] == [("log/x", None), ("run/run_1", "payments"), ("run/run_2", None)]
    assert [tuple(row) for row in users] == [("member", None)]
    assert "ix_audit_event_project" in indexes
    assert version == HEAD
    migrate(older.engine)
