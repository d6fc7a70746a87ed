"""Sign-in by OpenID Connect, devices and other systems."""

import sqlalchemy as sa
from alembic import op

from mandamus.store.schema import metadata

revision = "0007"
down_revision = "0006"

_PEOPLE = (
    "sign_in",
    "sign_in_subject",
    "sign_in_member",
    "sign_in_flow",
    "session_authn",
    "device",
    "token_authn",
)
_MACHINES = (
    "identity_provided",
    "identity_providable",
    "identity_exchange",
    "identity_exchanged",
    "identity_attempt",
    "identity_password",
)


def upgrade() -> None:
    """Add what is not there yet."""
    conn = op.get_bind()
    known = set(sa.inspect(conn).get_table_names())
    for name in (*_PEOPLE, *_MACHINES):
        if name not in known:
            metadata.tables[name].create(conn)
