"""Who acts and what they may do: subjects, permissions and the one decorator that binds them to verbs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
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
    BREAKGLASS_DECLARE = "breakglass:declare"
    BREAKGLASS_CLOSE = "breakglass:close"
    TOKEN_WRITE = "token:write"  # noqa: S105 - a permission
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
    }
)
"""Whose verbs change something and can wait; cancelling and settling end what has begun, and never have to."""

EMERGENCY = frozenset({Permission.RUN_REQUEST, Permission.RUN_RETRY, Permission.RUN_DECIDE})
"""Whose verbs break-glass lets through: without a run there is nothing to apply."""

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
class Subject:
    """An authenticated actor.

    ``authn`` says how the identity was established: ``os-user``, ``local, unverified: os-user NAME`` for one that NAME
    claimed (``--as``), later ``oidc``. ``behalf_of`` names the person a program acts for, ``ticket`` the change request
    they act on; all are recorded. ``projects`` are those the subject is held to, None for all. ``told`` hears of every
    verb of a watched subject before it does anything: its name and what it is about.
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
    projects: frozenset[str] | None = None
    told: Callable[[str, str], None] | None = field(default=None, repr=False, compare=False)

    @property
    def verified(self) -> bool:
        """False for an identity that was only claimed."""
        return "unverified" not in self.authn


P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
Verb = Callable[Concatenate[S, Subject, P], R]


def requires(permission: Permission) -> Callable[[Verb[S, P, R]], Verb[S, P, R]]:
    """Bind a verb ``(self, who, ...)`` to its permission; the verb raises ``forbidden`` before it does anything."""

    def bind(verb: Verb[S, P, R]) -> Verb[S, P, R]:
        @functools.wraps(verb)
        def guarded(self: S, who: Subject, /, *args: P.args, **kwargs: P.kwargs) -> R:
            check(who, permission)
            if who.told is not None:
                who.told(verb.__qualname__, _about(*args, *kwargs.values()))
            return verb(self, who, *args, **kwargs)

        setattr(guarded, "permission", permission)  # noqa: B010 - mypy knows no attribute on a function
        return guarded

    return bind


def check(who: Subject, permission: Permission) -> None:
    """Raise ``forbidden`` unless the subject has the permission, and what its guard raises."""
    if permission not in who.permissions:
        raise MandamusError(
            Code.FORBIDDEN,
            f"{who.user} may not {permission.value}",
            remedy="ask the owner of this home for access, or act as a user who has it",
            context={"user": who.user, "permission": permission.value},
        )
    who.guard(permission)


def is_refusal(error: MandamusError) -> bool:
    """Whether an error says that a subject may not do what it asked for: by permission, by policy or by its guard.

    Every door records those.
    """
    return error.code is Code.FORBIDDEN or "permission" in error.context


def may_read(who: Subject, project: str | None) -> bool:
    """Whether the subject may read what is of a project: always, unless it is held to others."""
    return who.projects is None or project in who.projects


def _about(*given: object) -> str:
    """The names among what a verb was called with."""
    names = " ".join(str(each) for each in given if isinstance(each, str | int))
    return names[:NAMES_LENGTH_MAX] if names.isprintable() else ascii(names)[:NAMES_LENGTH_MAX]


def permission_of(verb: Callable[..., Any]) -> Permission | None:
    """The permission a verb was bound to, or None: the structure test fails on None."""
    return getattr(verb, "permission", None)
