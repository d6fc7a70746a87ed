"""The first schema.

Until the first release this revision is rewritten in place; from then on every change is a revision of its own.
"""

from alembic import op

from mandamus.store.schema import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table."""
    metadata.create_all(op.get_bind())
