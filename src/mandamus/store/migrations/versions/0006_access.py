"""Roles, grants and programs that act; what a run and a decision are of stands where a reader's scope looks for it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_COLUMNS = {
    "audit_stream": (sa.Column("environment", sa.Text),),
    "decision": (sa.Column("project", sa.Text, nullable=False, server_default=""),),
}
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
