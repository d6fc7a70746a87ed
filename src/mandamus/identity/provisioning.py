"""What a provider of identities may do: make, change and end users and groups that are its own, each time an event.

It cannot touch the owner of the home, a name of the platform's, or whom the platform file declares, unless that file
says so: else whoever holds the provider's token could become them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from mandamus.audit.difference import differences
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Resource
from mandamus.audit.service import Audit
from mandamus.identity import kill_store, provided_store, store
from mandamus.identity.kill_store import Ended
from mandamus.identity.model import Group, Nature, User
from mandamus.identity.provided import (
    Field,
    Link,
    Person,
    PersonChange,
    PersonGiven,
    Team,
    TeamChange,
    TeamGiven,
    What,
    checked_person,
    checked_team,
    folded,
    group_name,
    invalid,
)
from mandamus.kernel import canonical
from mandamus.kernel.access import Permission, Subject, requires
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Entropy, Ids
from mandamus.store.database import Database, Tx

T = TypeVar("T")

Where = Mapping[Field, Any]


class Provisioning:
    """The users and groups of one home that come from a provider."""

    def __init__(self, db: Database, audit: Audit, clock: Clock, entropy: Entropy) -> None:
        self._db = db
        self._audit = audit
        self._clock = clock
        self._ids = Ids(clock, entropy)

    @requires(Permission.IDENTITY_PROVISION)
    def persons(self, _who: Subject, where: Where, start: int, count: int) -> tuple[list[Person], int]:
        """The provider's users that fit, oldest first, from ``start`` (0 is the first), and how many fit in all."""
        with self._db.read() as conn:
            found, total = provided_store.find(conn, What.USER, where, start, count)
            return provided_store.persons(conn, found), total

    @requires(Permission.IDENTITY_PROVISION)
    def teams(self, _who: Subject, where: Where, start: int, count: int) -> tuple[list[Team], int]:
        """The provider's groups that fit, oldest first, from ``start`` (0 is the first), and how many fit in all."""
        with self._db.read() as conn:
            found, total = provided_store.find(conn, What.GROUP, where, start, count)
            return provided_store.teams(conn, found), total

    @requires(Permission.IDENTITY_PROVISION)
    def person(self, _who: Subject, id_: str) -> Person:
        """One of the provider's users; raises ``not_found``."""
        with self._db.read() as conn:
            return _one(provided_store.persons(conn, [id_]), id_)

    @requires(Permission.IDENTITY_PROVISION)
    def team(self, _who: Subject, id_: str) -> Team:
        """One of the provider's groups; raises ``not_found``."""
        with self._db.read() as conn:
            return _one(provided_store.teams(conn, [id_]), id_)

    @requires(Permission.IDENTITY_PROVISION)
    def create_person(self, who: Subject, given: PersonGiven) -> Person:
        """Make a user, or take one over that the platform file leaves to the provider; raises ``conflict``."""
        checked_person(given)
        with self._db.begin("identity.provisioned") as tx:
            link = self._new_link(tx, What.USER, given.name, "", given.external_id)
            known = store.get_user(tx.conn, link.name)
            base = known or User(link.name)
            # What a platform file said of the user beside this, role and projects, stays.
            made = replace(base, display_name=given.display_name, email=given.email, active=given.active)
            store.put_users(tx.conn, [made], self._clock.now_us())
            provided_store.put_link(tx.conn, link)
            ended = None if given.active else kill_store.end_all(tx.conn, link.name, link.created_us)
            self._record(tx, who, link, "created", {"active": None}, {"active": given.active}, ended)
            return _one(provided_store.persons(tx.conn, [link.id]), link.id)

    @requires(Permission.IDENTITY_PROVISION)
    def change_person(self, who: Subject, id_: str, change: PersonChange) -> Person:
        """Make a user as the provider wants them; one who is no longer active is shut out at once and for good.

        Raises ``not_found`` and what ``change`` does; nothing is written when nothing is different.
        """
        with self._db.begin("identity.provisioned") as tx:
            before = _one(provided_store.persons(tx.conn, [id_]), id_)
            given = checked_person(change(before))
            if given == before.given:
                return before
            if given.name != before.given.name:
                raise invalid(
                    "userName stands in the log and stays",
                    "deactivate this user, and create one of the new name",
                    "mutability",
                )
            link = replace(before.link, external_id=given.external_id, changed_us=self._clock.now_us())
            user = store.get_user(tx.conn, link.name)
            assert user is not None  # noqa: S101 - a link is of a user
            changed = replace(user, display_name=given.display_name, email=given.email, active=given.active)
            store.put_users(tx.conn, [changed], self._clock.now_us())
            provided_store.put_link(tx.conn, link)
            ended = None if given.active else kill_store.end_all(tx.conn, link.name, link.changed_us)
            did = "changed"
            if given.active != before.given.active:
                did = "activated" if given.active else "deactivated"
            self._record(tx, who, link, did, {"active": before.given.active}, {"active": given.active}, ended)
            return _one(provided_store.persons(tx.conn, [id_]), id_)

    @requires(Permission.IDENTITY_PROVISION)
    def remove_person(self, who: Subject, id_: str, change: PersonChange) -> None:
        """Deactivate a user, who leaves the provider's groups; the name stays, for it stands in the log."""
        with self._db.begin("identity.provisioned") as tx:
            before = _one(provided_store.persons(tx.conn, [id_]), id_)
            change(before)
            now_us = self._clock.now_us()
            user = store.get_user(tx.conn, before.link.name)
            assert user is not None  # noqa: S101 - a link is of a user
            store.put_users(tx.conn, [replace(user, active=False)], self._clock.now_us())
            provided_store.leave(tx.conn, user.name, store.by(who))
            ended = kill_store.end_all(tx.conn, user.name, now_us)
            provided_store.delete_link(tx.conn, before.link, now_us)
            self._record(tx, who, before.link, "deleted", {"active": user.active}, {"active": False}, ended)

    @requires(Permission.IDENTITY_PROVISION)
    def create_team(self, who: Subject, given: TeamGiven) -> Team:
        """Make a group, or take one over that the platform file leaves to the provider; raises ``conflict``."""
        checked_team(given)
        with self._db.begin("identity.provisioned") as tx:
            link = self._new_link(tx, What.GROUP, group_name(given.shown), given.shown, given.external_id)
            self._put_members(tx, who, link, given.members)
            provided_store.put_link(tx.conn, link)
            self._record(tx, who, link, "created", {}, _told(given.members))
            return _one(provided_store.teams(tx.conn, [link.id]), link.id)

    @requires(Permission.IDENTITY_PROVISION)
    def change_team(self, who: Subject, id_: str, change: TeamChange) -> Team:
        """Make a group as the provider wants it: who says so is a maker of every change it is asked about.

        Raises ``not_found`` and what ``change`` does; nothing is written when nothing is different.
        """
        with self._db.begin("identity.provisioned") as tx:
            before = _one(provided_store.teams(tx.conn, [id_]), id_)
            given = checked_team(change(before))
            if given == before.given:
                return before
            if group_name(given.shown) != before.link.name:
                raise invalid(
                    f"policy and environments know this group as {before.link.name}",
                    "keep its displayName, or delete it and create another",
                    "mutability",
                )
            link = replace(
                before.link, shown=given.shown, external_id=given.external_id, changed_us=self._clock.now_us()
            )
            if given.members != before.given.members:
                self._put_members(tx, who, link, given.members)
            provided_store.put_link(tx.conn, link)
            self._record(tx, who, link, "changed", _told(before.given.members), _told(given.members))
            return _one(provided_store.teams(tx.conn, [id_]), id_)

    @requires(Permission.IDENTITY_PROVISION)
    def remove_team(self, who: Subject, id_: str, change: TeamChange) -> None:
        """Leave a group without members; its name stays, for rules may ask for it."""
        with self._db.begin("identity.provisioned") as tx:
            before = _one(provided_store.teams(tx.conn, [id_]), id_)
            change(before)
            store.put_groups(tx.conn, [Group(before.link.name)], store.by(who), self._clock.now_us())
            provided_store.delete_link(tx.conn, before.link, self._clock.now_us())
            self._record(tx, who, before.link, "deleted", _told(before.given.members), _told(()))

    def _new_link(self, tx: Tx, what: What, name: str, shown: str, external_id: str | None) -> Link:
        """A link for a name that is free; raises ``conflict`` for one that is not the provider's to take."""
        now_us = self._clock.now_us()
        conn = tx.conn
        if what is What.USER:
            owner = store.get_owner(conn)
            if owner is not None and folded(name) == folded(owner):
                raise _taken(name, "is the owner of this home")
            # Also a name that differs in nothing but case is taken: nobody could tell the two apart.
            name = provided_store.user_like(conn, name) or name
            known = store.get_user(conn, name)
            if known is not None and known.nature is not Nature.PERSON:
                raise _taken(name, "is a program")
            there = known is not None
        else:
            there = provided_store.has_group(conn, name)
        found = provided_store.link_of(conn, what, name)
        if found is not None and found[1]:
            raise _taken(name, "is there already")
        if there and found is None and not provided_store.is_providable(conn, what, name):
            raise _taken(name, "is declared in the platform file, which does not leave it to a provider")
        prefix = "scu" if what is What.USER else "scg"
        return Link(self._ids.new(prefix), what, name, shown, external_id, now_us, now_us)

    def _put_members(self, tx: Tx, who: Subject, link: Link, members: Iterable[str]) -> None:
        ids = frozenset(members)
        found = provided_store.links(tx.conn, What.USER, ids)
        unknown = sorted(ids - found.keys())
        if unknown:
            raise invalid(f"there is no user {unknown[0][:60]!r} to be a member", "create the user first")
        names = tuple(sorted(each.name for each in found.values()))
        store.put_groups(tx.conn, [Group(link.name, names)], store.by(who), self._clock.now_us())

    def _record(
        self,
        tx: Tx,
        who: Subject,
        link: Link,
        did: str,
        before: Mapping[str, Any],
        after: Mapping[str, Any],
        ended: Ended | None = None,
    ) -> None:
        data = {
            "what": link.what.value,
            "name": link.name,
            "id": link.id,
            "did": did,
            "changes": differences(before, after),
            "sessions": ended.sessions if ended else 0,
            "tokens": ended.tokens if ended else 0,
        }
        resource = Resource(link.what.value, link.name)
        self._audit.record(tx, Event(Kind.IDENTITY_PROVISIONED, who, resource, data=data))


