"""What providers are shown: users, groups, lists and errors in the forms of SCIM (RFC 7643, 3 and 4; RFC 7644, 3.4)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse

from mandamus.api.scim_patch import GROUP, USER
from mandamus.identity.provided import Link, Person, Team
from mandamus.kernel import canonical
from mandamus.kernel.clock import rfc3339
from mandamus.kernel.errors import Code, MandamusError

MEDIA_TYPE = "application/scim+json"
PREFIX = "/scim/v2"
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"

_ALWAYS = frozenset({"id", "schemas"})


class Scim(JSONResponse):
    """An answer to a provider."""

    media_type = MEDIA_TYPE


def user(person: Person, base: str) -> dict[str, Any]:
    """A user; what is not known is left out (RFC 7643, 2.5)."""
    given = person.given
    made: dict[str, Any] = {
        "schemas": [USER],
        "id": person.link.id,
        "externalId": given.external_id,
        "userName": given.name,
        "displayName": given.display_name,
        "name": {"formatted": given.display_name} if given.display_name else None,
        "emails": [{"value": given.email, "type": "work", "primary": True}] if given.email else None,
        "active": given.active,
        "groups": [
            {"value": id_, "display": shown, "$ref": f"{base}{PREFIX}/Groups/{id_}"} for id_, shown in person.groups
        ],
    }
    return _with_meta(made, "User", f"{base}{PREFIX}/Users/{person.link.id}", person.link)


def group(team: Team, base: str) -> dict[str, Any]:
    """A group with its members."""
    made: dict[str, Any] = {
        "schemas": [GROUP],
        "id": team.link.id,
        "externalId": team.given.external_id,
        "displayName": team.given.shown,
        "members": [
            {"value": id_, "display": name, "type": "User", "$ref": f"{base}{PREFIX}/Users/{id_}"}
            for id_, name in team.names
        ],
    }
    return _with_meta(made, "Group", f"{base}{PREFIX}/Groups/{team.link.id}", team.link)


def listed(resources: Sequence[Mapping[str, Any]], total: int, start: int) -> dict[str, Any]:
    """A page; ``start`` counts from 1."""
    return {
        "schemas": [LIST],
        "totalResults": total,
        "startIndex": start,
        "itemsPerPage": len(resources),
        "Resources": list(resources),
    }


def chosen(resource: dict[str, Any], attributes: str | None, without: str | None) -> dict[str, Any]:
    """Only the attributes that were asked for, or all but those that were not wanted (RFC 7644, 3.9)."""
    if attributes:
        wanted = _names(attributes) | _ALWAYS
        return {name: value for name, value in resource.items() if name.lower() in wanted}
    dropped = _names(without or "") - _ALWAYS
    return {name: value for name, value in resource.items() if name.lower() not in dropped}


def check_version(resource: Mapping[str, Any], if_match: str | None) -> None:
    """Raise ``stale`` when the caller has seen another version than there is (RFC 7644, 3.14)."""
    if if_match is None:
        return
    tags = {each.strip() for each in if_match.split(",")}
    if not tags & {"*", resource["meta"]["version"]}:
        raise MandamusError(
            Code.STALE,
            "this was changed since you read it",
            remedy="read it again, and send what you want of what it is now",
        )


def error(made: MandamusError, headers: Mapping[str, str] | None = None) -> Scim:
    """An error as providers know it (RFC 7644, 3.12), with code and remedy beside."""
    status = made.code.http_status
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        status = HTTPStatus.BAD_REQUEST.value
    body: dict[str, Any] = {
        "schemas": [ERROR],
        "status": str(status),
        "detail": made.message,
        "code": made.code.text,
        "remedy": made.remedy,
    }
    if status in {HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT}:
        body["scimType"] = str(made.context.get("scim_type", "invalidValue"))
    return Scim(body, status, headers)


def _with_meta(resource: dict[str, Any], kind: str, location: str, link: Link) -> dict[str, Any]:
    kept = {name: value for name, value in resource.items() if value not in (None, "")}
    tag = hashlib.sha256(canonical.dumps([kept, link.changed_us])).hexdigest()[:32]
    kept["meta"] = {
        "resourceType": kind,
        "created": rfc3339(link.created_us),
        "lastModified": rfc3339(link.changed_us),
        "location": location,
        "version": f'W/"{tag}"',
    }
    return kept


def _names(text: str) -> frozenset[str]:
    """The attributes of a list of paths: of a part, the whole it is of."""
    return frozenset(each.strip().rpartition(":")[2].partition(".")[0].lower() for each in text.split(","))
