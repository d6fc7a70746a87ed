"""Declares roles and grants, and tells which there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mandamus.audit.difference import differences
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Resource
from mandamus.audit.service import Audit
from mandamus.identity import grants_store, store
from mandamus.identity.grants import BUILT_IN, Granted, OwnRole, To
from mandamus.kernel import canonical
from mandamus.kernel.access import Permission, Subject, authorize, requires
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.reader import did_you_mean
from mandamus.store.database import Database, Tx


class Granting:
    """The roles and grants of one home."""

    def __init__(self, db: Database, audit: Audit, clock: Clock) -> None:
        self._db = db
        self._audit = audit
        self._clock = clock

    @requires(Permission.IDENTITY_READ)
    def roles(self, who: Subject) -> list[OwnRole]:  # noqa: ARG002 - a verb's first parameter
        """Every role that was declared, by name; those in `grants.BUILT_IN` need not be."""
        with self._db.read() as conn:
            return grants_store.roles(conn)

    @requires(Permission.IDENTITY_READ)
    def grants(self, who: Subject) -> list[Granted]:
        """Every grant, by name, be it active or not; none that names a place of which the subject may not know."""
        with self._db.read() as conn:
            return [each for each in grants_store.grants(conn) if _may_know(who, each)]

    def apply(self, tx: Tx, who: Subject, roles: Sequence[OwnRole], grants: Sequence[Granted]) -> None:
        """Declare roles and grants, after users and groups: those named become exactly this, others stay as they are.

        Raises ``forbidden`` without ``identity:write``, ``not_found`` for a role, a user or a group nobody declared.
        """
        authorize(who, Permission.IDENTITY_WRITE)
        old_roles = {role.name: role for role in grants_store.roles(tx.conn)}
        old_grants = {each.name: each for each in grants_store.grants(tx.conn)}
        new_roles = [role for role in roles if old_roles.get(role.name) != role]
        new_grants = [each for each in grants if old_grants.get(each.name) != each]
        _check(tx, {*BUILT_IN, *old_roles, *(role.name for role in roles)}, new_grants)
        if not new_roles and not new_grants:
            return
        now_us = self._clock.now_us()
        grants_store.put_roles(tx.conn, new_roles, who.user, now_us)
        grants_store.put_grants(tx.conn, new_grants, who.user, now_us)
        changed = {role.name for role in new_roles}, {each.name for each in new_grants}
        before = _told(
            (role for name, role in old_roles.items() if name in changed[0]),
            (each for name, each in old_grants.items() if name in changed[1]),
        )
        after = _told(new_roles, new_grants)
        data = {"access": canonical.digest_of(after), "changes": differences(before, after)}
        self._audit.record(tx, Event(Kind.ACCESS_APPLIED, who, Resource("identity", "grants"), data=data))


def _may_know(who: Subject, granted: Granted) -> bool:
    if who.everywhere(Permission.AUDIT_READ_ALL):
        return True
    return all(who.may(Permission.IDENTITY_READ, each) for each in granted.projects or ()) and all(
        who.may(Permission.IDENTITY_READ, None, each) for each in granted.environments or ()
    )


def _check(tx: Tx, roles: set[str], grants: Sequence[Granted]) -> None:
    users = {user.name for user in store.list_users(tx.conn)}
    groups = {group.name for group in store.list_groups(tx.conn)}
    for each in grants:
        named = ((each.role, roles, "role"), (each.subject, groups if each.to is To.GROUP else users, each.to.value))
        for name, known, what in named:
            if name not in known:
                raise MandamusError(
                    Code.NOT_FOUND,
                    f"grant {each.name} names the {what} {name}, which is not there",
                    remedy=did_you_mean(name, known, f"declare the {what} in the same file"),
                )


def _told(roles: Iterable[OwnRole], grants: Iterable[Granted]) -> dict[str, Any]:
    """Roles and grants as the log tells of a change: people by the digests of their names."""
    return {
        "roles": {role.name: sorted(each.value for each in role.permissions) for role in roles},
        "grants": {
            each.name: {
                **each.to_json(),
                each.to.value: each.subject if each.to is To.GROUP else canonical.digest_of(each.subject),
            }
            for each in grants
        },
    }