def beside_provider(tx: Tx, users: Sequence[User], groups: Sequence[Group]) -> list[User]:
    """Users as a platform file declares them, where a provider has its say too.

    Of a provider's user the file says role and projects, the provider name, address and whether they are active: else
    applying the file again would let in whom the provider shut out. Raises ``conflict`` for a provider's group.
    """
    conn = tx.conn
    theirs = sorted(provided_store.provided(conn, What.GROUP, (group.name for group in groups)))
    if theirs:
        raise MandamusError(
            Code.CONFLICT,
            f"who is in the group {theirs[0]} is said by your provider of identities",
            remedy="take it out of `groups`, or delete it at the provider first",
            context={"group": theirs[0]},
        )
    for group in groups:
        provided_store.forget_link(conn, What.GROUP, group.name)
    provided = provided_store.provided(conn, What.USER, (user.name for user in users))
    made = []
    for user in users:
        now = store.get_user(conn, user.name) if user.name in provided else None
        if now is None:
            provided_store.forget_link(conn, What.USER, user.name)
            made.append(user)
        else:
            made.append(replace(user, display_name=now.display_name, email=now.email, active=now.active))
    return made


def _told(members: Iterable[str]) -> dict[str, Any]:
    """Who is in a group, as the log tells of it: how many, and the digest of their ids."""
    ids = sorted(members)
    return {"members": len(ids), "of": canonical.digest_of(ids)}


def _one(found: list[T], id_: str) -> T:
    if not found:
        raise MandamusError(
            Code.NOT_FOUND, f"there is nothing of the id {id_[:60]!r}", remedy="look it up by a filter first"
        )
    return found[0]


def _taken(name: str, why: str) -> MandamusError:
    return MandamusError(
        Code.CONFLICT,
        f"{name} {why}",
        remedy="choose another name, or let a provider have it by `provisioning` in the platform file",
        context={"name": name, "scim_type": "uniqueness"},
    )
