"""Who acts and what they may do where: subjects, permissions, grants, and the one question every verb asks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Concatenate, ParamSpec, TypeVar

from mandamus.kernel.errors import Code, MandamusError


class Permission(Enum):
    """``resource:action`` for every verb of every service; the reference page is tested against it."""

    RUN_REQUEST = "run:request"
    RUN_READ = "run:read"
    RUN_CANCEL = "run:cancel"
    RUN_RETRY = "run:retry"
    RUN_SETTLE = "run:settle"
    RUN_DECIDE = "run:decide"
    WORKFLOW_READ = "workflow:read"
    ENVIRONMENT_READ = "environment:read"
    ENVIRONMENT_WRITE = "environment:write"
    POLICY_READ = "policy:read"
    POLICY_TEST = "policy:test"
    POLICY_WRITE = "policy:write"
    POLICY_EXEMPT = "policy:exempt"
    AUDIT_READ = "audit:read"
    AUDIT_READ_ALL = "audit:read-all"
    AUDIT_VERIFY = "audit:verify"
    AUDIT_ADMIN = "audit:admin"
    EVIDENCE_READ = "evidence:read"
    IDENTITY_READ = "identity:read"
    IDENTITY_WRITE = "identity:write"
    IDENTITY_PROVISION = "identity:provision"
    BREAKGLASS_DECLARE = "breakglass:declare"
    BREAKGLASS_CLOSE = "breakglass:close"
    TOKEN_WRITE = "token:write"  # noqa: S105 - a permission
    NOTIFY_READ = "notify:read"
    NOTIFY_WRITE = "notify:write"
    SYSTEM_READ = "system:read"


OWNER = frozenset(Permission)
"""The owner of the home may use every verb; being an owner never makes anyone an approver of their own change."""

MEMBER = frozenset(
    {
        Permission.RUN_REQUEST,
        Permission.RUN_READ,
        Permission.RUN_CANCEL,
        Permission.RUN_RETRY,
        Permission.RUN_DECIDE,
        Permission.WORKFLOW_READ,
        Permission.ENVIRONMENT_READ,
        Permission.POLICY_READ,
        Permission.POLICY_TEST,
        Permission.AUDIT_READ,
        Permission.AUDIT_VERIFY,
        Permission.EVIDENCE_READ,
        Permission.IDENTITY_READ,
        Permission.BREAKGLASS_DECLARE,
        Permission.TOKEN_WRITE,
        Permission.SYSTEM_READ,
    }
)
"""A known user: may ask, read and decide; whether a decision counts is the approval rule's business."""

AUDITOR = frozenset(
    {
        Permission.RUN_READ,
        Permission.ENVIRONMENT_READ,
        Permission.POLICY_READ,
        Permission.AUDIT_READ,
        Permission.AUDIT_READ_ALL,
        Permission.AUDIT_VERIFY,
        Permission.EVIDENCE_READ,
        Permission.IDENTITY_READ,
        Permission.TOKEN_WRITE,
        Permission.NOTIFY_READ,
        Permission.SYSTEM_READ,
        Permission.BREAKGLASS_CLOSE,
    }
)
"""Reads and verifies everything and changes nothing but the findings it closes; each read is recorded."""


CHANGES = frozenset(
    {
        Permission.RUN_REQUEST,
        Permission.RUN_RETRY,
        Permission.RUN_DECIDE,
        Permission.ENVIRONMENT_WRITE,
        Permission.POLICY_WRITE,
        Permission.POLICY_EXEMPT,
        Permission.AUDIT_ADMIN,
        Permission.IDENTITY_WRITE,
        Permission.IDENTITY_PROVISION,
        Permission.NOTIFY_WRITE,
    }
)
"""Whose verbs change something and can wait; cancelling and settling end what has begun, and never have to."""

EMERGENCY = frozenset({Permission.RUN_REQUEST, Permission.RUN_RETRY, Permission.RUN_DECIDE})
"""Whose verbs break-glass lets through: without a run there is nothing to apply."""

HOME_WIDE = frozenset(
    {
        Permission.IDENTITY_WRITE,
        Permission.IDENTITY_PROVISION,
        Permission.POLICY_WRITE,
        Permission.POLICY_TEST,
        Permission.AUDIT_ADMIN,
        Permission.AUDIT_READ_ALL,
        Permission.NOTIFY_READ,
        Permission.NOTIFY_WRITE,
    }
)
"""Whose verbs are about all of the home, as a back-test is; a grant that is limited to a place never gives them."""

