"""Tokens for programs, sessions for people, requests that are done once, and runs that are found by who asked."""

import json

import sqlalchemy as sa
from alembic import op

from mandamus.store.schema import metadata

revision = "0005"
down_revision = "0004"

_TABLES = ("identity_token", "operation_request", "identity_link", "identity_session")

_INDEXED = ("run", "step", "decision")


def upgrade() -> None:
    """Add what is not there yet: in a database that this release made, nothing."""
    conn = op.get_bind()
    known = set(sa.inspect(conn).get_table_names())
    for name in _TABLES:
        if name not in known:
            metadata.tables[name].create(conn)
    run = metadata.tables["run"]
    if "requested_by" not in {column["name"] for column in sa.inspect(conn).get_columns("run")}:
        op.add_column("run", sa.Column("requested_by", sa.Text, nullable=False, server_default=""))
        for run_id, requester in conn.execute(sa.select(run.c.id, run.c.requester)).all():
            name = json.loads(requester)["user"]
            conn.execute(run.update().where(run.c.id == run_id).values(requested_by=name))
    for name in _INDEXED:
        there = {index["name"] for index in sa.inspect(conn).get_indexes(name)}
        for index in metadata.tables[name].indexes:
            if index.name not in there:
                index.create(conn)
