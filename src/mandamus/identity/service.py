"""Who acts: declares users and groups, and makes the Subject of everyone who comes through a door."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import sqlalchemy as sa

from mandamus.audit.catalogue import VERBS
from mandamus.audit.difference import differences
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Outcome, Resource
from mandamus.audit.secret_forms import without_secrets
from mandamus.audit.service import Audit
from mandamus.identity import sign_in_store, store
from mandamus.identity.grants_store import grants_of
from mandamus.identity.model import OS_USER, USER_NAME, Group, Nature, Role, User, claimed_by
from mandamus.identity.provisioning import beside_provider
from mandamus.kernel import canonical
from mandamus.kernel.access import (
    AUDITOR,
    MEMBER,
    OWNER,
    PEOPLE_ONLY,
    Area,
    Grant,
    Permission,
    Subject,
    authorize,
    given,
    requires,
)
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.reader import did_you_mean
from mandamus.store.database import Database, Tx

_MAY: Mapping[Role, frozenset[Permission]] = {Role.MEMBER: MEMBER, Role.AUDITOR: AUDITOR, Role.NONE: frozenset()}


def _told(users: Iterable[User], groups: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    """Users and groups as the log tells of a change: people by the digests of their names."""
    return {
        "users": {
            canonical.digest_of(user.name): {
                "active": user.active,
                "role": user.role.value,
                "projects": user.projects,
                **({} if user.nature is Nature.PERSON else _program(user)),
            }
            for user in users
        },
        "groups": {name: canonical.digest_of(sorted(members)) for name, members in groups.items()},
    }


def _program(user: User) -> dict[str, Any]:
    return {"nature": user.nature.value, "program": user.name, "owner": canonical.digest_of(user.owner)}


class Identity:
    """The users of one home."""

    def __init__(self, db: Database, audit: Audit, clock: Clock) -> None:
        self._db = db
        self._audit = audit
        self._clock = clock

    @requires(Permission.IDENTITY_READ)
    def users(self, who: Subject) -> list[User]:
        """Every user, by name; of the projects that they are held to those of which the subject may know."""
        with self._db.read() as conn:
            found = store.list_users(conn)
        if who.everywhere(Permission.IDENTITY_READ) or who.everywhere(Permission.AUDIT_READ_ALL):
            return found
        return [replace(each, projects=_known_to(who, each.projects)) for each in found]

    @requires(Permission.IDENTITY_READ)
    def groups(self, who: Subject) -> list[Group]:
        """Every group with its members, by name."""
        with self._db.read() as conn:
            told = sign_in_store.members(conn, self._clock.now_us())
            return [
                replace(
                    group, members=tuple(sorted({*group.members, *(user for name, user in told if name == group.name)}))
                )
                for group in store.list_groups(conn)
            ]

    def forget(self, tx: Tx, name: str) -> bool:
        """Delete a user's display name and e-mail address, in the caller's transaction; whether there was either.

        The caller asks whether that may be, and records it.
        """
        user = store.get_user(tx.conn, name)
        if user is None or not (user.display_name or user.email):
            return False
        store.put_users(tx.conn, [replace(user, display_name="", email="")], self._clock.now_us())
        return True

    def embedded(self, os_user: str, claimed: str | None, is_owner: bool) -> Subject:  # noqa: FBT001 - one bit of who asks
        """The Subject of somebody at the keyboard.

        The owner of the home may every verb, a known user what their role may; only the owner may claim to be someone
        else (``--as``), which the Subject says for ever after. Raises ``forbidden`` for anyone else, ``not_found``
        for a claim of a name nobody has.
        """
        if claimed is not None and claimed != os_user:
            return self._recorded_claim(os_user, claimed, is_owner=is_owner)
        with self._db.read() as conn:
            user = store.get_user(conn, os_user)
            groups = self._groups_of(conn, os_user)
        if not is_owner and (user is None or not user.active):
            raise MandamusError(
                Code.FORBIDDEN,
                f"{os_user} is no active user of this home",
                remedy=f"ask its owner to add `{os_user}` under `users` and to run `mandamus env apply`",
                context={"user": os_user},
            )
        if is_owner or user is None:
            name = user.display_name if user is not None else ""
            return Subject(os_user, OS_USER, groups, OWNER, name)
        return self._subject(user, OS_USER, groups)

    def active(self, name: str) -> Subject | None:
        """The Subject of a user with all they may, however they come in; None for one who may do nothing.

        Whoever opens a door says how it was found out who they are.
        """
        with self._db.read() as conn:
            owner = store.get_owner(conn)
            user = store.get_user(conn, name)
            groups = self._groups_of(conn, name)
        if user is not None and not user.active:
            return None
        if name == owner:
            return Subject(name, OS_USER, groups, OWNER, user.display_name if user else "")
        return None if user is None else self._subject(user, OS_USER, groups)

    def groups_of(self, user: str) -> frozenset[str]:
        """Names of the groups an active user is in."""
        with self._db.read() as conn:
            return self._groups_of(conn, user)

    def members(self, group: str) -> frozenset[str]:
        """Names of the active users in a group; empty for a group nobody declared."""
        with self._db.read() as conn:
            told = sign_in_store.members(conn, self._clock.now_us())
            return store.members(conn, group) | {user for name, user in told if name == group}

    def memberships(self) -> list[tuple[str, str, int | None]]:
        """Every group with each active user in it, and since when they are; None when that was before it was kept."""
        with self._db.read() as conn:
            kept = store.memberships(conn)
            told = sign_in_store.members(conn, self._clock.now_us())
        known = {(group, user) for group, user, _ in kept}
        return sorted(
            [*kept, *((group, user, None) for group, user in told if (group, user) not in known)],
            key=lambda each: each[:2],
        )

    def changed_by(self, group: str) -> str | None:
        """Who last said who is in a group: a maker of every change that group is asked about."""
        with self._db.read() as conn:
            return store.changed_by(conn, group)

    def changers(self, group: str) -> frozenset[str]:
        """The same, with the people who answer for it when that was a program."""
        with self._db.read() as conn:
            return store.changers(conn, group)

    def owner(self) -> str | None:
        """The OS user who made the home, or None before it is made."""
        with self._db.read() as conn:
            return store.get_owner(conn)

    def create_home(self, tx: Tx, owner: str) -> None:
        """Record who made the home; once. Free when the same user made it before, ``conflict`` when another did."""
        found = store.get_owner(tx.conn)
        if found == owner:
            return
        if found is not None:
            raise MandamusError(
                Code.CONFLICT,
                f"this home belongs to {found}",
                remedy="give a home of your own with --home",
                context={"owner": found},
            )
        store.insert_home(tx.conn, owner, self._clock.now_us())
        who = Subject(owner, OS_USER)
        self._audit.record(tx, Event(Kind.HOME_CREATED, who, Resource("home", "home")))

    def apply(self, tx: Tx, who: Subject, users: Sequence[User], groups: Sequence[Group]) -> None:
        """Declare users and groups: those named become exactly this, others stay as they are.

        Raises ``forbidden`` without ``identity:write``, ``not_found`` for a member who is no user.
        """
        authorize(who, Permission.IDENTITY_WRITE)
        users = beside_provider(tx, users, groups)
        before_users = {user.name: user for user in store.list_users(tx.conn)}
        before_groups = {group.name: frozenset(group.members) for group in store.list_groups(tx.conn)}
        changed_users = [user for user in users if before_users.get(user.name) != user]
        changed_groups = [group for group in groups if before_groups.get(group.name) != frozenset(group.members)]
        _check_natures(before_users, users)
        people = {user.name for user in [*before_users.values(), *users] if user.nature is Nature.PERSON}
        self._check_members(people, changed_groups)
        if not changed_users and not changed_groups:
            return
        store.put_users(tx.conn, changed_users, self._clock.now_us())
        store.put_groups(tx.conn, changed_groups, store.by(who), self._clock.now_us())
        # Digests, not lists: a leaf is at most 64 KiB, and who is in a group may have to be erased one day.
        data = {
            "users": canonical.digest_of(sorted(user.name for user in changed_users)),
            "groups": canonical.digest_of({group.name: sorted(group.members) for group in changed_groups}),
            "changes": differences(
                _told(
                    [before_users[user.name] for user in changed_users if user.name in before_users],
                    {group.name: before_groups[group.name] for group in changed_groups if group.name in before_groups},
                ),
                _told(changed_users, {group.name: group.members for group in changed_groups}),
            ),
        }
        self._audit.record(tx, Event(Kind.IDENTITY_APPLIED, who, Resource("identity", "users"), data=data))

    def _groups_of(self, conn: sa.Connection, user: str) -> frozenset[str]:
        """The groups somebody is in: by declaration, and by the word of the provider that they signed in by."""
        return store.groups_of(conn, user) | sign_in_store.groups_of(conn, user, self._clock.now_us())

    def _check_members(self, known: set[str], groups: Sequence[Group]) -> None:
        for group in groups:
            for member in group.members:
                if member not in known:
                    raise MandamusError(
                        Code.NOT_FOUND,
                        f"group {group.name} has the member {member}, who is no user",
                        remedy=did_you_mean(member, known, f"add `{member}` under `users`"),
                    )

    def _recorded_claim(self, os_user: str, claimed: str, *, is_owner: bool) -> Subject:
        """Also a claim that is refused stands in the log, by whoever the operating system says it was."""
        try:
            who = self._claimed(os_user, claimed, is_owner=is_owner)
        except MandamusError as error:
            why = without_secrets(error.message)
            self._tell_claim(Subject(os_user, OS_USER), os_user, claimed, Outcome.DENIED, why)
            raise
        self._tell_claim(who, os_user, claimed, Outcome.OK)
        return who

    def _tell_claim(self, who: Subject, os_user: str, claimed: str, outcome: Outcome, why: str = "") -> None:
        name = without_secrets(claimed) if USER_NAME.fullmatch(claimed) else "no-name"
        event = Event(
            Kind.IDENTITY_CLAIMED,
            who,
            Resource("user", name),
            outcome,
            why=why,
            data={"claimed": name, "os_user": os_user},
        )
        with self._db.begin("identity.claimed") as tx:
            self._audit.record(tx, event)

    def _claimed(self, os_user: str, claimed: str, *, is_owner: bool) -> Subject:
        if not is_owner:
            raise MandamusError(
                Code.FORBIDDEN,
                f"{os_user} may not act as {claimed}: only the owner of the home may",
                remedy="leave out --as, and act as yourself",
                context={"user": os_user, "claimed": claimed},
            )
        with self._db.read() as conn:
            user = store.get_user(conn, claimed)
            groups = self._groups_of(conn, claimed)
            known = [each.name for each in store.list_users(conn)] if user is None else []
        if user is None:
            raise MandamusError(
                Code.NOT_FOUND,
                f"there is no user {claimed} in this home",
                remedy=did_you_mean(claimed, known, "add them under `users` and run `mandamus env apply`"),
                context={"user": claimed},
            )
        if not user.active:
            raise MandamusError(
                Code.FORBIDDEN, f"{claimed} is not active", remedy="act as another user", context={"user": claimed}
            )
        return self._subject(user, claimed_by(os_user), groups)

    def _subject(self, user: User, authn: str, groups: frozenset[str]) -> Subject:
        """What a user may now: that of their role in its projects, and of each grant in its place while it holds."""
        area = Area(None if user.projects is None else frozenset(user.projects))
        grants = [Grant(user.role.value, _MAY[user.role], area)]
        now_us = self._clock.now_us()
        with self._db.read() as conn:
            declared = list(grants_of(conn, user.name, groups))
        grants += [granted.grant(permissions) for granted, permissions in declared if granted.holds(now_us)]
        program = user.nature is not Nature.PERSON
        if program:
            grants = [replace(grant, permissions=grant.permissions - PEOPLE_ONLY) for grant in grants]
        made = Subject(
            user.name,
            authn,
            groups,
            given(grants),
            user.display_name,
            grants=tuple(grants),
            program=program,
            owners=frozenset({user.owner} if user.owner else ()),
        )
        watched = any(grant.role == Role.AUDITOR.value for grant in grants)
        return replace(made, told=partial(self._read, made)) if watched else made

    def _read(self, who: Subject, verb: str, about: str) -> None:
        """Record what an auditor reads; a verb that leaves an event of its own tells more by that."""
        if isinstance(VERBS.get(verb), Kind):
            return
        event = Event(
            Kind.ACCESS_READ, who, Resource("access", verb), data={"verb": verb, "about": without_secrets(about)}
        )
        with self._db.begin("access.read") as tx:
            self._audit.record(tx, event)


def _known_to(who: Subject, projects: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return None if projects is None else tuple(each for each in projects if who.may(Permission.IDENTITY_READ, each))


def _check_natures(before: Mapping[str, User], users: Sequence[User]) -> None:
    """A name in the log stays what it was, a person's or a program's; and people answer for programs."""
    after = {**before, **{user.name: user for user in users}}
    for user in users:
        known = before.get(user.name)
        if known is not None and known.nature is not user.nature:
            raise MandamusError(
                Code.CONFLICT,
                f"{user.name} is a {known.nature.value.replace('_', ' ')} of this home, and stays one",
                remedy="choose another name",
                context={"user": user.name},
            )
        owner = after.get(user.owner)
        if user.nature is not Nature.PERSON and (owner is None or owner.nature is not Nature.PERSON):
            raise MandamusError(
                Code.NOT_FOUND,
                f"{user.name} has the owner {user.owner}, who is no user",
                remedy=did_you_mean(user.owner, list(after), f"add `{user.owner}` under `users`"),
            )
