"""The audit log's tables. All but the queue and the two heads are append-only, and triggers say so to every client."""

from __future__ import annotations

import sqlalchemy as sa

from mandamus.store.tables.base import Json, MicrosUtc, Serial, metadata

audit_event = sa.Table(
    "audit_event",
    metadata,
    sa.Column("event_id", Serial, primary_key=True),
    sa.Column("at_us", MicrosUtc, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("resource_type", sa.Text, nullable=False),
    sa.Column("resource_id", sa.Text, nullable=False),
    sa.Column("run", sa.Text),
    sa.Column("project", sa.Text),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("stream", sa.Text, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("leaf", sa.LargeBinary, nullable=False, comment="the record itself; the other columns only find it"),
    sa.UniqueConstraint("stream", "seq"),
)
_found = audit_event.c
for _name, _columns in {
    "at": (),
    "kind": (_found.kind,),
    "subject": (_found.subject,),
    "resource": (_found.resource_type, _found.resource_id),
}.items():
    sa.Index(f"ix_audit_event_{_name}", *_columns, _found.at_us, _found.event_id)
for _name, _column, _few in (
    ("run", _found.run, _found.run.is_not(None)),
    ("project", _found.project, _found.project.is_not(None)),
    ("outcome", _found.outcome, _found.outcome != sa.literal_column("'ok'")),
):
    sa.Index(
        f"ix_audit_event_{_name}", _column, _found.at_us, _found.event_id, sqlite_where=_few, postgresql_where=_few
    )

audit_stream = sa.Table(
    "audit_stream",
    metadata,
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False, comment="of the newest event"),
    sa.Column("hash", sa.LargeBinary, nullable=False, comment="RFC 6962 leaf hash of the newest event"),
    sa.Column("project", sa.Text, comment="what the events of a run belong to; its first event names it"),
    sa.Column("environment", sa.Text, comment="where a run is; its first event names it"),
)

audit_queue = sa.Table(
    "audit_queue",
    metadata,
    sa.Column("event_id", sa.BigInteger, primary_key=True, autoincrement=False),
)

audit_leaf = sa.Table(
    "audit_leaf",
    metadata,
    sa.Column("leaf_index", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("event_id", sa.BigInteger, nullable=False, unique=True),
    sa.Column("hash", sa.LargeBinary, nullable=False),
)

audit_node = sa.Table(
    "audit_node",
    metadata,
    sa.Column("level", sa.Integer, primary_key=True, autoincrement=False, comment="tile level, from 1"),
    sa.Column("node_index", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("hash", sa.LargeBinary, nullable=False, comment="root of 256**level leaves"),
)

audit_head = sa.Table(
    "audit_head",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False, comment="always 1"),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("root", sa.LargeBinary, nullable=False),
    sa.Column("origin", sa.Text, nullable=False, comment="of the log that these rows are; only an epoch changes it"),
)

audit_checkpoint = sa.Table(
    "audit_checkpoint",
    metadata,
    sa.Column("origin", sa.Text, primary_key=True),
    sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False, comment="one root per size, for ever"),
    sa.Column("before", sa.BigInteger, nullable=False, comment="size of the checkpoint before; 0 for the first"),
    sa.Column("root", sa.LargeBinary, nullable=False),
    sa.Column("note", sa.LargeBinary, nullable=False),
    sa.Column("at_us", MicrosUtc, nullable=False),
)

audit_private = sa.Table(
    "audit_private",
    metadata,
    sa.Column("event_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("field", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, nullable=False, comment="names the data key of the person, a file in the home"),
    sa.Column("sealed", sa.LargeBinary, nullable=False, comment="salt and value, encrypted with it"),
)

audit_hold = sa.Table(
    "audit_hold",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("scope", sa.Text, nullable=False, comment="`subject`, `run` or `project`: what the value is"),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("at_us", MicrosUtc, nullable=False),
)

audit_retention = sa.Table(
    "audit_retention",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("at_least_s", sa.BigInteger, nullable=False, comment="0 for no limit"),
    sa.Column("at_most_s", sa.BigInteger, nullable=False, comment="0 for no limit"),
    sa.Column("kinds", Json, nullable=False),
    sa.Column("projects", Json, nullable=False),
    sa.Column("environments", Json, nullable=False),
)

audit_floor = sa.Table(
    "audit_floor",
    metadata,
    sa.Column("origin", sa.Text, primary_key=True),
    sa.Column(
        "min_index", sa.BigInteger, nullable=False, comment="events below it are pruned, and so are their bundles"
    ),
)

audit_cosig = sa.Table(
    "audit_cosig",
    metadata,
    sa.Column("origin", sa.Text, primary_key=True),
    sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("witness", sa.Text, primary_key=True, comment="the witness's verifier key"),
    sa.Column("line", sa.Text, nullable=False, comment="the cosignature as it stands in a note"),
    sa.Column("at_us", MicrosUtc, nullable=False, comment="when we got it; the witness's own time is in the line"),
)

audit_anchor = sa.Table(
    "audit_anchor",
    metadata,
    sa.Column("origin", sa.Text, primary_key=True),
    sa.Column("anchor", sa.Text, primary_key=True),
    sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("ref", sa.Text, nullable=False, comment="where in the anchor: a commit, a file"),
    sa.Column("token", sa.LargeBinary, nullable=False, comment="what a timestamp server answered; else empty"),
    sa.Column("at_us", MicrosUtc, nullable=False),
)

export_cursor = sa.Table(
    "export_cursor",
    metadata,
    sa.Column("origin", sa.Text, primary_key=True),
    sa.Column("sink", sa.Text, primary_key=True),
    sa.Column("next_index", sa.BigInteger, nullable=False, comment="the sink has every leaf before this one"),
    sa.Column("taken_us", MicrosUtc, nullable=False, comment="when it last took something, or 0"),
    sa.Column("error", sa.Text, nullable=False, comment="of the last attempt; empty when that went well"),
    sa.Column("error_us", MicrosUtc, nullable=False),
)

APPEND_ONLY = (audit_event, audit_leaf, audit_node, audit_checkpoint, audit_cosig, audit_anchor)


def triggers(dialect: str) -> list[str]:
    """DDL that makes the append-only tables refuse UPDATE and DELETE; ``dialect`` is ``sqlite`` or ``postgresql``."""
    return [statement for table in APPEND_ONLY for statement in _triggers_of(table.name, dialect)]


def lifting(table: sa.Table, dialect: str) -> tuple[list[str], list[str]]:
    """DDL that lets rows of an append-only table be deleted, and DDL that forbids it again; for one transaction."""
    if dialect == "sqlite":
        return [f"DROP TRIGGER {table.name}_no_{verb}" for verb in ("update", "delete")], _triggers_of(
            table.name, dialect
        )
    change = f"ALTER TABLE {table.name} {{}} TRIGGER {table.name}_append_only"
    return [change.format("DISABLE")], [change.format("ENABLE")]


def _triggers_of(table: str, dialect: str) -> list[str]:
    message = f"{table} is append-only"
    if dialect == "sqlite":
        refuse = f"SELECT RAISE(ABORT, '{message}')"
        return [
            f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb.upper()} ON {table} BEGIN {refuse}; END"
            for verb in ("update", "delete")
        ]
    body = f"$$ BEGIN RAISE EXCEPTION '{message}'; END $$"
    verbs = "UPDATE OR DELETE OR TRUNCATE"
    return [
        f"CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS {body}",
        f"CREATE TRIGGER {table}_append_only BEFORE {verbs} ON {table} EXECUTE FUNCTION {table}_refuse()",
    ]


def _attach(table: sa.Table) -> None:
    for dialect in ("sqlite", "postgresql"):
        for statement in _triggers_of(table.name, dialect):
            ddl = sa.DDL(statement.replace("%", "%%"))  # type: ignore[no-untyped-call]
            sa.event.listen(table, "after_create", ddl.execute_if(dialect=dialect))


for _table in APPEND_ONLY:
    _attach(_table)
