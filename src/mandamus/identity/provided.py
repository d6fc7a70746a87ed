"""Users and groups as a provider of identities knows them, and what it asks of them; no I/O."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from mandamus.identity.model import GROUP_NAME, RESERVED, USER_NAME
from mandamus.kernel.errors import Code, MandamusError

TEXT_MAX = 256
MEMBERS_MAX = 10_000
PAGE_MAX = 200


class What(StrEnum):
    """What a provider may provide."""

    USER = "user"
    GROUP = "group"


class Field(StrEnum):
    """What a provider may look things up by."""

    ID = "id"
    NAME = "name"
    EXTERNAL_ID = "external_id"
    ACTIVE = "active"
    EMAIL = "email"
    MEMBER = "member"


@dataclass(frozen=True)
class Link:
    """That a user or group is a provider's: its id there, and ``shown``, what the provider calls a group."""

    id: str
    what: What
    name: str
    shown: str
    external_id: str | None
    created_us: int
    changed_us: int


@dataclass(frozen=True)
class PersonGiven:
    """A user as a provider wants them; ``name`` is the one that stands in the log, and stays."""

    name: str
    display_name: str = ""
    email: str = ""
    active: bool = True
    external_id: str | None = None


@dataclass(frozen=True)
class Person:
    """A provider's user; ``groups`` are id and shown name of those of the provider's groups they are in."""

    link: Link
    given: PersonGiven
    groups: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class TeamGiven:
    """A group as a provider wants it; ``members`` are ids of the provider's users."""

    shown: str
    external_id: str | None = None
    members: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Team:
    """A provider's group; ``names`` are its members' names by their ids."""

    link: Link
    given: TeamGiven
    names: tuple[tuple[str, str], ...] = ()


PersonChange = Callable[[Person], PersonGiven]
TeamChange = Callable[[Team], TeamGiven]
"""What a provider wants of what it has; raises what speaks against that. Called inside of the transaction."""


def folded(text: str) -> str:
    """How names of a provider compare: without regard to case (RFC 7643, 4.1.1 and 4.2)."""
    return text.casefold()


def checked_person(given: PersonGiven) -> PersonGiven:
    """The same; raises ``value_invalid`` for what no user can be."""
    if USER_NAME.fullmatch(given.name) is None or folded(given.name) in RESERVED:
        raise invalid(
            f"{given.name[:60]!r} is no name for a user",
            "map userName to letters, digits and . _ @ + -, at most 128, such as the address of a mailbox",
        )
    for text in (given.display_name, given.email, given.external_id or ""):
        _check_text(text)
    return given


def checked_team(given: TeamGiven) -> TeamGiven:
    """The same; raises ``value_invalid`` for what no group can be."""
    group_name(given.shown)
    _check_text(given.external_id or "")
    if len(given.members) > MEMBERS_MAX:
        raise invalid(f"a group of more than {MEMBERS_MAX} members", "split it")
    return given


def group_name(shown: str) -> str:
    """The name by which policy and environments know a group: ``Platform Engineers`` is ``platform-engineers``.

    Raises ``value_invalid`` when none can be made; letters are never dropped, for two names could then become one.
    """
    made = re.sub(r"[ .,:;/&()-]+", "-", shown.strip().lower()).strip("-")
    if len(shown) > TEXT_MAX or GROUP_NAME.fullmatch(made) is None:
        raise invalid(
            f"{shown[:60]!r} gives no name for a group",
            "begin with a letter, and use ASCII letters, digits, spaces, - and _, at most 63",
        )
    return made


def invalid(message: str, remedy: str, scim_type: str = "invalidValue") -> MandamusError:
    """What a provider is told of a value that cannot be; ``scim_type`` is a word of RFC 7644, 3.12."""
    return MandamusError(Code.VALUE_INVALID, message, remedy=remedy, context={"scim_type": scim_type})


def _check_text(text: str) -> None:
    if len(text) > TEXT_MAX or not text.isprintable():
        raise invalid(f"{text[:60]!r} is no text of at most {TEXT_MAX} characters", "send a shorter, printable one")
