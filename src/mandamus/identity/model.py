"""Users and groups as they are declared."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from mandamus.kernel.access import Permission

USER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,127}")
GROUP_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")

RESERVED = frozenset({"mandamus", "system"})
"""Names under which the platform itself acts; nobody else may have them."""

OS_USER = "os-user"
CLAIMED = "local, unverified"


def claimed_by(os_user: str) -> str:
    """How a claimed identity was established, with who the operating system says claimed it."""
    return f"{CLAIMED}: {OS_USER} {os_user}"


class Role(StrEnum):
    """What a user is here for: a member asks, reads and decides; an auditor reads everything and changes nothing.

    Whoever has none may what grants give them.
    """

    MEMBER = "member"
    AUDITOR = "auditor"
    NONE = "none"


class Nature(StrEnum):
    """Who acts: a person, a program that acts for itself, or one that acts for whoever made its token."""

    PERSON = "person"
    SERVICE_ACCOUNT = "service_account"
    AGENT = "agent"


@dataclass(frozen=True)
class User:
    """A person or a program. ``name`` is the id that stands in the log, display name and address can be erased.

    An inactive user may do nothing. ``projects`` are those that the role is held to, None for all. ``owner`` is who
    answers for a program: a maker of all it makes. ``since_us`` is since when its role is as it is, None when that was
    before it was kept.
    """

    name: str
    display_name: str = ""
    email: str = ""
    active: bool = True
    role: Role = Role.MEMBER
    projects: tuple[str, ...] | None = None
    nature: Nature = Nature.PERSON
    owner: str = ""
    since_us: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Group:
    """People who may be asked together; ``members`` are names of users."""

    name: str
    members: tuple[str, ...] = ()


DAYS = 30
DAYS_MAX = 90
"""How long a token lives: when nothing is said, and at the most."""


@dataclass(frozen=True)
class Token:
    """What a program shows to act for a user. ``permissions`` are all it may, None for all that the user may.

    ``projects`` are those it is held to, None for all. ``made_by`` is who made it for another (with whoever answers for
    that program), and so is a maker of all that is made with it; ``behalf_of`` is whom an agent acts for.
    """

    id: str
    user: str
    name: str
    permissions: frozenset[Permission] | None
    created_us: int
    expires_us: int
    used_us: int | None = None
    revoked_us: int | None = None
    made_by: str = ""
    behalf_of: str | None = None
    projects: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Link:
    """What signs a user in once. ``authn`` is what their session will say of how they came in."""

    id: str
    user: str
    authn: str
    created_us: int
    expires_us: int
    used_us: int | None = None


@dataclass(frozen=True)
class Session:
    """A person in a browser."""

    id: str
    user: str
    authn: str
    opened_us: int
    seen_us: int
    ended_us: int | None = None
