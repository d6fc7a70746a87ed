"""Subscriptions, and what was told to whom."""

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add what is not there yet."""
