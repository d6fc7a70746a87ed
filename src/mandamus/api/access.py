"""Routes of who may what where, of what people come in with, and of the review of both."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response

from mandamus.api import given
from mandamus.api.door import Routes, TheHouse, Who
from mandamus.identity.grants import BUILT_IN, OwnRole
from mandamus.kernel.access import Permission
from mandamus.wire import access as wire
from mandamus.wire.base import Page

CSV = "text/csv; charset=utf-8"

routes = Routes("access")

Whose = Annotated[str | None, Query(max_length=128, description="Of this user; needs `identity:write` for another.")]


@routes.verb("GET", "/roles", Permission.IDENTITY_READ)
def list_roles(house: TheHouse, who: Who) -> Page[wire.Role]:
    """Every role: those built in, then those the platform file declares."""
    built_in = [wire.role(OwnRole(name, permissions), built_in=True) for name, permissions in BUILT_IN.items()]
    return Page(items=[*built_in, *(wire.role(each) for each in house.granting.roles(who))])


@routes.verb("GET", "/grants", Permission.IDENTITY_READ)
def list_grants(house: TheHouse, who: Who) -> Page[wire.Grant]:
    """Every grant that the platform file declares, by name."""
    return Page(items=[wire.grant(each) for each in house.granting.grants(who)])


@routes.verb("GET", "/sessions", Permission.TOKEN_WRITE)
def list_sessions(house: TheHouse, who: Who, user: Whose = None, *, everybody: bool = False) -> Page[wire.Session]:
    """Sessions in browsers that have not ended, newest first: one's own, another's, or everybody's."""
    found = house.kill_switch.sessions(who, user=user, everybody=everybody)
    return Page(items=[wire.session(each) for each in found])


@routes.verb("DELETE", "/sessions/{session}", Permission.TOKEN_WRITE)
def end_session(house: TheHouse, who: Who, session: given.Session) -> wire.Session:
    """End a session at once."""
    return wire.session(house.kill_switch.end(who, session))


@routes.verb("POST", "/users/{user}/end-access", Permission.IDENTITY_WRITE)
def end_access(house: TheHouse, who: Who, user: given.User) -> wire.EndedAccess:
    """End everything a user comes in with: sessions, tokens, links, and tokens of agents that act for them."""
    return wire.ended(house.kill_switch.end_all(who, user))


@routes.verb("GET", "/access/review", Permission.AUDIT_READ_ALL)
def review_access(house: TheHouse, who: Who) -> wire.Review:
    """Who may do what where, who may approve what, by which role and group, and since when; reading it is an event."""
    return wire.review(house.access_review.review(who).to_json())


@routes.verb(
    "GET",
    "/access/review.csv",
    Permission.AUDIT_READ_ALL,
    response_class=Response,
    responses={200: {"content": {"text/csv": {}}, "description": "The review as one table."}},
)
def review_access_table(house: TheHouse, who: Who) -> Response:
    """The same as one table for a spreadsheet."""
    text = house.access_review.review(who).to_csv()
    headers = {"Content-Disposition": 'attachment; filename="access-review.csv"'}
    return Response(text, media_type=CSV, headers=headers)
