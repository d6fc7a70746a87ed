"""Users and groups as rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mandamus.identity.model import Group, Link, Nature, Role, Session, Token, User
from mandamus.kernel import canonical
from mandamus.kernel.access import Permission, Subject
from mandamus.store.tables.identity import (
    home,
    identity_group,
    identity_link,
    identity_member,
    identity_session,
    identity_token,
    identity_user,
)

_HOME_ID = 1


def get_owner(conn: sa.Connection) -> str | None:
    """The OS user who made the home, or None before it is made."""
    owner: str | None = conn.scalar(sa.select(home.c.owner).where(home.c.id == _HOME_ID))
    return owner


def insert_home(conn: sa.Connection, owner: str, created_us: int) -> None:
    """Write the home's one row."""
    conn.execute(home.insert().values(id=_HOME_ID, owner=owner, created_us=created_us))


def get_user(conn: sa.Connection, name: str) -> User | None:
    """One user, or None."""
    row = conn.execute(sa.select(identity_user).where(identity_user.c.name == name)).one_or_none()
    return None if row is None else _user(row)


def list_users(conn: sa.Connection) -> list[User]:
    """Every user, by name."""
    return [_user(row) for row in conn.execute(sa.select(identity_user).order_by(identity_user.c.name))]


def list_groups(conn: sa.Connection) -> list[Group]:
    """Every group with its members, by name."""
    members: dict[str, list[str]] = {
        name: [] for name in conn.scalars(sa.select(identity_group.c.name).order_by(identity_group.c.name))
    }
    named = sa.select(identity_member.c.group_name, identity_member.c.user_name)
    rows = conn.execute(named.order_by(identity_member.c.user_name))
    for group, user in rows:
        members[group].append(user)
    return [Group(name, tuple(users)) for name, users in members.items()]


def groups_of(conn: sa.Connection, user: str) -> frozenset[str]:
    """Names of the groups an active user is in."""
    query = (
        sa.select(identity_member.c.group_name)
        .join(identity_user, identity_user.c.name == identity_member.c.user_name)
        .where(identity_member.c.user_name == user, identity_user.c.active)
    )
    return frozenset(conn.scalars(query))


def members(conn: sa.Connection, group: str) -> frozenset[str]:
    """Names of the active users in a group; empty for a group nobody declared."""
    query = (
        sa.select(identity_member.c.user_name)
        .join(identity_user, identity_user.c.name == identity_member.c.user_name)
        .where(identity_member.c.group_name == group, identity_user.c.active)
    )
    return frozenset(conn.scalars(query))


def changed_by(conn: sa.Connection, group: str) -> str | None:
    """Who last changed a group, or None for one nobody declared."""
    found: str | None = conn.scalar(sa.select(identity_group.c.changed_by).where(identity_group.c.name == group))
    return found


def changers(conn: sa.Connection, group: str) -> frozenset[str]:
    """Everybody whose work it is who is in a group: who last changed it, and who answers for that program."""
    return frozenset((changed_by(conn, group) or "").split())


def by(who: Subject) -> str:
    """Who changes a group, as a row keeps it: a name, with those of the people who answer for a program."""
    return " ".join([who.user, *sorted(who.makers - {who.user})])


def put_users(conn: sa.Connection, users: Iterable[User], at_us: int) -> None:
    """Insert or overwrite users; since when one may what they may stays as it is while that does."""
    for user in users:
        before = get_user(conn, user.name)
        same = before is not None and _role_of(before) == _role_of(user)
        values = {name: value for name, value in vars(user).items() if name != "name"}
        values |= {"role": user.role.value, "projects": _json(user.projects), "nature": user.nature.value}
        values["since_us"] = before.since_us if before is not None and same else at_us
        upsert(conn, identity_user, {"name": user.name}, values)


def put_groups(conn: sa.Connection, groups: Sequence[Group], changed_by: str, at_us: int) -> None:
    """Insert or overwrite groups with exactly these members; who was in one stays in it since they were."""
    member = identity_member.c
    for group in groups:
        upsert(conn, identity_group, {"name": group.name}, {"changed_by": changed_by})
        of_group = member.group_name == group.name
        conn.execute(identity_member.delete().where(of_group, member.user_name.not_in(group.members)))
        there = set(conn.scalars(sa.select(member.user_name).where(of_group)))
        new = [user for user in dict.fromkeys(group.members) if user not in there]
        if new:
            rows = [{"group_name": group.name, "user_name": user, "since_us": at_us} for user in new]
            conn.execute(identity_member.insert(), rows)


def memberships(conn: sa.Connection) -> list[tuple[str, str, int | None]]:
    """Every group with each active user in it, and since when they are."""
    query = (
        sa.select(identity_member.c.group_name, identity_member.c.user_name, identity_member.c.since_us)
        .join(identity_user, identity_user.c.name == identity_member.c.user_name)
        .where(identity_user.c.active)
        .order_by(identity_member.c.group_name, identity_member.c.user_name)
    )
    return [(row.group_name, row.user_name, row.since_us) for row in conn.execute(query)]


def _role_of(user: User) -> tuple[object, ...]:
    return user.active, user.role, user.projects, user.nature, user.owner


def _user(row: sa.Row[Any]) -> User:
    projects = None if row.projects is None else tuple(canonical.loads(row.projects))
    return User(
        row.name,
        row.display_name,
        row.email,
        row.active,
        Role(row.role),
        projects,
        Nature(row.nature),
        row.owner,
        row.since_us,
    )


def _json(projects: tuple[str, ...] | None) -> bytes | None:
    return None if projects is None else canonical.dumps(list(projects))


