"""Subscriptions, and what was told to whom."""

import sqlalchemy as sa
from alembic import op

from mandamus.store.schema import metadata

revision = "0008"
down_revision = "0007"

_TABLES = ("notify_subscription", "notify_delivery")


def upgrade() -> None:
    """Add what is not there yet."""
    conn = op.get_bind()
    known = set(sa.inspect(conn).get_table_names())
    for name in _TABLES:
        if name not in known:
            metadata.tables[name].create(conn)
