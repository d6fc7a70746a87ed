"""Roles, grants and programs that act."""

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add what is not there yet."""
