"""SCIM 2.0 (RFC 7643, 7644): users and groups for a provider of identities, such as Entra ID or Okta."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Body, Header, Path, Query, Request, Response

from mandamus.api import given, scim_forms, scim_schema
from mandamus.api.door import Routes, TheHouse, Who
from mandamus.api.scim_filter import GROUP_FIELDS, USER_FIELDS, parse_filter
from mandamus.api.scim_forms import Scim, check_version, chosen, listed
from mandamus.api.scim_patch import group_of, patch_group, patch_user, user_of
from mandamus.identity.provided import PAGE_MAX, Person, PersonGiven, Team, TeamGiven
from mandamus.kernel.access import Permission
from mandamus.kernel.errors import Code, MandamusError

routes = Routes("scim")

_MAY = Permission.IDENTITY_PROVISION
# The protocol describes itself by its own discovery, and its forms are not ours to put into another contract.
_APART: Mapping[str, Any] = {"include_in_schema": False, "response_class": Scim}

Id = Annotated[str, Path(max_length=100, examples=["scu_01m89tq850e2cvgwyfb9428ekw"])]
Sent = Annotated[dict[str, Any], Body()]
Wanted = Annotated[str | None, Query(alias="filter")]
Start = Annotated[int, Query(alias="startIndex", ge=-given.BIGINT_MAX, le=given.BIGINT_MAX)]
Count = Annotated[int, Query(ge=-given.BIGINT_MAX, le=given.BIGINT_MAX)]
Only = Annotated[str | None, Query(alias="attributes", max_length=2_000)]
Without = Annotated[str | None, Query(alias="excludedAttributes", max_length=2_000)]
IfMatch = Annotated[str | None, Header(alias="If-Match", max_length=1_000)]
IfNoneMatch = Annotated[str | None, Header(alias="If-None-Match", max_length=1_000)]


@routes.verb("GET", "/ServiceProviderConfig", _MAY, **_APART)
def scim_config(request: Request, _who: Who) -> Response:
    """What of the protocol there is here."""
    return Scim(scim_schema.config(_base(request)))


@routes.verb("GET", "/ResourceTypes", _MAY, **_APART)
def scim_types(request: Request, _who: Who) -> Response:
    """Users and groups, and where they are."""
    found = scim_schema.resource_types(_base(request))
    return Scim(listed(found, len(found), 1))


@routes.verb("GET", "/ResourceTypes/{resource}", _MAY, **_APART)
def scim_type(request: Request, _who: Who, resource: Id) -> Response:
    """One of them."""
    return Scim(_named(scim_schema.resource_types(_base(request)), resource))


@routes.verb("GET", "/Schemas", _MAY, **_APART)
def scim_schemas(request: Request, _who: Who) -> Response:
    """Which attributes are kept."""
    found = scim_schema.schemas(_base(request))
    return Scim(listed(found, len(found), 1))


@routes.verb("GET", "/Schemas/{resource}", _MAY, **_APART)
def scim_schema_of(request: Request, _who: Who, resource: Id) -> Response:
    """One schema, by its URN."""
    return Scim(_named(scim_schema.schemas(_base(request)), resource))


@routes.verb("GET", "/Users", _MAY, **_APART)
def scim_users(
    request: Request,
    house: TheHouse,
    who: Who,
    *,
    wanted: Wanted = None,
    start: Start = 1,
    count: Count = PAGE_MAX,
    only: Only = None,
    without: Without = None,
) -> Response:
    """The provider's users that fit the filter, a page of at most 200."""
    where = parse_filter(wanted, USER_FIELDS)
    found, total = house.provisioning.persons(who, where, max(start, 1) - 1, min(max(count, 0), PAGE_MAX))
    shown = [chosen(scim_forms.user(each, _base(request)), only, without) for each in found]
    return Scim(listed(shown, total, max(start, 1)))


@routes.verb("POST", "/Users", _MAY, **_APART)
def scim_create_user(request: Request, house: TheHouse, who: Who, body: Sent) -> Response:
    """Make a user."""
    made = house.provisioning.create_person(who, user_of(body))
    return _answer(scim_forms.user(made, _base(request)), 201)


