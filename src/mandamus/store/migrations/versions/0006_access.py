"""Roles, grants and programs that act; what a run and a decision are of stands where a reader's scope looks for it."""

import sqlalchemy as sa
from alembic import op

from mandamus.store.schema import metadata

revision = "0006"
down_revision = "0005"

_COLUMNS = {
    "identity_user": (
        sa.Column("nature", sa.Text, nullable=False, server_default="person"),
        sa.Column("owner", sa.Text, nullable=False, server_default=""),
        sa.Column("since_us", sa.BigInteger),
    ),
    "identity_member": (sa.Column("since_us", sa.BigInteger),),
    "identity_token": (
        sa.Column("made_by", sa.Text, nullable=False, server_default=""),
        sa.Column("behalf_of", sa.Text),
        sa.Column("projects", sa.LargeBinary),
    ),
    "audit_stream": (sa.Column("environment", sa.Text),),
    "decision": (sa.Column("project", sa.Text, nullable=False, server_default=""),),
}
_TABLES = ("identity_role", "identity_grant")
_RUNS_ARE_SOMEWHERE = (
    "UPDATE audit_stream SET environment = (SELECT run.environment FROM run WHERE 'run/' || run.id = stream) "
    "WHERE substr(stream, 1, 4) = 'run/'"
)
_DECISIONS_ARE_OF_RUNS = (
    "UPDATE decision SET project = COALESCE((SELECT run.project FROM run WHERE run.id = decision.run), '') "
    "WHERE run IS NOT NULL"
)


def upgrade() -> None:
    """Add what is not there yet: in a database that this release made, nothing."""
    conn = op.get_bind()
    there = set(sa.inspect(conn).get_table_names())
    for name in _TABLES:
        if name not in there:
            metadata.tables[name].create(conn)
    added = set()
    for table, columns in _COLUMNS.items():
        known = {column["name"] for column in sa.inspect(conn).get_columns(table)}
        for column in columns:
            if column.name not in known:
                op.add_column(table, column)
                added.add(table)
    if "audit_stream" in added:
        conn.exec_driver_sql(_RUNS_ARE_SOMEWHERE)
    if "decision" in added:
        conn.exec_driver_sql(_DECISIONS_ARE_OF_RUNS)