PEOPLE_ONLY = frozenset(
    {
        Permission.RUN_DECIDE,
        Permission.ENVIRONMENT_WRITE,
        Permission.POLICY_WRITE,
        Permission.POLICY_EXEMPT,
        Permission.BREAKGLASS_DECLARE,
        Permission.BREAKGLASS_CLOSE,
    }
)
"""Whose verbs decide, or make what others are judged by: a program has none of them, whatever it is granted.

Two people would else be one with a program of theirs.
"""

KNOWN_BY = {
    Permission.RUN_CANCEL: Permission.RUN_READ,
    Permission.RUN_RETRY: Permission.RUN_READ,
    Permission.RUN_SETTLE: Permission.RUN_READ,
    Permission.RUN_DECIDE: Permission.RUN_READ,
    Permission.RUN_REQUEST: Permission.ENVIRONMENT_READ,
    Permission.ENVIRONMENT_WRITE: Permission.ENVIRONMENT_READ,
    Permission.POLICY_EXEMPT: Permission.POLICY_READ,
}
"""By which permission somebody may know that a thing exists, where that is another one than is asked for."""


EVERY = "*"
"""For what is about every project, or every environment: only a place that is held to none of them covers it."""


@dataclass(frozen=True)
class Area:
    """A place: these projects and these environments, each None for all. A project or environment may be ``""``."""

    projects: frozenset[str] | None = None
    environments: frozenset[str] | None = None

    @property
    def everywhere(self) -> bool:
        """Whether nothing lies outside."""
        return self.projects is None and self.environments is None

    def covers(self, project: str | None, environment: str | None) -> bool:
        """Whether a project and an environment lie in it; None for whichever, `EVERY` for all of them."""
        return (project is None or self.projects is None or project in self.projects) and (
            environment is None or self.environments is None or environment in self.environments
        )

    def within(self, other: Area) -> Area:
        """What lies in both."""
        return Area(_both(self.projects, other.projects), _both(self.environments, other.environments))


EVERYWHERE = Area()


@dataclass(frozen=True)
class Grant:
    """A role that somebody has in a place, by which they may what the role names there."""

    role: str
    permissions: frozenset[Permission] = field(repr=False)
    area: Area = EVERYWHERE

    def gives(self, permission: Permission) -> bool:
        """Whether it gives a permission in its place."""
        return permission in self.permissions and (self.area.everywhere or permission not in HOME_WIDE)


def given(grants: Iterable[Grant]) -> frozenset[Permission]:
    """All that grants give, each in its place."""
    return frozenset(each for grant in grants for each in grant.permissions if grant.gives(each))


Guard = Callable[[Permission], None]
"""What else must hold before a subject uses a verb, such as space on the disk; raises when it does not."""


def unguarded(_permission: Permission) -> None:
    """Nothing else has to hold."""


NAMES_LENGTH_MAX = 200


@dataclass(frozen=True)
class Where:
    """Where a request came from.

    ``address`` is a network address and goes into the log only as a salted commitment; ``agent`` names the program,
    ``request`` the request it came with, ``node`` the machine that records. What is empty is as the log's process is.
    """

    address: str = ""
    agent: str = ""
    request: str = ""
    node: str = ""


@dataclass(frozen=True)
class SignedIn:
    """When somebody showed an identity provider who they are, and how, as it calls that (OpenID Connect: ``acr``)."""

    at_us: int
    acr: str = ""


@dataclass(frozen=True)
class Subject:
    """An authenticated actor.

    ``authn`` says how the identity was established: ``os-user``, ``local, unverified: os-user NAME`` for one that NAME
    claimed (``--as``), later ``oidc``. ``behalf_of`` names the person a program acts for, ``ticket`` the change request
    they act on; all are recorded. ``permissions`` are all that the subject may anywhere, ``grants`` say where each
    holds now: None for all of them everywhere. ``told`` hears of every verb of a watched subject before it does
    anything: its name and what it is about. ``program`` is True of a service account and of an agent; ``owners`` are
    the people who answer for it. ``signed_in`` is of a person in a browser who came by a provider, None of all others.
    """

    user: str
    authn: str
    groups: frozenset[str] = frozenset()
    permissions: frozenset[Permission] = field(default=frozenset(), repr=False)
    display_name: str = ""
    behalf_of: str | None = None
    where: Where = Where()
    ticket: str = ""
    guard: Guard = field(default=unguarded, repr=False, compare=False)
    grants: tuple[Grant, ...] | None = field(default=None, repr=False)
    told: Callable[[str, str], None] | None = field(default=None, repr=False, compare=False)
    program: bool = False
    owners: frozenset[str] = frozenset()
    signed_in: SignedIn | None = None

    @property
    def verified(self) -> bool:
        """False for an identity that was only claimed."""
        return "unverified" not in self.authn

    @property
    def makers(self) -> frozenset[str]:
        """Everybody whose work it is that this subject makes: they approve nothing of it."""
        return self.owners | {self.user} | ({self.behalf_of} if self.behalf_of is not None else set())

    def areas(self, permission: Permission) -> tuple[Area, ...]:
        """The places where the subject has a permission, none for nowhere; lists are narrowed to them."""
        if permission not in self.permissions:
            return ()
        if self.grants is None:
            return (EVERYWHERE,)
        found = tuple(dict.fromkeys(grant.area for grant in self.grants if grant.gives(permission)))
        return (EVERYWHERE,) if EVERYWHERE in found else found

    def may(self, permission: Permission, project: str | None = None, environment: str | None = None) -> bool:
        """Whether the subject has a permission in a project and an environment, None for whichever."""
        return any(area.covers(project, environment) for area in self.areas(permission))

    def everywhere(self, permission: Permission) -> bool:
        """Whether the subject has a permission in every place there is or will be."""
        return EVERYWHERE in self.areas(permission)


