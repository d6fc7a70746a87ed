"""What a provider of identities provides, as rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from mandamus.identity.provided import Field, Link, Person, PersonGiven, Team, TeamGiven, What, folded
from mandamus.store.tables.identity import identity_group, identity_member, identity_user
from mandamus.store.tables.machines import identity_providable, identity_provided

_LINK = identity_provided.c
_KNOWN = _LINK.deleted_us.is_(None)


def find(conn: sa.Connection, what: What, where: Mapping[Field, Any], start: int, count: int) -> tuple[list[str], int]:
    """Ids of what fits every condition, in the order in which it was made, from ``start`` (0 is the first), and all."""
    query = sa.select(_LINK.id).where(_LINK.kind == what.value, _KNOWN)
    if what is What.USER:
        query = query.join(identity_user, identity_user.c.name == _LINK.name)
    for field, value in where.items():
        query = query.where(_condition(what, field, value))
    total = conn.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0
    ids = conn.scalars(query.order_by(_LINK.created_us, _LINK.id).offset(start).limit(count))
    return list(ids), total


def _condition(what: What, field: Field, value: Any) -> sa.ColumnElement[bool]:
    user = identity_user.c
    columns: dict[tuple[What, Field], sa.ColumnElement[bool]] = {
        (what, Field.ID): _LINK.id == value,
        (what, Field.NAME): _LINK.folded == folded(str(value)),
        (what, Field.EXTERNAL_ID): _LINK.external_id == value,
        (What.USER, Field.ACTIVE): user.active.is_(value),
        (What.USER, Field.EMAIL): sa.func.lower(user.email) == str(value).lower(),
        (What.GROUP, Field.MEMBER): _LINK.name.in_(_groups_of(str(value))),
    }
    return columns[what, field]


def _groups_of(user_id: str) -> sa.Select[tuple[str]]:
    user = identity_provided.alias()
    of_user = sa.and_(user.c.name == identity_member.c.user_name, user.c.kind == What.USER.value)
    found = sa.select(identity_member.c.group_name).join(user, of_user)
    return found.where(user.c.id == user_id, user.c.deleted_us.is_(None))


def links(conn: sa.Connection, what: What, ids: Collection[str]) -> dict[str, Link]:
    """What the provider knows by these ids, by id; those it does not know are left out."""
    # Whatever else somebody sends is no id of ours, and no database takes all of it.
    ids = {each for each in ids if each.isascii() and each.isprintable()}
    query = sa.select(identity_provided).where(_LINK.kind == what.value, _KNOWN)
    rows = conn.execute(query) if len(ids) > _IN_MAX else conn.execute(query.where(_LINK.id.in_(ids)))
    return {row.id: _link(row) for row in rows if row.id in ids}


_IN_MAX = 500
"""More than so many ids are looked for in the whole."""


def link_of(conn: sa.Connection, what: What, name: str) -> tuple[Link, bool] | None:
    """The link of a user or group by its name, and whether the provider still knows it; None when it never did.

    The provider compares names of users without regard to case, so it is looked for like that.
    """
    query = sa.select(identity_provided).where(_LINK.kind == what.value, sa.func.lower(_LINK.name) == name.lower())
    row = conn.execute(query.order_by(_LINK.deleted_us.is_not(None)).limit(1)).one_or_none()
    return None if row is None else (_link(row), row.deleted_us is None)


def persons(conn: sa.Connection, ids: Collection[str]) -> list[Person]:
    """The provider's users of these ids, in that order."""
    found = links(conn, What.USER, ids)
    names = [link.name for link in found.values()]
    users = {row.name: row for row in conn.execute(sa.select(identity_user).where(identity_user.c.name.in_(names)))}
    teams: dict[str, list[tuple[str, str]]] = {name: [] for name in names}
    for row in conn.execute(
        sa.select(identity_member.c.user_name, _LINK.id, _LINK.shown)
        .join(identity_provided, sa.and_(_LINK.name == identity_member.c.group_name, _LINK.kind == What.GROUP.value))
        .where(identity_member.c.user_name.in_(names), _KNOWN)
        .order_by(_LINK.id)
    ):
        teams[row.user_name].append((row.id, row.shown))
    return [_person(found[each], users[found[each].name], teams) for each in ids if each in found]


def _person(link: Link, user: Any, teams: Mapping[str, list[tuple[str, str]]]) -> Person:
    given = PersonGiven(user.name, user.display_name, user.email, bool(user.active), link.external_id)
    return Person(link, given, tuple(teams[link.name]))


