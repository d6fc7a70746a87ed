"""What providers send of users and groups (RFC 7643, 4; RFC 7644, 3.5), as Entra ID and Okta write it, read strictly.

Names of attributes and operations have no case, ``active`` may be a text, and a path may stand in the value. What is
no attribute of ours but one of the standard's is left aside: here is kept only what is needed to know who somebody is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from mandamus.api.scim_filter import ENTERPRISE, Path, parse_path, without_urn
from mandamus.identity.provided import MEMBERS_MAX, PersonGiven, TeamGiven, invalid

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
OPERATIONS_MAX = 1_000

_READ_ONLY = frozenset({"id", "meta", "schemas", "groups"})
_NOT_KEPT = frozenset(
    {
        "nickname",
        "profileurl",
        "title",
        "usertype",
        "preferredlanguage",
        "locale",
        "timezone",
        "password",
        "phonenumbers",
        "ims",
        "photos",
        "addresses",
        "entitlements",
        "roles",
        "x509certificates",
    }
)
"""Attributes of the standard that mean nothing here. A role above all: what somebody may is said in this home alone."""


def user_of(body: Mapping[str, Any], now: PersonGiven | None = None) -> PersonGiven:
    """A whole user as it was sent; ``now`` is what there is, whose ``active`` stays when nothing is said of it."""
    _check_schema(body, USER)
    given = PersonGiven("", active=now.active if now else True)
    for name, value in lower(body).items():
        given = _set_user(given, parse_path(name), value, explicit=False)
    if not given.name:
        raise invalid("a user needs a userName", "send one")
    return given


def group_of(body: Mapping[str, Any]) -> TeamGiven:
    """A whole group as it was sent."""
    _check_schema(body, GROUP)
    given = TeamGiven("")
    for name, value in lower(body).items():
        given = _set_group(given, "replace", parse_path(name), value, explicit=False)
    if not given.shown:
        raise invalid("a group needs a displayName", "send one")
    return given


def patch_user(given: PersonGiven, body: Mapping[str, Any]) -> PersonGiven:
    """The user after every operation, in their order."""
    for operation, path, value, explicit in _operations(body):
        is_gone = operation == "remove"
        given = _unset_user(given, path) if is_gone else _set_user(given, path, value, explicit=explicit)
    return given


def patch_group(given: TeamGiven, body: Mapping[str, Any]) -> TeamGiven:
    """The group after every operation, in their order."""
    for operation, path, value, explicit in _operations(body):
        given = _set_group(given, operation, path, value, explicit=explicit)
    return given


def lower(value: Mapping[str, Any]) -> dict[str, Any]:
    """An object with the names of its attributes in lower case; raises ``value_invalid`` when two become one."""
    made = {without_urn(str(name)): each for name, each in value.items()}
    if len(made) != len(value):
        raise invalid("an attribute stands twice", "send it once", "invalidSyntax")
    return made


def _operations(body: Mapping[str, Any]) -> Iterator[tuple[str, Path, Any, bool]]:
    """Operation, path, value, and whether the path was said: else it is a name in the value."""
    _check_schema(body, PATCH)
    listed = lower(body).get("operations")
    if not isinstance(listed, list) or not listed or len(listed) > OPERATIONS_MAX:
        raise invalid(f"there are no Operations, or more than {OPERATIONS_MAX}", "send a list of them", "invalidSyntax")
    for each in listed:
        said = lower(each) if isinstance(each, Mapping) else {}
        operation = str(said.get("op", "")).lower()
        path, value = said.get("path"), said.get("value")
        if operation not in {"add", "replace", "remove"}:
            raise invalid("an operation is add, replace or remove", "send one of them as `op`", "invalidSyntax")
        if path:
            yield operation, parse_path(str(path)), value, True
        elif operation == "remove":
            raise invalid("what is to be removed is not said", "send a path", "noTarget")
        elif not isinstance(value, Mapping):
            raise invalid("without a path the value is an object", "send one, or a path", "invalidSyntax")
        else:
            for name, inner in lower(value).items():
                yield operation, parse_path(name), inner, False


def _set_user(given: PersonGiven, path: Path, value: Any, *, explicit: bool) -> PersonGiven:
    match path.attribute, path.part:
        case "username", "":
            given = replace(given, name=_text(value, "userName"))
        case "externalid", "":
            given = replace(given, external_id=_text(value, "externalId") or None)
        case ("displayname", "") | ("name", "formatted"):
            given = replace(given, display_name=_text(value, "displayName"))
        case "active", "":
            given = replace(given, active=_flag(value))
        case "emails", _:
            given = _set_email(given, path, value)
        case "name", "":
            given = _set_name(given, value)
        case _:
            _check_other(path, explicit=explicit)
    return given


def _unset_user(given: PersonGiven, path: Path) -> PersonGiven:
    match path.attribute, path.part:
        case "externalid", "":
            return replace(given, external_id=None)
        case "displayname", "":
            return replace(given, display_name="")
        case "emails", _:
            return replace(given, email="") if _is_ours(path) else given
        case (("username" | "active"), ""):
            raise invalid("userName and active are always there", "replace them", "mutability")
    _check_other(path, explicit=True)
    return given


def _set_name(given: PersonGiven, value: Any) -> PersonGiven:
    """A name in parts says how to show somebody of whom nothing else does."""
    parts = lower(value) if isinstance(value, Mapping) else {}
    words = [parts.get("formatted")] if parts.get("formatted") else [parts.get("givenname"), parts.get("familyname")]
    shown = " ".join(_text(each, "name") for each in words if each)
    return given if given.display_name else replace(given, display_name=shown)


def _set_email(given: PersonGiven, path: Path, value: Any) -> PersonGiven:
    if path.part not in {"", "value"}:
        return given
    if path.part == "value" or isinstance(value, str):
        return replace(given, email=_text(value, "emails.value")) if _is_ours(path) else given
    found = [value] if isinstance(value, Mapping) else value
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise invalid("emails are a list of objects", "send them with a value each")
    addresses = [lower(each) for each in found]
    # One address is kept: the first one, the one for work, the primary one; the last of these that there is.
    best = sorted(addresses, key=lambda each: (_truth(each.get("primary")), each.get("type") == "work"), reverse=True)
    return replace(given, email=_text(best[0].get("value", ""), "emails.value") if best else "")


def _is_ours(path: Path) -> bool:
    """Whether the address that is meant is the one that is kept."""
    return path.key in {"", "primary"} or (path.key == "type" and str(path.value).lower() == "work")


def _set_group(given: TeamGiven, operation: str, path: Path, value: Any, *, explicit: bool) -> TeamGiven:
    match path.attribute, path.part:
        case "displayname", "" if operation != "remove":
            return replace(given, shown=_text(value, "displayName"))
        case "externalid", "":
            return replace(given, external_id=None if operation == "remove" else _text(value, "externalId") or None)
        case "members", "":
            return replace(given, members=_members(given.members, operation, path, value))
    if path.attribute in {"displayname", "members"}:
        raise invalid("displayName is always there, and parts of members are not changed", "replace it", "mutability")
    _check_other(path, explicit=explicit)
    return given


def _members(now: frozenset[str], operation: str, path: Path, value: Any) -> frozenset[str]:
    if path.key:
        if path.key != "value" or operation != "remove":
            raise invalid("members are chosen by their value, to be removed", "add them without a filter", "noTarget")
        return now - {str(path.value)}
    if operation == "remove" and value is None:
        return frozenset()
    ids = frozenset(_member(each) for each in (value if isinstance(value, list) else [value]))
    if len(ids) > MEMBERS_MAX:
        raise invalid(f"more than {MEMBERS_MAX} members", "send them in parts")
    if operation == "add":
        return now | ids
    return now - ids if operation == "remove" else ids


def _member(value: Any) -> str:
    said = lower(value) if isinstance(value, Mapping) else {"value": value}
    if str(said.get("type", "User")).lower() != "user":
        raise invalid("a member is a user, not a group", "have the provider send the users of inner groups")
    return _text(said.get("value"), "members.value")


def _check_other(path: Path, *, explicit: bool) -> None:
    """What is not kept is left aside; what cannot be changed, and what nobody knows, is refused where it was meant."""
    if not explicit or path.attribute in _NOT_KEPT or path.attribute == "name":
        return
    if path.attribute.startswith(ENTERPRISE):
        return
    if path.attribute in _READ_ONLY:
        raise invalid(f"{path.attribute} is not changed like that", "leave it out", "mutability")
    raise invalid(f"there is no attribute {path.attribute[:60]!r}", "GET /scim/v2/Schemas lists them", "invalidPath")


def _check_schema(body: Mapping[str, Any], wanted: str) -> None:
    named = lower(body).get("schemas")
    if not isinstance(named, list) or wanted.lower() not in {str(each).lower() for each in named}:
        raise invalid("this is of another schema", f"send schemas with {wanted}", "invalidSyntax")


def _text(value: Any, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise invalid(f"{name} is a text", "send one")
    return value


def _flag(value: Any) -> bool:
    text = str(value).lower()
    if not isinstance(value, bool | str) or text not in {"true", "false"}:
        raise invalid("active is true or false", "send one of the two")
    return text == "true"


def _truth(value: Any) -> bool:
    return str(value).lower() == "true"
