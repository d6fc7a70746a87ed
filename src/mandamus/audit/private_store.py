"""What is kept apart from leaves, sealed with the person's key, and the holds that keep it from being erased."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from mandamus.audit.leaf import SALT_BYTES, decode
from mandamus.store.data_keys import DataKeys, Sealed
from mandamus.store.tables.audit import audit_event, audit_hold, audit_private


@dataclass(frozen=True)
class Hold:
    """A legal hold: nothing about ``value`` is erased or pruned until it is released.

    ``scope`` says what the value is: a user (``subject``), a ``run`` or a ``project``.
    """

    name: str
    scope: str
    value: str
    reason: str
    by: str
    at_us: int


_OF_SUBJECT = sa.select(audit_event.c.event_id).where(audit_event.c.subject == sa.bindparam("who"))
_LEAVES_OF_SUBJECT = sa.select(audit_event.c.leaf).where(audit_event.c.subject == sa.bindparam("who"))
_COUNTS = (
    sa.select(audit_private.c.field, sa.func.count().label("rows"))
    .where(audit_private.c.event_id.in_(_OF_SUBJECT))
    .group_by(audit_private.c.field)
)
_ERASE = sa.delete(audit_private).where(audit_private.c.event_id.in_(_OF_SUBJECT))
_HOLDS = sa.select(audit_hold).order_by(audit_hold.c.name)
_VETO = _HOLDS.where(
    sa.or_(
        sa.and_(audit_hold.c.scope == "subject", audit_hold.c.value == sa.bindparam("who")),
        sa.and_(
            audit_hold.c.scope == "run",
            sa.exists().where(audit_event.c.run == audit_hold.c.value, audit_event.c.subject == sa.bindparam("who")),
        ),
    )
)


def seal(people: DataKeys, subject: str, leaf_hash: bytes, field: str, salt: bytes, value: str) -> Sealed:
    """Salt and value of the commitment in a field of a leaf, for the person's key alone."""
    return people.seal(subject, leaf_hash + field.encode(), salt + value.encode())


def unseal(people: DataKeys, subject: str, leaf_hash: bytes, field: str, sealed: Sealed) -> tuple[bytes, str] | None:
    """Salt and value again, or None when the person's key is destroyed; raises ``audit_tampered``."""
    opened = people.open(subject, leaf_hash + field.encode(), sealed)
    return None if opened is None else (opened[:SALT_BYTES], opened[SALT_BYTES:].decode(errors="replace"))


def erase(conn: sa.Connection, subject: str) -> Mapping[str, int]:
    """Delete salt and value of each commitment in events by that user; how many there were, by field."""
    found = {row.field: row.rows for row in conn.execute(_COUNTS, {"who": subject})}
    if conn.dialect.name == "sqlite":
        conn.exec_driver_sql("PRAGMA secure_delete = ON")  # else what was deleted stays in the file until overwritten
    conn.execute(_ERASE, {"who": subject})
    return found


def holds(conn: sa.Connection) -> list[Hold]:
    """Every hold, by name."""
    return [Hold(*row) for row in conn.execute(_HOLDS)]


def vetoes(conn: sa.Connection, subject: str) -> list[str]:
    """Names of the holds on a user, and on a run or a project in which the user did anything."""
    found = {row.name for row in conn.execute(_VETO, {"who": subject})}
    held = {each.value: each.name for each in holds(conn) if each.scope == "project"}
    if held:
        for leaf in conn.scalars(_LEAVES_OF_SUBJECT, {"who": subject}):
            found.update(held[name] for name in [decode(leaf)["project"]] if name in held)
    return sorted(found)


def add_hold(conn: sa.Connection, hold: Hold) -> None:
    """Write a hold; its name must be free."""
    conn.execute(
        sa.insert(audit_hold).values(
            name=hold.name, scope=hold.scope, value=hold.value, reason=hold.reason, by=hold.by, at_us=hold.at_us
        )
    )


def drop_hold(conn: sa.Connection, name: str) -> bool:
    """Delete a hold; False when there is none of that name."""
    return conn.execute(sa.delete(audit_hold).where(audit_hold.c.name == name)).rowcount > 0
