"""Sign-ins by a provider as rows: what is declared, who is whom, what the provider says of groups, flows under way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from mandamus.identity.sign_in import Device, SignIn, sign_in_from
from mandamus.kernel import canonical
from mandamus.kernel.access import Permission, SignedIn
from mandamus.store.tables.identity import identity_group, identity_user
from mandamus.store.tables.sign_in import (
    device,
    session_authn,
    sign_in,
    sign_in_flow,
    sign_in_member,
    sign_in_subject,
    token_authn,
)

SLOWER_US = 5 * 1_000_000
"""RFC 8628, 3.5: so much longer a device has to wait that asked too soon."""
_ID = 1


@dataclass(frozen=True)
class Flow:
    """A sign-in under way.

    ``path`` is where to go on, ``user`` who has to come back (None for anybody), ``before`` the hash of the session's
    secret whose place the new one takes.
    """

    path: str
    user: str | None
    before: bytes | None
    expires_us: int
    used_us: int | None = None


def get_declared(conn: sa.Connection) -> SignIn | None:
    """The provider, or None where people come in by links alone."""
    found = conn.scalar(sa.select(sign_in.c.declared).where(sign_in.c.id == _ID))
    return None if found is None else sign_in_from(canonical.loads(found))


def put_declared(conn: sa.Connection, declared: SignIn | None) -> None:
    """Declare the provider, or that there is none."""
    conn.execute(sign_in.delete())
    if declared is not None:
        conn.execute(sign_in.insert().values(id=_ID, declared=canonical.dumps(declared.to_json())))


def user_of(conn: sa.Connection, issuer: str, subject: str) -> str | None:
    """Who signed in before as a subject."""
    who: str | None = conn.scalar(
        sa.select(sign_in_subject.c.user_name).where(
            sign_in_subject.c.issuer == issuer, sign_in_subject.c.subject == subject
        )
    )
    return who


def subject_of(conn: sa.Connection, issuer: str, user: str) -> str | None:
    """As which subject somebody signed in before."""
    found: str | None = conn.scalar(
        sa.select(sign_in_subject.c.subject).where(
            sign_in_subject.c.issuer == issuer, sign_in_subject.c.user_name == user
        )
    )
    return found


def bind_subject(conn: sa.Connection, issuer: str, subject: str, user: str, at_us: int) -> None:
    """From now on the subject is this user, and nobody else of this issuer is."""
    values = {"issuer": issuer, "subject": subject, "user_name": user, "first_us": at_us}
    conn.execute(sign_in_subject.insert().values(**values))


def unbind(conn: sa.Connection, issuer: str, user: str, subject: str) -> None:
    """Forget as which subject somebody signed in, and who a subject was: it is declared now."""
    either = sa.or_(sign_in_subject.c.user_name == user, sign_in_subject.c.subject == subject)
    conn.execute(sign_in_subject.delete().where(sign_in_subject.c.issuer == issuer, either))


def put_groups(conn: sa.Connection, user: str, groups: Iterable[str], until_us: int) -> None:
    """Have somebody be in exactly these groups by the provider's word, of those that there are."""
    conn.execute(sign_in_member.delete().where(sign_in_member.c.user_name == user))
    rows = [{"group_name": group, "user_name": user, "until_us": until_us} for group in groups]
    if rows:
        conn.execute(sign_in_member.insert(), rows)


def groups_of(conn: sa.Connection, user: str, now_us: int) -> frozenset[str]:
    """Groups that an active user is in by the provider's word."""
    query = (
        sa.select(sign_in_member.c.group_name)
        .join(identity_group, identity_group.c.name == sign_in_member.c.group_name)
        .join(identity_user, identity_user.c.name == sign_in_member.c.user_name)
        .where(sign_in_member.c.user_name == user, sign_in_member.c.until_us > now_us, identity_user.c.active)
    )
    return frozenset(conn.scalars(query))


def members(conn: sa.Connection, now_us: int) -> list[tuple[str, str]]:
    """``(group, active user)`` of everybody who is in a group by the provider's word."""
    query = (
        sa.select(sign_in_member.c.group_name, sign_in_member.c.user_name)
        .join(identity_group, identity_group.c.name == sign_in_member.c.group_name)
        .join(identity_user, identity_user.c.name == sign_in_member.c.user_name)
        .where(sign_in_member.c.until_us > now_us, identity_user.c.active)
        .order_by(sign_in_member.c.group_name, sign_in_member.c.user_name)
    )
    return [(row.group_name, row.user_name) for row in conn.execute(query)]


def touch_groups(conn: sa.Connection, groups: Iterable[str], who: str) -> None:
    """Write who last said how one gets into groups."""
    changed = identity_group.update().where(identity_group.c.name.in_(sorted(set(groups))))
    conn.execute(changed.values(changed_by=who))


