"""The access review: who may do what where, who may approve what, by which role and group, and since when."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Resource
from mandamus.audit.service import Audit
from mandamus.catalog.model import Environment
from mandamus.catalog.service import Catalog
from mandamus.identity.granting import Granting
from mandamus.identity.grants import BUILT_IN, Granted, To
from mandamus.identity.model import Nature, Role, User
from mandamus.identity.service import Identity
from mandamus.kernel import canonical
from mandamus.kernel.access import HOME_WIDE, OWNER, PEOPLE_ONLY, Permission, Subject, requires
from mandamus.kernel.clock import Clock, rfc3339
from mandamus.store.database import Database

FORMAT = "access-review/1"
COLUMNS = (
    "kind",
    "user",
    "nature",
    "role",
    "permissions",
    "projects",
    "environments",
    "when",
    "until",
    "through",
    "group",
    "count",
    "may_decide",
    "since",
    "by",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class May:
    """What somebody may, by one role in one place; projects and environments are None for all.

    ``through`` is what gives it: that they own the home, their own role, or a grant, which may be to a ``group``.
    ``since_us`` is since when all of that is so, None when it was before that was kept; ``by`` is who said so last.
    """

    user: str
    nature: Nature
    role: str
    permissions: tuple[str, ...]
    projects: tuple[str, ...] | None
    environments: tuple[str, ...] | None
    when: str
    until_us: int | None
    through: str
    group: str
    since_us: int | None
    by: str

    def covers(self, environment: str) -> bool:
        """Whether it holds in some project of an environment."""
        return self.environments is None or environment in self.environments


@dataclass(frozen=True)
class Approver:
    """That somebody may approve in an environment: one of ``count`` of a group that ``asked_by`` asks for.

    A group without a name is anybody who may decide. Of those in it, only who ``may_decide`` there can.
    """

    environment: str
    asked_by: str
    group: str
    count: int
    user: str
    may_decide: bool
    since_us: int | None


@dataclass(frozen=True)
class Review:
    """Who may what at one moment, in the order of names."""

    at_us: int
    permissions: tuple[May, ...]
    approvers: tuple[Approver, ...]

    def to_json(self) -> dict[str, Any]:
        """As commands and the API give it."""
        return {
            "format": FORMAT,
            "at": rfc3339(self.at_us),
            "permissions": [
                {
                    **{name: value for name, value in vars(each).items() if not name.endswith("_us")},
                    "nature": each.nature.value,
                    "until": _moment(each.until_us),
                    "since": _moment(each.since_us),
                }
                for each in self.permissions
            ],
            "approvers": [
                {
                    **{name: value for name, value in vars(each).items() if not name.endswith("_us")},
                    "since": _moment(each.since_us),
                }
                for each in self.approvers
            ],
        }

    def to_csv(self) -> str:
        """One table of both, that a spreadsheet reads and does not calculate."""
        made = io.StringIO(newline="")
        writer = csv.DictWriter(made, COLUMNS, restval="")
        writer.writeheader()
        for row in (*map(_may_row, self.permissions), *map(_approver_row, self.approvers)):
            writer.writerow({name: _inert(value) for name, value in row.items()})
        return made.getvalue()


class AccessReview:
    """Reads what is declared of one home; reading it is an event."""

    def __init__(
        self, db: Database, audit: Audit, identity: Identity, granting: Granting, catalog: Catalog, clock: Clock
    ) -> None:
        self._db = db
        self._audit = audit
        self._identity = identity
        self._granting = granting
        self._catalog = catalog
        self._clock = clock

    @requires(Permission.AUDIT_READ_ALL)
    def review(self, who: Subject) -> Review:
        """Everybody who may come in, with all they may, and whose yes may count where.

        It shows what is declared: a grant that holds at other times only stands here with its times. Policy may ask
        for other groups than the environment's own; whoever is in them stands among the groups.
        """
        now_us = self._clock.now_us()
        permissions = tuple(sorted(self._permissions(who, now_us), key=lambda each: (each.user, each.through)))
        approvers = tuple(self._approvers(permissions))
        made = Review(now_us, permissions, approvers)
        data = {
            "review": canonical.digest_of(made.to_json()),
            "permissions": len(permissions),
            "approvers": len(approvers),
        }
        with self._db.begin("access.reviewed") as tx:
            self._audit.record(tx, Event(Kind.ACCESS_REVIEWED, who, Resource("access", "review"), data=data))
        return made

    def _permissions(self, who: Subject, now_us: int) -> Iterator[May]:
        users = {user.name: user for user in self._identity.users(who) if user.active}
        owner = self._identity.owner()
        everybody = {user.name for user in self._identity.users(who)}
        if owner is not None and (owner in users or owner not in everybody):
            yield _may(users.get(owner, User(owner)), "owner", OWNER, "owner of the home")
        for user in users.values():
            if user.role is not Role.NONE and user.name != owner:
                yield _may(user, user.role.value, BUILT_IN[user.role.value], "their own role", since_us=user.since_us)
        roles = {role.name: role for role in self._granting.roles(who)}
        members: dict[str, list[tuple[str, int | None]]] = {}
        for group, name, since_us in self._identity.memberships():
            members.setdefault(group, []).append((name, since_us))
        for grant in self._granting.grants(who):
            if not grant.active or (grant.until_us is not None and grant.until_us <= now_us):
                continue
            own = roles.get(grant.role)
            permissions = BUILT_IN.get(grant.role, own.permissions if own else frozenset())
            begun = _latest(grant.since_us, own.since_us if own and grant.role not in BUILT_IN else 0)
            for name, since_us in members.get(grant.subject, []) if grant.to is To.GROUP else [(grant.subject, 0)]:
                if name in users and name != owner:
                    yield _may(
                        users[name], grant.role, permissions, f"grant {grant.name}", grant, _latest(begun, since_us)
                    )

    def _approvers(self, permissions: Sequence[May]) -> Iterator[Approver]:
        people = [each for each in permissions if each.nature is Nature.PERSON]
        deciding = [each for each in people if Permission.RUN_DECIDE.value in each.permissions]
        members: dict[str, list[tuple[str, int | None]]] = {}
        for group, name, since_us in self._identity.memberships():
            members.setdefault(group, []).append((name, since_us))
        for environment, asked_us in self._catalog.approver_rules():
            there = [each for each in deciding if each.covers(environment.name)]
            may = {each.user: each.since_us for each in reversed(there)}
            for asked_by, group, count in _asked(environment):
                of_group = members.get(group, []) if group else [(name, may[name]) for name in sorted(may)]
                for name, since_us in of_group:
                    since = _latest(asked_us, since_us)
                    yield Approver(environment.name, asked_by, group, count, name, name in may, since)


def _asked(environment: Environment) -> Iterator[tuple[str, str, int]]:
    """By what, which group and how many of it are asked in an environment; its own when policy names no group."""
    if not environment.approvers:
        yield "the environment", "", 1
    for group, count in environment.approvers.items():
        yield "the environment", group, count
    for attached in environment.policies:
        for group, count in attached.override.items():
            yield f"an override of {attached.name}", group, count


def _may(
    user: User,
    role: str,
    permissions: Iterable[Permission],
    through: str,
    grant: Granted | None = None,
    since_us: int | None = None,
) -> May:
    projects = grant.projects if grant else None if role == "owner" else user.projects
    environments = grant.environments if grant else None
    held = projects is not None or environments is not None
    without = (HOME_WIDE if held else frozenset()) | (frozenset() if user.nature is Nature.PERSON else PEOPLE_ONLY)
    return May(
        user=user.name,
        nature=user.nature,
        role=role,
        permissions=tuple(sorted(each.value for each in permissions if each not in without)),
        projects=projects,
        environments=environments,
        when=", ".join(each.text() for each in grant.windows) if grant else "",
        until_us=grant.until_us if grant else None,
        through=through,
        group=grant.subject if grant and grant.to is To.GROUP else "",
        since_us=since_us,
        by=grant.changed_by if grant else "",
    )


def _latest(*moments: int | None) -> int | None:
    """The last of some moments, None being before any that is known."""
    known = [moment for moment in moments if moment]
    return max(known) if known else None


def _may_row(each: May) -> Mapping[str, str]:
    return {
        "kind": "permission",
        "user": each.user,
        "nature": each.nature.value,
        "role": each.role,
        "permissions": " ".join(each.permissions),
        "projects": _places(each.projects),
        "environments": _places(each.environments),
        "when": each.when,
        "until": _moment(each.until_us) or "",
        "through": each.through,
        "group": each.group,
        "since": _moment(each.since_us) or "",
        "by": each.by,
    }


def _approver_row(each: Approver) -> Mapping[str, str]:
    return {
        "kind": "approval",
        "user": each.user,
        "nature": Nature.PERSON.value,
        "permissions": Permission.RUN_DECIDE.value,
        "environments": each.environment,
        "through": each.asked_by,
        "group": each.group,
        "count": str(each.count),
        "may_decide": "yes" if each.may_decide else "no",
        "since": _moment(each.since_us) or "",
    }


def _places(names: tuple[str, ...] | None) -> str:
    return "all" if names is None else " ".join(names)


def _moment(at_us: int | None) -> str | None:
    return None if at_us is None else rfc3339(at_us)


def _inert(value: str) -> str:
    """A cell that no spreadsheet takes for a formula (OWASP, CSV injection)."""
    return f"'{value}" if value.startswith(_FORMULA) else value
