"""Users and groups as they are declared."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

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
    """What a user is here for: a member asks, reads and decides; an auditor reads everything and changes nothing."""

    MEMBER = "member"
    AUDITOR = "auditor"


@dataclass(frozen=True)
class User:
    """A person. ``name`` is the id that stands in the log, display name and address can be erased.

    An inactive user may do nothing. ``projects`` are those the user is held to, None for all.
    """

    name: str
    display_name: str = ""
    email: str = ""
    active: bool = True
    role: Role = Role.MEMBER
    projects: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Group:
    """People who may be asked together; ``members`` are names of users."""

    name: str
    members: tuple[str, ...] = ()
