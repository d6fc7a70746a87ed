"""Roles and grants as rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import sqlalchemy as sa

from mandamus.identity.grants import BUILT_IN, Granted, OwnRole, To, Window
from mandamus.identity.store import upsert
from mandamus.kernel import canonical
from mandamus.kernel.access import Permission
from mandamus.store.tables.identity import identity_grant, identity_role

_WITH_ROLE = sa.select(identity_grant, identity_role.c.permissions).join(
    identity_role, identity_role.c.name == identity_grant.c.role, isouter=True
)


def roles(conn: sa.Connection) -> list[OwnRole]:
    """Every declared role, by name."""
    rows = conn.execute(sa.select(identity_role).order_by(identity_role.c.name))
    return [OwnRole(row.name, _permissions(row.permissions), row.changed_by, row.since_us) for row in rows]


def grants(conn: sa.Connection) -> list[Granted]:
    """Every grant, by name, be it active or not."""
    return [_granted(row) for row in conn.execute(sa.select(identity_grant).order_by(identity_grant.c.name))]


def grants_of(
    conn: sa.Connection, user: str, groups: Collection[str]
) -> Iterator[tuple[Granted, frozenset[Permission]]]:
    """The active grants to a user and to groups, each with the permissions of its role."""
    mine = sa.and_(identity_grant.c.to_kind == To.USER.value, identity_grant.c.to_name == user)
    ours = sa.and_(identity_grant.c.to_kind == To.GROUP.value, identity_grant.c.to_name.in_(sorted(groups)))
    found = _WITH_ROLE.where(identity_grant.c.active, sa.or_(mine, ours)).order_by(identity_grant.c.name)
    for row in conn.execute(found):
        built_in = BUILT_IN.get(row.role)
        yield _granted(row), built_in if built_in is not None else _permissions(row.permissions)


def put_roles(conn: sa.Connection, made: Iterable[OwnRole], by: str, at_us: int) -> None:
    """Insert or overwrite roles."""
    for role in made:
        permissions = canonical.dumps(sorted(each.value for each in role.permissions))
        upsert(
            conn, identity_role, {"name": role.name}, {"permissions": permissions, "changed_by": by, "since_us": at_us}
        )


def put_grants(conn: sa.Connection, made: Iterable[Granted], by: str, at_us: int) -> None:
    """Insert or overwrite grants."""
    for each in made:
        values: dict[str, object] = {
            "role": each.role,
            "to_kind": each.to.value,
            "to_name": each.subject,
            "projects": _json(each.projects),
            "environments": _json(each.environments),
            "windows": canonical.dumps([[list(one.days), one.from_min, one.to_min] for one in each.windows]),
            "until_us": each.until_us,
            "active": each.active,
            "changed_by": by,
            "since_us": at_us,
        }
        upsert(conn, identity_grant, {"name": each.name}, values)


def _granted(row: sa.Row[Any]) -> Granted:
    return Granted(
        name=row.name,
        role=row.role,
        to=To(row.to_kind),
        subject=row.to_name,
        projects=_names(row.projects),
        environments=_names(row.environments),
        windows=tuple(Window(tuple(days), first, last) for days, first, last in canonical.loads(row.windows)),
        until_us=row.until_us,
        active=row.active,
        changed_by=row.changed_by,
        since_us=row.since_us,
    )


def _permissions(stored: bytes | None) -> frozenset[Permission]:
    """A permission that this release does not know gives nothing, and so does a role that is not there."""
    known = {each.value for each in Permission}
    return frozenset(Permission(name) for name in canonical.loads(stored or b"[]") if name in known)


def _json(names: tuple[str, ...] | None) -> bytes | None:
    return None if names is None else canonical.dumps(list(names))


def _names(stored: bytes | None) -> tuple[str, ...] | None:
    return None if stored is None else tuple(canonical.loads(stored))
