"""Events are found by their project, and a user has a role and may be held to some projects.

Leaves that are there do not change, so events of before are of no project. A run that goes on knows its project.
"""

import sqlalchemy as sa
from alembic import op

from mandamus.store.schema import metadata

revision = "0003"
down_revision = "0002"

_COLUMNS = {
    "audit_event": (sa.Column("project", sa.Text),),
    "audit_stream": (sa.Column("project", sa.Text),),
    "identity_user": (
        sa.Column("role", sa.Text, nullable=False, server_default="member"),
        sa.Column("projects", sa.LargeBinary),
    ),
}
_RUNS_GO_ON = (
    "UPDATE audit_stream SET project = (SELECT NULLIF(run.project, '') FROM run WHERE 'run/' || run.id = stream) "
    "WHERE substr(stream, 1, 4) = 'run/'"
)


def upgrade() -> None:
    """Add what is not there yet: in a database that this release made, nothing."""
    conn = op.get_bind()
    for table, columns in _COLUMNS.items():
        known = {column["name"] for column in sa.inspect(conn).get_columns(table)}
        for column in columns:
            if column.name not in known:
                op.add_column(table, column)
    event = metadata.tables["audit_event"]
    indexed = {index["name"] for index in sa.inspect(conn).get_indexes("audit_event")}
    for index in event.indexes:
        if index.name not in indexed:
            index.create(conn)
    conn.exec_driver_sql(_RUNS_GO_ON)
