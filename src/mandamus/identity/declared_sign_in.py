"""Declares by which provider people sign in, and tells the log of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mandamus.audit.difference import differences
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Resource
from mandamus.audit.service import Audit
from mandamus.identity import sign_in_store, store
from mandamus.identity.sign_in import SignIn
from mandamus.kernel import canonical
from mandamus.kernel.access import Permission, Subject, authorize
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database, Tx


class DeclaredSignIn:
    """The provider of one home, if there is one."""

    def __init__(self, db: Database, audit: Audit) -> None:
        self._db = db
        self._audit = audit

    def get(self) -> SignIn | None:
        """The provider; None where people come in by links alone."""
        with self._db.read() as conn:
            return sign_in_store.get_declared(conn)

    def apply(self, tx: Tx, who: Subject, declared: SignIn | None) -> None:
        """Declare how people sign in; whoever does is a maker of what the groups they open approve.

        Raises ``forbidden``, and ``not_found`` for a group that nobody declared.
        """
        authorize(who, Permission.IDENTITY_WRITE)
        before = sign_in_store.get_declared(tx.conn)
        if declared == before:
            return
        if declared is not None:
            known = {group.name for group in store.list_groups(tx.conn)}
            for group in declared.groups.values():
                if group not in known:
                    raise MandamusError(
                        Code.NOT_FOUND,
                        f"`sign_in` lets people into the group {group}, which is none of this home",
                        remedy=f"add `{group}: []` under `groups`",
                    )
        sign_in_store.put_declared(tx.conn, declared)
        # Not only whom a mapping names: also another provider, claim or time says anew who is in.
        opened = {group for each in (before, declared) if each is not None for group in each.groups.values()}
        sign_in_store.touch_groups(tx.conn, opened, store.by(who))
        changes = differences(_told(before), _told(declared))
        event = Event(Kind.SIGN_IN_APPLIED, who, Resource("identity", "sign-in"), data={"changes": changes})
        self._audit.record(tx, event)


def _told(declared: SignIn | None) -> dict[str, Any]:
    """What is declared, as the log tells of it: people by the digest of who they are there."""
    if declared is None:
        return {}
    subjects = {user: canonical.digest_of(subject) for user, subject in declared.subjects.items()}
    return {**replace(declared, subjects={}).to_json(), "subjects": canonical.digest_of(subjects)}