def insert_flow(conn: sa.Connection, state: bytes, flow: Flow, now_us: int) -> None:
    """Write a sign-in that begins; those that came to nothing go."""
    conn.execute(sign_in_flow.delete().where(sign_in_flow.c.expires_us <= now_us))
    values = {"path": flow.path, "user_name": flow.user, "before": flow.before, "expires_us": flow.expires_us}
    conn.execute(sign_in_flow.insert().values(state=state, **values))


def use_flow(conn: sa.Connection, state: bytes, now_us: int) -> Flow | None:
    """The sign-in of a state, which is used up; None for one that is unknown, was used, or has expired."""
    unused = sign_in_flow.update().where(
        sign_in_flow.c.state == state, sign_in_flow.c.used_us.is_(None), sign_in_flow.c.expires_us > now_us
    )
    if conn.execute(unused.values(used_us=now_us)).rowcount != 1:
        return None
    row = conn.execute(sa.select(sign_in_flow).where(sign_in_flow.c.state == state)).one()
    return Flow(row.path, row.user_name, row.before, row.expires_us, row.used_us)


def insert_authn(conn: sa.Connection, session: str, issuer: str, at_us: int | None, acr: str) -> None:
    """Write how the person of a session showed who they are."""
    conn.execute(session_authn.insert().values(session=session, issuer=issuer, at_us=at_us, acr=acr))


def authn_of(conn: sa.Connection, session: str) -> SignedIn | None:
    """When and how the person of a session showed who they are; None when no provider was asked."""
    row = conn.execute(sa.select(session_authn).where(session_authn.c.session == session)).one_or_none()
    return None if row is None or row.at_us is None else SignedIn(row.at_us, row.acr)


def came_by(conn: sa.Connection, session: str) -> bool:
    """Whether a provider brought somebody into a session."""
    return conn.scalar(sa.select(session_authn.c.session).where(session_authn.c.session == session)) is not None


def insert_device(conn: sa.Connection, made: Device, code: bytes, typed: bytes, interval_s: int) -> None:
    """Write a device that asks; ``code`` and ``typed`` are the SHA-256 of its two codes."""
    allowed = None if made.permissions is None else canonical.dumps(sorted(each.value for each in made.permissions))
    values = {
        **vars(made),
        "permissions": allowed,
        "user_name": None,
        "authn": None,
        "interval_us": interval_s * 1_000_000,
    }
    del values["user"]
    conn.execute(device.insert().values(**values, device_hash=code, user_hash=typed))


def find_device(conn: sa.Connection, hashed: bytes, *, typed: bool = True) -> Device | None:
    """The device of a code that a person typed, or of its own."""
    column = device.c.user_hash if typed else device.c.device_hash
    row = conn.execute(sa.select(device).where(column == hashed)).one_or_none()
    if row is None:
        return None
    allowed = None if row.permissions is None else frozenset(map(Permission, canonical.loads(row.permissions)))
    return Device(
        row.id,
        row.name,
        row.address,
        allowed,
        row.created_us,
        row.expires_us,
        row.state,
        row.user_name,
        row.authn or "",
    )


def count_devices(conn: sa.Connection) -> int:
    """How many there are."""
    return int(conn.scalar(sa.select(sa.func.count()).select_from(device)) or 0)


def drop_devices(conn: sa.Connection, before_us: int) -> None:
    """Forget those whose time was over before a moment, with what is known of where they asked from."""
    conn.execute(device.delete().where(device.c.expires_us <= before_us))


def drop_devices_of(conn: sa.Connection, user: str) -> None:
    """Forget those that somebody has answered: one that was let in and has not asked again yet gets no token."""
    conn.execute(device.delete().where(device.c.user_name == user))


def poll_device(conn: sa.Connection, id_: str, now_us: int) -> bool:
    """Write that a device asked again; False when that was too soon, for which it has to wait 5 s longer each time."""
    patient = sa.or_(device.c.asked_us.is_(None), device.c.asked_us + device.c.interval_us <= now_us)
    asked = device.update().where(device.c.id == id_)
    if conn.execute(asked.where(patient).values(asked_us=now_us)).rowcount == 1:
        return True
    conn.execute(asked.values(asked_us=now_us, interval_us=device.c.interval_us + SLOWER_US))
    return False


def settle_device(conn: sa.Connection, id_: str, before: str, after: str, user: str, authn: str) -> bool:
    """Move a device from one state to the next, and forget where it asked from; False when somebody else was first."""
    moved = device.update().where(device.c.id == id_, device.c.state == before)
    return conn.execute(moved.values(state=after, user_name=user, authn=authn, address="")).rowcount == 1


def insert_token_authn(conn: sa.Connection, token: str, authn: str) -> None:
    """Write how whoever got a token had come in, when it was not verified who that was."""
    conn.execute(token_authn.insert().values(token=token, authn=authn))


def token_authn_of(conn: sa.Connection, token: str) -> str | None:
    """How whoever got a token had come in, when it was not verified who that was; else None."""
    found: str | None = conn.scalar(sa.select(token_authn.c.authn).where(token_authn.c.token == token))
    return found
