"""A run names the change request it is for; those of before name none."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column where this release has not made it."""
    if "ticket" not in {column["name"] for column in sa.inspect(op.get_bind()).get_columns("run")}:
        op.add_column("run", sa.Column("ticket", sa.Text, nullable=False, server_default=""))