def insert_token(conn: sa.Connection, token: Token, hashed: bytes) -> None:
    """Write a new token; ``hashed`` is the SHA-256 of its secret."""
    allowed = token.permissions
    values = {**vars(token), "user_name": token.user, "hash": hashed, "permissions": _names(allowed)}
    values["projects"] = _json(token.projects)
    del values["user"]
    conn.execute(identity_token.insert().values(**values))


def find_token(conn: sa.Connection, hashed: bytes) -> tuple[Token, bytes] | None:
    """The token of a hash, and the hash as it is kept."""
    row = conn.execute(sa.select(identity_token).where(identity_token.c.hash == hashed)).one_or_none()
    return None if row is None else (_token(row), row.hash)


def get_token(conn: sa.Connection, token_id: str) -> Token | None:
    """One token, or None."""
    row = conn.execute(sa.select(identity_token).where(identity_token.c.id == token_id)).one_or_none()
    return None if row is None else _token(row)


def list_tokens(conn: sa.Connection, user: str | None) -> list[Token]:
    """Tokens of a user, with those they made for others and for whom they answer; or of everybody. Newest first."""
    query = sa.select(identity_token).order_by(identity_token.c.created_us.desc(), identity_token.c.id)
    if user is not None:
        query = query.where(sa.or_(*_mine(user)))
    return [_token(row) for row in conn.execute(query)]


def is_of(conn: sa.Connection, token_id: str, user: str) -> bool:
    """Whether a token is one that `list_tokens` lists for the user."""
    mine = sa.select(identity_token.c.id).where(identity_token.c.id == token_id, sa.or_(*_mine(user)))
    return conn.scalar(mine) is not None


def _mine(user: str) -> list[sa.ColumnElement[bool]]:
    owned = sa.select(identity_user.c.name).where(identity_user.c.owner == user)
    token = identity_token.c
    return [token.user_name == user, token.made_by == user, token.behalf_of == user, token.user_name.in_(owned)]


def update_token(conn: sa.Connection, token: Token) -> None:
    """Write when a token was revoked."""
    conn.execute(identity_token.update().where(identity_token.c.id == token.id).values(revoked_us=token.revoked_us))


def use_token(conn: sa.Connection, token_id: str, at_us: int) -> None:
    """Write when a token was last used."""
    conn.execute(identity_token.update().where(identity_token.c.id == token_id).values(used_us=at_us))


def insert_link(conn: sa.Connection, link: Link, hashed: bytes) -> None:
    """Write a new link; ``hashed`` is the SHA-256 of its secret."""
    conn.execute(identity_link.insert().values(**_row_of(link), hash=hashed))


def find_link(conn: sa.Connection, hashed: bytes) -> Link | None:
    """The link of a hash, or None."""
    row = conn.execute(sa.select(identity_link).where(identity_link.c.hash == hashed)).one_or_none()
    return None if row is None else Link(row.id, row.user_name, row.authn, row.created_us, row.expires_us, row.used_us)


def use_link(conn: sa.Connection, hashed: bytes, at_us: int) -> bool:
    """Use a link up; False when somebody else was first."""
    unused = identity_link.update().where(identity_link.c.hash == hashed, identity_link.c.used_us.is_(None))
    return conn.execute(unused.values(used_us=at_us)).rowcount == 1


def insert_session(conn: sa.Connection, session: Session, hashed: bytes) -> None:
    """Write a new session; ``hashed`` is the SHA-256 of its secret."""
    conn.execute(identity_session.insert().values(**_row_of(session), hash=hashed))


def find_session(conn: sa.Connection, hashed: bytes) -> tuple[Session, bytes] | None:
    """The session of a hash, and the hash as it is kept."""
    row = conn.execute(sa.select(identity_session).where(identity_session.c.hash == hashed)).one_or_none()
    if row is None:
        return None
    return Session(row.id, row.user_name, row.authn, row.opened_us, row.seen_us, row.ended_us), row.hash


def see_session(conn: sa.Connection, session_id: str, at_us: int) -> None:
    """Write when a session was last seen."""
    conn.execute(identity_session.update().where(identity_session.c.id == session_id).values(seen_us=at_us))


def end_session(conn: sa.Connection, session_id: str, at_us: int) -> bool:
    """Write when a session ended; False when it had."""
    goes_on = identity_session.update().where(
        identity_session.c.id == session_id, identity_session.c.ended_us.is_(None)
    )
    return conn.execute(goes_on.values(ended_us=at_us)).rowcount == 1


def _row_of(value: Link | Session) -> dict[str, object]:
    fields = dict(vars(value))
    return {"user_name": fields.pop("user"), **fields}


def _token(row: sa.Row[Any]) -> Token:
    allowed = None if row.permissions is None else frozenset(map(Permission, canonical.loads(row.permissions)))
    return Token(
        row.id,
        row.user_name,
        row.name,
        allowed,
        row.created_us,
        row.expires_us,
        row.used_us,
        row.revoked_us,
        row.made_by,
        row.behalf_of,
        None if row.projects is None else tuple(canonical.loads(row.projects)),
    )


def _names(permissions: frozenset[Permission] | None) -> bytes | None:
    return None if permissions is None else canonical.dumps(sorted(each.value for each in permissions))


def upsert(conn: sa.Connection, table: sa.Table, key: dict[str, object], values: dict[str, object]) -> None:
    """Insert a row, or overwrite the values of the one with its key."""
    insert = sqlite.insert if conn.dialect.name == "sqlite" else postgresql.insert
    made = insert(table).values(**key, **values)
    conn.execute(made.on_conflict_do_update(index_elements=list(key), set_=values))
