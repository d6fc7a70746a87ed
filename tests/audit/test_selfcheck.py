"""The database's own rows: whatever someone with full rights changes in them is found and named."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mandamus.audit.model import Leaf
from mandamus.audit.service import Audit
from mandamus.kernel.access import Subject
from mandamus.store.database import Database
from mandamus.store.tables import audit as tables

Write = Callable[..., list[Leaf]]


@pytest.fixture
def database(sqlite_database: Database) -> Database:
    """The same statements run on both databases elsewhere; here the damage matters."""
    return sqlite_database


@pytest.fixture
def damaged(audit: Audit, database: Database, write: Write) -> Callable[[str], list[str]]:
    """Change rows as someone with full rights would, triggers dropped, and say which tables are named."""
    write(audit, 300)
    audit.flush()
    write(audit, 2)

    def run(statement: str) -> list[str]:
        assert audit.verify_database().problems == ()
        with database.begin("tamper") as tx:
            for name in tables.triggers("sqlite"):
                tx.conn.exec_driver_sql(f"DROP TRIGGER {name.split()[2]}")
            changed = tx.conn.exec_driver_sql(statement).rowcount
        assert changed > 0
        return [problem.file for problem in audit.verify_database().problems]

    return run


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        ("UPDATE audit_event SET leaf = replace(leaf, 'ada', 'eve') WHERE event_id = 7", "audit_event"),
        ("UPDATE audit_event SET subject = 'eve' WHERE event_id = 7", "audit_event"),
        ("UPDATE audit_event SET leaf = x'7b7d' WHERE event_id = 302", "audit_event"),
        ("DELETE FROM audit_event WHERE event_id = 7", "audit_leaf"),
        ("DELETE FROM audit_event WHERE event_id = 302", "audit_event"),
        ("DELETE FROM audit_event WHERE event_id = 303", "audit_stream"),
        ("DELETE FROM audit_queue WHERE event_id = 303", "audit_queue"),
        ("DELETE FROM audit_leaf WHERE leaf_index = 300", "audit_queue"),
        ("UPDATE audit_leaf SET hash = x'00' WHERE leaf_index = 5", "audit_event"),
        ("UPDATE audit_leaf SET event_id = 900 WHERE leaf_index = 5", "audit_leaf"),
        ("UPDATE audit_node SET hash = x'00'", "audit_node"),
        ("DELETE FROM audit_node", "audit_node"),
        ("UPDATE audit_checkpoint SET root = x'00' WHERE size = 1", "audit_checkpoint"),
        ("UPDATE audit_checkpoint SET note = x'00' WHERE size = 1", "audit_checkpoint"),
        ("UPDATE audit_head SET size = 300", "audit_head"),
        ("UPDATE audit_stream SET seq = 1 WHERE stream = 'run/run_1'", "audit_stream"),
        ("DELETE FROM audit_checkpoint WHERE size = 1", "audit_checkpoint"),
        ("UPDATE audit_checkpoint SET origin = 'other' WHERE size = 1", "audit_checkpoint"),
        ("UPDATE audit_checkpoint SET before = 0", "audit_checkpoint"),
        ("DELETE FROM audit_checkpoint WHERE size = 301", "audit_head"),
        ("UPDATE audit_head SET origin = 'other'", "audit_head"),
        ("INSERT INTO audit_head VALUES (2, 0, x'', 'log.example.com/home')", "audit_head"),
        ("INSERT INTO audit_queue VALUES (7)", "audit_queue"),
        ("UPDATE audit_private SET sealed = x'00' WHERE event_id = 7 AND field = 'who.name'", "audit_private"),
        ("UPDATE audit_private SET key = '00' WHERE event_id = 303", "audit_private"),
        ("UPDATE audit_private SET field = 'what.else' WHERE event_id = 7 AND field = 'who.name'", "audit_private"),
        ("UPDATE audit_private SET event_id = 900 WHERE event_id = 7", "audit_private"),
    ],
)
def test_changed_rows_are_named(damaged: Callable[[str], list[str]], statement: str, table: str) -> None:
    """Each change is found, and a finding names the table it is in."""
    assert table in damaged(statement)


def test_verification_is_itself_recorded(audit: Audit, who: Subject, write: Write) -> None:
    """Verifying leaves an event that says how it went and at what size."""
    write(audit, 2)
    assert audit.verify(who).ok
    audit.flush()
    assert b'"data":{"outcome":"ok","size":3}' in audit.stream(audit.opened().stream)[-1].bytes