P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
Verb = Callable[Concatenate[S, Subject, P], R]


def requires(permission: Permission) -> Callable[[Verb[S, P, R]], Verb[S, P, R]]:
    """Bind a verb ``(self, who, ...)`` to its permission; the verb raises ``forbidden`` before it does anything."""

    def bind(verb: Verb[S, P, R]) -> Verb[S, P, R]:
        @functools.wraps(verb)
        def guarded(self: S, who: Subject, /, *args: P.args, **kwargs: P.kwargs) -> R:
            authorize(who, permission)
            if who.told is not None:
                who.told(verb.__qualname__, _about(*args, *kwargs.values()))
            return verb(self, who, *args, **kwargs)

        setattr(guarded, "permission", permission)  # noqa: B010 - mypy knows no attribute on a function
        return guarded

    return bind


def authorize(
    who: Subject,
    permission: Permission,
    project: str | None = None,
    environment: str | None = None,
    *,
    unknown: Callable[[], MandamusError] | None = None,
) -> None:
    """Return when the subject has the permission in the place.

    A project or environment is None for whichever, and `EVERY` for all of them.

    Else raise ``forbidden``, or, where the subject may not even know that the thing exists, the error ``unknown``
    makes: that of a thing which is not there, word for word. Also raises what the subject's guard does.
    """
    if not who.may(permission, project, environment):
        seen = (None if name == EVERY else name for name in (project, environment))
        if unknown is not None and not who.may(KNOWN_BY.get(permission, permission), *seen):
            raise unknown()
        where = "".join(
            f" in {what} {name}" for what, name in (("project", project), ("environment", environment)) if name
        )
        raise MandamusError(
            Code.FORBIDDEN,
            f"{who.user} may not {permission.value}{where}",
            remedy="ask the owner of this home for access, or act as a user who has it",
            context={"user": who.user, "permission": permission.value},
        )
    who.guard(permission)


def is_refusal(error: MandamusError) -> bool:
    """Whether an error says that a subject may not do what it asked for: by permission, by policy or by its guard.

    Every door records those.
    """
    return error.code is Code.FORBIDDEN or "permission" in error.context


def narrowed(who: Subject, to: Subject) -> Subject:
    """A subject with no more, anywhere, than another has: a program that acts for somebody."""
    if who.grants is None or to.grants is None:
        grants = to.grants if who.grants is None else who.grants
    else:
        pairs = ((one, other, one.area.within(other.area)) for one in who.grants for other in to.grants)
        grants = tuple(
            Grant(one.role, one.permissions & other.permissions, area)
            for one, other, area in pairs
            if frozenset() not in {area.projects, area.environments}
        )
    held = who.permissions & to.permissions
    held = held if grants is None else held & given(grants)
    return replace(who, permissions=held, grants=grants, told=who.told or to.told)


def exceeding(who: Subject, other: Subject) -> list[Permission]:
    """What one subject may, in any place, that another may not there, by name."""
    return sorted(
        (
            permission
            for permission in who.permissions
            for area in who.areas(permission)
            if not any(area.within(theirs) == area for theirs in other.areas(permission))
        ),
        key=lambda permission: permission.value,
    )


def _both(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    if one is None or other is None:
        return one if other is None else other
    return one & other


def _about(*given: object) -> str:
    """The names among what a verb was called with."""
    names = " ".join(str(each) for each in given if isinstance(each, str | int))
    return names[:NAMES_LENGTH_MAX] if names.isprintable() else ascii(names)[:NAMES_LENGTH_MAX]


def permission_of(verb: Callable[..., Any]) -> Permission | None:
    """The permission a verb was bound to, or None: the structure test fails on None."""
    return getattr(verb, "permission", None)
