"""Who there is, and the tokens they made."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from mandamus.identity.model import DAYS, DAYS_MAX
from mandamus.identity.model import Group as KeptGroup
from mandamus.identity.model import Token as Kept
from mandamus.identity.model import User as KeptUser
from mandamus.identity.tokens import Minted
from mandamus.kernel.access import Permission, Subject
from mandamus.wire.base import Body, Time, Wire, time, time_or_none


class Me(Wire):
    """Who the caller is, and what they may."""

    user: str
    authn: str
    groups: list[str]
    permissions: list[str]
    behalf_of: str | None


class User(Wire):
    """A person."""

    name: str
    display_name: str
    active: bool


class Group(Wire):
    """People who may be asked together."""

    name: str
    members: list[str]


class NewToken(Body):
    """A token to be made. It is never worth more than the caller is."""

    name: Annotated[str, Field(min_length=1, max_length=100, examples=["deploys of the ledger"])]
    days: Annotated[int, Field(ge=1, le=DAYS_MAX)] = DAYS
    permissions: Annotated[
        list[Permission] | None, Field(description="Only these; null for all the caller has.", examples=[["run:read"]])
    ] = None
    projects: Annotated[
        list[str] | None, Field(min_length=1, description="In these projects only; null for wherever the caller may.")
    ] = None
    account: Annotated[
        str | None,
        Field(max_length=128, description="Of this service account, or of this agent to act for the caller."),
    ] = None


class Token(Wire):
    """A token as it is known afterwards: its secret is not kept."""

    id: str
    user: str
    name: str
    permissions: list[str] | None
    created_at: Time
    expires_at: Time
    used_at: Time | None
    revoked_at: Time | None
    made_by: str = ""
    behalf_of: str | None = None
    projects: list[str] | None = None


class MintedToken(Token):
    """A token that was just made; ``secret`` is shown this once."""

    secret: str


def me(who: Subject) -> Me:
    """The caller."""
    return Me(
        user=who.user,
        authn=who.authn,
        groups=sorted(who.groups),
        permissions=sorted(each.value for each in who.permissions),
        behalf_of=who.behalf_of,
    )


def user(kept: KeptUser) -> User:
    """A user, without the address."""
    return User(name=kept.name, display_name=kept.display_name, active=kept.active)


def group(kept: KeptGroup) -> Group:
    """A group."""
    return Group(name=kept.name, members=list(kept.members))


def token(kept: Kept) -> Token:
    """A token without its secret."""
    return Token(**_token(kept))


def minted(made: Minted) -> MintedToken:
    """A token with its secret."""
    return MintedToken(**_token(made.token), secret=made.secret)


def _token(kept: Kept) -> dict[str, Any]:
    allowed = kept.permissions
    return {
        "id": kept.id,
        "user": kept.user,
        "name": kept.name,
        "permissions": None if allowed is None else sorted(each.value for each in allowed),
        "created_at": time(kept.created_us),
        "expires_at": time(kept.expires_us),
        "used_at": time_or_none(kept.used_us),
        "revoked_at": time_or_none(kept.revoked_us),
        "made_by": kept.made_by,
        "behalf_of": kept.behalf_of,
        "projects": None if kept.projects is None else list(kept.projects),
    }
