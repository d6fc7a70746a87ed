"""Whether a home has somebody to answer for it, before it can be reached from other machines."""

from __future__ import annotations

import sqlalchemy as sa

from mandamus.identity import store
from mandamus.identity.bearer import SubjectOf
from mandamus.kernel.access import Permission
from mandamus.store.database import Database
from mandamus.store.tables.identity import identity_session


def has_administrator(db: Database, subject_of: SubjectOf) -> bool:
    """Whether the owner has signed in once, or another active person may change identities."""
    with db.read() as conn:
        owner = store.get_owner(conn)
        signed_in = sa.select(identity_session.c.id).where(identity_session.c.user_name == owner).limit(1)
        if conn.execute(signed_in).first() is not None:
            return True
        names = [user.name for user in store.list_users(conn) if user.name != owner]
    return any(
        found is not None and not found.program and Permission.IDENTITY_WRITE in found.permissions
        for found in map(subject_of, names)
    )