@routes.verb("GET", "/Users/{resource}", _MAY, **_APART)
def scim_user(
    request: Request,
    house: TheHouse,
    who: Who,
    resource: Id,
    *,
    only: Only = None,
    without: Without = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """One user."""
    found = scim_forms.user(house.provisioning.person(who, resource), _base(request))
    return _answer(found, only=only, without=without, if_none_match=if_none_match)


@routes.verb("PUT", "/Users/{resource}", _MAY, **_APART)
def scim_replace_user(
    request: Request, house: TheHouse, who: Who, resource: Id, body: Sent, if_match: IfMatch = None
) -> Response:
    """Make a user as the body says, except that they stay active or not when it does not say."""

    def change(now: Person) -> PersonGiven:
        check_version(scim_forms.user(now, _base(request)), if_match)
        return user_of(body, now.given)

    return _answer(scim_forms.user(house.provisioning.change_person(who, resource, change), _base(request)))


@routes.verb("PATCH", "/Users/{resource}", _MAY, **_APART)
def scim_patch_user(
    request: Request, house: TheHouse, who: Who, resource: Id, body: Sent, if_match: IfMatch = None
) -> Response:
    """Change a user; one who is not active any more is shut out at once."""

    def change(now: Person) -> PersonGiven:
        check_version(scim_forms.user(now, _base(request)), if_match)
        return patch_user(now.given, body)

    return _answer(scim_forms.user(house.provisioning.change_person(who, resource, change), _base(request)))


@routes.verb("DELETE", "/Users/{resource}", _MAY, **_APART)
def scim_delete_user(request: Request, house: TheHouse, who: Who, resource: Id, if_match: IfMatch = None) -> Response:
    """Deactivate a user, whom the provider then does not know any more."""

    def check(now: Person) -> PersonGiven:
        check_version(scim_forms.user(now, _base(request)), if_match)
        return now.given

    house.provisioning.remove_person(who, resource, check)
    return Response(status_code=204)


@routes.verb("GET", "/Groups", _MAY, **_APART)
def scim_groups(
    request: Request,
    house: TheHouse,
    who: Who,
    *,
    wanted: Wanted = None,
    start: Start = 1,
    count: Count = PAGE_MAX,
    only: Only = None,
    without: Without = None,
) -> Response:
    """The provider's groups that fit the filter, a page of at most 200."""
    where = parse_filter(wanted, GROUP_FIELDS)
    found, total = house.provisioning.teams(who, where, max(start, 1) - 1, min(max(count, 0), PAGE_MAX))
    shown = [chosen(scim_forms.group(each, _base(request)), only, without) for each in found]
    return Scim(listed(shown, total, max(start, 1)))


@routes.verb("POST", "/Groups", _MAY, **_APART)
def scim_create_group(request: Request, house: TheHouse, who: Who, body: Sent) -> Response:
    """Make a group."""
    made = house.provisioning.create_team(who, group_of(body))
    return _answer(scim_forms.group(made, _base(request)), 201)


@routes.verb("GET", "/Groups/{resource}", _MAY, **_APART)
def scim_group(
    request: Request,
    house: TheHouse,
    who: Who,
    resource: Id,
    *,
    only: Only = None,
    without: Without = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """One group."""
    found = scim_forms.group(house.provisioning.team(who, resource), _base(request))
    return _answer(found, only=only, without=without, if_none_match=if_none_match)


@routes.verb("PUT", "/Groups/{resource}", _MAY, **_APART)
def scim_replace_group(
    request: Request, house: TheHouse, who: Who, resource: Id, body: Sent, if_match: IfMatch = None
) -> Response:
    """Make a group as the body says."""

    def change(now: Team) -> TeamGiven:
        check_version(scim_forms.group(now, _base(request)), if_match)
        return group_of(body)

    return _answer(scim_forms.group(house.provisioning.change_team(who, resource, change), _base(request)))


@routes.verb("PATCH", "/Groups/{resource}", _MAY, **_APART)
def scim_patch_group(
    request: Request, house: TheHouse, who: Who, resource: Id, body: Sent, if_match: IfMatch = None
) -> Response:
    """Change a group; whoever holds the token is then a maker of what the group approves."""

    def change(now: Team) -> TeamGiven:
        check_version(scim_forms.group(now, _base(request)), if_match)
        return patch_group(now.given, body)

    return _answer(scim_forms.group(house.provisioning.change_team(who, resource, change), _base(request)))


@routes.verb("DELETE", "/Groups/{resource}", _MAY, **_APART)
def scim_delete_group(request: Request, house: TheHouse, who: Who, resource: Id, if_match: IfMatch = None) -> Response:
    """Leave a group without members, which the provider then does not know any more."""

    def check(now: Team) -> TeamGiven:
        check_version(scim_forms.group(now, _base(request)), if_match)
        return now.given

    house.provisioning.remove_team(who, resource, check)
    return Response(status_code=204)


def _base(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}"


def _answer(
    resource: dict[str, Any],
    status: int = 200,
    *,
    only: str | None = None,
    without: str | None = None,
    if_none_match: str | None = None,
) -> Response:
    meta = resource["meta"]
    headers = {"ETag": meta["version"], "Location": meta["location"]}
    if meta["version"] in {each.strip() for each in (if_none_match or "").split(",")}:
        return Response(status_code=304, headers=headers)
    return Scim(chosen(resource, only, without), status, headers)


def _named(found: list[dict[str, Any]], name: str) -> dict[str, Any]:
    for each in found:
        if each["id"] == name:
            return each
    raise MandamusError(Code.NOT_FOUND, f"there is no {name[:60]!r}", remedy="list them, without a name")
