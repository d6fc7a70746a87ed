"""Sessions, roles and grants, and the access review, as they are sent."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from mandamus.identity.grants import Granted, OwnRole
from mandamus.identity.kill_store import Ended
from mandamus.identity.model import Session as Kept
from mandamus.wire.base import Time, Wire, micros, micros_or_none, time, time_or_none


class Session(Wire):
    """Somebody in a browser; its secret is not kept."""

    id: str
    user: str
    authn: str
    opened_at: Time
    seen_at: Time
    ended_at: Time | None


class EndedAccess(Wire):
    """What somebody came in with and what was ended of it, by number."""

    user: str
    sessions: int
    tokens: int
    links: int


class Role(Wire):
    """A named set of permissions that the platform file declares, or one that is built in."""

    name: str
    permissions: list[str]
    built_in: bool


class Grant(Wire):
    """That somebody has a role in a place; ``projects`` and ``environments`` are null for all."""

    name: str
    role: str
    to_kind: str
    to: str
    projects: list[str] | None
    environments: list[str] | None
    when: list[str]
    until: Time | None
    active: bool
    since: Time | None
    by: str


class May(Wire):
    """What somebody may by one role in one place, what gives it, and since when: null for before that was kept."""

    user: str
    nature: str
    role: str
    permissions: list[str]
    projects: list[str] | None
    environments: list[str] | None
    when: str
    until: Time | None
    through: str
    group: str
    since: Time | None
    by: str


class Approver(Wire):
    """Whose yes may count in an environment: one of ``count`` of a group, if they may decide there."""

    environment: str
    asked_by: str
    group: str
    count: int
    user: str
    may_decide: bool
    since: Time | None


class Review(Wire):
    """Who may do what where, and who may approve what, at one moment."""

    format: str = Field(examples=["access-review/1"])
    at: Time
    permissions: list[May]
    approvers: list[Approver]


def session(kept: Kept) -> Session:
    """A session."""
    return Session(
        id=kept.id,
        user=kept.user,
        authn=kept.authn,
        opened_at=time(kept.opened_us),
        seen_at=time(kept.seen_us),
        ended_at=time_or_none(kept.ended_us),
    )


def ended(kept: Ended) -> EndedAccess:
    """What was ended."""
    return EndedAccess(user=kept.user, sessions=kept.sessions, tokens=kept.tokens, links=kept.links)


def role(kept: OwnRole, *, built_in: bool = False) -> Role:
    """A role."""
    return Role(name=kept.name, permissions=sorted(each.value for each in kept.permissions), built_in=built_in)


def grant(kept: Granted) -> Grant:
    """A grant."""
    return Grant(
        name=kept.name,
        role=kept.role,
        to_kind=kept.to.value,
        to=kept.subject,
        projects=None if kept.projects is None else list(kept.projects),
        environments=None if kept.environments is None else list(kept.environments),
        when=[each.text() for each in kept.windows],
        until=time_or_none(kept.until_us),
        active=kept.active,
        since=time_or_none(kept.since_us),
        by=kept.changed_by,
    )


def review(document: dict[str, Any]) -> Review:
    """A review, from its document."""
    return Review.model_validate(document)


def session_back(sent: Session) -> Kept:
    """A session that was sent."""
    ended_us = micros_or_none(sent.ended_at)
    return Kept(sent.id, sent.user, sent.authn, micros(sent.opened_at), micros(sent.seen_at), ended_us)


def ended_back(sent: EndedAccess) -> Ended:
    """What was ended, that was sent."""
    return Ended(sent.user, sent.sessions, sent.tokens, sent.links)
