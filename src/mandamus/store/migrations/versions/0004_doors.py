"""Tokens for programs, sessions for people, requests that are done once, and runs that are found by who asked."""

import json

import sqlalchemy as sa
from alembic import op

from mandamus.store.schema import metadata

revision = "0004"
down_revision = "0002"

_TABLES = ("identity_token", "operation_request", "identity_link", "identity_session")


def upgrade() -> None:
    """Add what is not there yet: in a database that this release made, nothing."""
    conn = op.get_bind()
    known = set(sa.inspect(conn).get_table_names())
    for name in _TABLES:
        if name not in known:
            metadata.tables[name].create(conn)
    run, step = metadata.tables["run"], metadata.tables["step"]
    if "ix_step_waiting" not in {index["name"] for index in sa.inspect(conn).get_indexes("step")}:
        next(index for index in step.indexes if index.name == "ix_step_waiting").create(conn)
    if "requested_by" in {column["name"] for column in sa.inspect(conn).get_columns("run")}:
        return
    op.add_column("run", sa.Column("requested_by", sa.Text, nullable=False, server_default=""))
    for run_id, requester in conn.execute(sa.select(run.c.id, run.c.requester)).all():
        name = json.loads(requester)["user"]
        conn.execute(run.update().where(run.c.id == run_id).values(requested_by=name))
    next(index for index in run.indexes if index.name == "ix_run_requested_by").create(conn)
