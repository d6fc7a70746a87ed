"""How this home describes itself to a provider (RFC 7643, 5 to 7): what it can, what it has, and which attributes."""

from __future__ import annotations

from typing import Any

from mandamus.api.scim_forms import PREFIX
from mandamus.api.scim_patch import GROUP, USER
from mandamus.identity.provided import PAGE_MAX

_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:Schema"
_TYPE = "urn:ietf:params:scim:schemas:core:2.0:ResourceType"
_CONFIG = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"


def config(base: str) -> dict[str, Any]:
    """What of the protocol there is here."""
    return {
        "schemas": [_CONFIG],
        "patch": {"supported": True},
        "bulk": {"supported": False, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": True, "maxResults": PAGE_MAX},
        "changePassword": {"supported": False},
        "sort": {"supported": False},
        "etag": {"supported": True},
        "authenticationSchemes": [
            {
                "type": "oauthbearertoken",
                "name": "A token of this home",
                "description": "Made by `mandamus token create NAME --only identity:provision`.",
                "specUri": "https://www.rfc-editor.org/rfc/rfc6750",
                "primary": True,
            }
        ],
        "meta": {"resourceType": "ServiceProviderConfig", "location": f"{base}{PREFIX}/ServiceProviderConfig"},
    }


def resource_types(base: str) -> list[dict[str, Any]]:
    """Users and groups."""
    return [
        {
            "schemas": [_TYPE],
            "id": name,
            "name": name,
            "endpoint": f"/{name}s",
            "description": about,
            "schema": schema,
            "schemaExtensions": [],
            "meta": {"resourceType": "ResourceType", "location": f"{base}{PREFIX}/ResourceTypes/{name}"},
        }
        for name, schema, about in (("User", USER, "Who may come in"), ("Group", GROUP, "Who is asked together"))
    ]


def schemas(base: str) -> list[dict[str, Any]]:
    """The attributes that are kept."""
    return [
        {
            "schemas": [_SCHEMA],
            "id": schema,
            "name": name,
            "description": about,
            "attributes": attributes,
            "meta": {"resourceType": "Schema", "location": f"{base}{PREFIX}/Schemas/{schema}"},
        }
        for schema, name, about, attributes in (
            (USER, "User", "Who may come in", _user()),
            (GROUP, "Group", "Who is asked together", _group()),
        )
    ]


def _user() -> list[dict[str, Any]]:
    email = [_text("value", "The address"), _text("type", "Always work"), _flag("primary", "Always true")]
    groups = [_text("value", "The group's id", "readOnly"), _text("display", "Its displayName", "readOnly")]
    return [
        {**_text("userName", "Stands in the log, and stays", "immutable"), "required": True, "uniqueness": "server"},
        {**_text("externalId", "The provider's own id"), "caseExact": True},
        _text("displayName", "How somebody is shown"),
        _complex("name", "How somebody is shown", [_text("formatted", "The same as displayName")]),
        {**_complex("emails", "The address for work; one is kept", email), "multiValued": True},
        _flag("active", "Without this nobody comes in"),
        {**_complex("groups", "The groups one is in", groups), "multiValued": True, "mutability": "readOnly"},
    ]


def _group() -> list[dict[str, Any]]:
    members = [
        {**_text("value", "The user's id", "immutable"), "caseExact": True},
        _text("display", "The user's userName", "readOnly"),
        _text("type", "Always User", "immutable"),
    ]
    shown = _text("displayName", "In lower case, with - for spaces, the name that policy asks for")
    return [
        {**shown, "required": True, "uniqueness": "server"},
        {**_text("externalId", "The provider's own id"), "caseExact": True},
        {**_complex("members", "Who is in it", members), "multiValued": True},
    ]


def _text(name: str, about: str, mutability: str = "readWrite") -> dict[str, Any]:
    return {**_attribute(name, "string", about, mutability), "caseExact": False}


def _flag(name: str, about: str) -> dict[str, Any]:
    return _attribute(name, "boolean", about, "readWrite")


def _complex(name: str, about: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {**_attribute(name, "complex", about, "readWrite"), "subAttributes": parts}


def _attribute(name: str, type_: str, about: str, mutability: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": type_,
        "multiValued": False,
        "description": about,
        "required": False,
        "mutability": mutability,
        "returned": "default",
        "uniqueness": "none",
    }