def teams(conn: sa.Connection, ids: Collection[str]) -> list[Team]:
    """The provider's groups of these ids, in that order, with those members that the provider knows."""
    found = links(conn, What.GROUP, ids)
    members: dict[str, list[tuple[str, str]]] = {link.name: [] for link in found.values()}
    for row in conn.execute(
        sa.select(identity_member.c.group_name, _LINK.id, _LINK.name)
        .join(identity_provided, sa.and_(_LINK.name == identity_member.c.user_name, _LINK.kind == What.USER.value))
        .where(identity_member.c.group_name.in_(list(members)), _KNOWN)
        .order_by(_LINK.id)
    ):
        members[row.group_name].append((row.id, row.name))
    made = []
    for each in ids:
        if each in found:
            names = tuple(members[found[each].name])
            given = TeamGiven(found[each].shown, found[each].external_id, frozenset(id_ for id_, _ in names))
            made.append(Team(found[each], given, names))
    return made


def put_link(conn: sa.Connection, link: Link) -> None:
    """Write that something is the provider's, in place of what its name was by before."""
    forget_link(conn, link.what, link.name)
    conn.execute(
        identity_provided.insert().values(
            id=link.id,
            kind=link.what.value,
            name=link.name,
            shown=link.shown,
            folded=folded(link.shown or link.name),
            external_id=link.external_id,
            created_us=link.created_us,
            changed_us=link.changed_us,
        )
    )


def forget_link(conn: sa.Connection, what: What, name: str) -> None:
    """Nobody has ever heard of it: what a platform file declares is no provider's any more."""
    conn.execute(identity_provided.delete().where(_LINK.kind == what.value, _LINK.name == name))


def delete_link(conn: sa.Connection, link: Link, at_us: int) -> None:
    """The provider does not know it any more, and may make it again."""
    conn.execute(identity_provided.update().where(_LINK.id == link.id).values(deleted_us=at_us))


def provided(conn: sa.Connection, what: What, names: Iterable[str]) -> frozenset[str]:
    """Those of these names that are the provider's now."""
    query = sa.select(_LINK.name).where(_LINK.kind == what.value, _KNOWN)
    return frozenset(conn.scalars(query)) & frozenset(names)


def is_providable(conn: sa.Connection, what: What, name: str) -> bool:
    """Whether the platform file lets the provider take over what is declared there."""
    found = identity_providable.c
    return conn.execute(sa.select(found.name).where(found.kind == what.value, found.name == name)).first() is not None


def put_providable(conn: sa.Connection, what: What, names: Iterable[str]) -> None:
    """Exactly these may be taken over."""
    conn.execute(identity_providable.delete().where(identity_providable.c.kind == what.value))
    rows = [{"kind": what.value, "name": name} for name in names]
    if rows:
        conn.execute(identity_providable.insert(), rows)


def providable(conn: sa.Connection, what: What) -> frozenset[str]:
    """Names that a provider may take over."""
    found = identity_providable.c
    return frozenset(conn.scalars(sa.select(found.name).where(found.kind == what.value)))


def user_like(conn: sa.Connection, name: str) -> str | None:
    """The name of the user that differs from this one in nothing but case, if there is one."""
    found: str | None = conn.scalar(
        sa.select(identity_user.c.name).where(sa.func.lower(identity_user.c.name) == name.lower()).limit(1)
    )
    return found


def has_group(conn: sa.Connection, name: str) -> bool:
    """Whether a group of that name is declared, by whomever."""
    return conn.execute(sa.select(identity_group.c.name).where(identity_group.c.name == name)).first() is not None


def leave(conn: sa.Connection, user: str, changed_by: str) -> None:
    """Take a user out of every group of the provider."""
    ours = sa.select(_LINK.name).where(_LINK.kind == What.GROUP.value, _KNOWN)
    member = identity_member.c
    mine = sa.select(member.group_name).where(member.user_name == user, member.group_name.in_(ours))
    names = list(conn.scalars(mine))
    conn.execute(identity_group.update().where(identity_group.c.name.in_(names)).values(changed_by=changed_by))
    conn.execute(identity_member.delete().where(member.user_name == user, member.group_name.in_(names)))


def _link(row: Any) -> Link:
    return Link(row.id, What(row.kind), row.name, row.shown, row.external_id, row.created_us, row.changed_us)
