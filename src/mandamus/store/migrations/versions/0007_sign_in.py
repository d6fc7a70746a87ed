"""Sign-in by OpenID Connect, devices and other systems."""

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add what is not there yet."""
