"""Roles and grants as they are declared: which permissions, for whom, where and when. Values only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mandamus.kernel.access import AUDITOR, MEMBER, OWNER, Area, Grant, Permission

NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MIN = 24 * 60

_MINUTE_US = 60 * 1_000_000
_EPOCH_DAY = DAYS.index("thu")

VIEWER = frozenset(
    {
        Permission.RUN_READ,
        Permission.WORKFLOW_READ,
        Permission.ENVIRONMENT_READ,
        Permission.POLICY_READ,
        Permission.AUDIT_READ,
        Permission.EVIDENCE_READ,
        Permission.SYSTEM_READ,
        Permission.TOKEN_WRITE,
    }
)
APPROVER = VIEWER | {Permission.RUN_DECIDE}
OPERATOR = VIEWER | {Permission.RUN_REQUEST, Permission.RUN_CANCEL, Permission.RUN_RETRY, Permission.RUN_SETTLE}

BUILT_IN: Mapping[str, frozenset[Permission]] = {
    "viewer": VIEWER,
    "operator": OPERATOR,
    "approver": APPROVER,
    "member": MEMBER,
    "auditor": AUDITOR,
    "administrator": OWNER - {Permission.IDENTITY_PROVISION},
}
"""The roles there are without being declared, by name; what each is for stands in the reference of permissions."""


class To(StrEnum):
    """What has a grant: a user, be it a person or a program, or everybody in a group."""

    USER = "user"
    GROUP = "group"


@dataclass(frozen=True)
class OwnRole:
    """A role that a platform file declares."""

    name: str
    permissions: frozenset[Permission]
    changed_by: str = field(default="", compare=False)
    since_us: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Window:
    """A part of the week in UTC: from one minute of a day to before another, beginning on some days (0 is Monday).

    One that ends at or before the minute it begins goes on past midnight.
    """

    days: tuple[int, ...]
    from_min: int
    to_min: int

    def holds(self, at_us: int) -> bool:
        """Whether a moment lies in it."""
        passed, minute = divmod(at_us // _MINUTE_US, DAY_MIN)
        today = (passed + _EPOCH_DAY) % len(DAYS)
        if self.from_min < self.to_min:
            return today in self.days and self.from_min <= minute < self.to_min
        yesterday = (today - 1) % len(DAYS)
        return (today in self.days and minute >= self.from_min) or (yesterday in self.days and minute < self.to_min)

    def text(self) -> str:
        """Such as ``mon,tue 08:00-18:00``."""
        hours = "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in (self.from_min, self.to_min))
        return f"{','.join(DAYS[day] for day in self.days)} {hours}"


@dataclass(frozen=True)
class Granted:
    """That somebody has a role, in some projects and environments (None for all), in some windows (none for always).

    ``until_us`` is the first moment it does not hold any more, None for no end; an inactive one holds never.
    """

    name: str
    role: str
    to: To
    subject: str
    projects: tuple[str, ...] | None = None
    environments: tuple[str, ...] | None = None
    windows: tuple[Window, ...] = ()
    until_us: int | None = None
    active: bool = True
    changed_by: str = field(default="", compare=False)
    since_us: int | None = field(default=None, compare=False)

    def holds(self, at_us: int) -> bool:
        """Whether it holds at a moment."""
        ended = self.until_us is not None and at_us >= self.until_us
        return self.active and not ended and (not self.windows or any(each.holds(at_us) for each in self.windows))

    def grant(self, permissions: frozenset[Permission]) -> Grant:
        """What it gives while it holds, by the permissions of its role."""
        places = (None if names is None else frozenset(names) for names in (self.projects, self.environments))
        return Grant(self.role, permissions, Area(*places))

    def to_json(self) -> dict[str, Any]:
        """As the log tells of it; whom it is to is told apart, since that may be a person."""
        return {
            "role": self.role,
            "projects": None if self.projects is None else list(self.projects),
            "environments": None if self.environments is None else list(self.environments),
            "windows": ", ".join(each.text() for each in self.windows),
            "until_us": self.until_us,
            "active": self.active,
        }
