"""What lets somebody in, as rows that are looked at and ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from mandamus.identity import sign_in_store
from mandamus.identity.model import Session
from mandamus.store.tables.identity import identity_link, identity_session, identity_token


@dataclass(frozen=True)
class Ended:
    """How many sessions, tokens and links that let somebody in were ended."""

    user: str
    sessions: int
    tokens: int
    links: int


def open_sessions(conn: sa.Connection, user: str | None) -> list[Session]:
    """Sessions of a user, or of everybody, that have not ended, newest first."""
    session = identity_session.c
    query = sa.select(identity_session).where(session.ended_us.is_(None))
    if user is not None:
        query = query.where(session.user_name == user)
    return [_session(row) for row in conn.execute(query.order_by(session.opened_us.desc(), session.id))]


def get_session(conn: sa.Connection, session_id: str) -> Session | None:
    """One session, or None."""
    row = conn.execute(sa.select(identity_session).where(identity_session.c.id == session_id)).one_or_none()
    return None if row is None else _session(row)


def end_all(conn: sa.Connection, user: str, at_us: int) -> Ended:
    """End whatever lets a user in, or a program that acts for them; a device they let in gets nothing any more."""
    session, token, link = identity_session.c, identity_token.c, identity_link.c
    theirs = sa.or_(token.user_name == user, token.behalf_of == user)
    ended = (
        identity_session.update().where(session.user_name == user, session.ended_us.is_(None)).values(ended_us=at_us),
        identity_token.update().where(theirs, token.revoked_us.is_(None)).values(revoked_us=at_us),
        identity_link.update().where(link.user_name == user, link.used_us.is_(None)).values(used_us=at_us),
    )
    sign_in_store.drop_devices_of(conn, user)
    return Ended(user, *(conn.execute(each).rowcount for each in ended))


def _session(row: sa.Row[Any]) -> Session:
    return Session(row.id, row.user_name, row.authn, row.opened_us, row.seen_us, row.ended_us)
