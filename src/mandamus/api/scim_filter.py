"""Filters and paths of SCIM (RFC 7644, 3.4.2.2 and 3.5.2): ``and`` of comparisons by ``eq``, which providers send."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mandamus.identity.provided import Field, invalid

LENGTH_MAX = 2_000
URNS = (
    "urn:ietf:params:scim:schemas:core:2.0:user:",
    "urn:ietf:params:scim:schemas:core:2.0:group:",
)
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:user"

USER_FIELDS: Mapping[str, Field] = {
    "id": Field.ID,
    "username": Field.NAME,
    "externalid": Field.EXTERNAL_ID,
    "active": Field.ACTIVE,
    "emails": Field.EMAIL,
    "emails.value": Field.EMAIL,
}
GROUP_FIELDS: Mapping[str, Field] = {
    "id": Field.ID,
    "displayname": Field.NAME,
    "externalid": Field.EXTERNAL_ID,
    "members": Field.MEMBER,
    "members.value": Field.MEMBER,
}

_VALUE = r'"(?:[^"\\]|\\.)*"|true|false|null'
_TERM = re.compile(rf"\s*\(?\s*([A-Za-z][\w.:$-]*)\s+(\w+)(?:\s+({_VALUE}))?\s*\)?\s*(and\b|$)", re.IGNORECASE)
_PATH = re.compile(
    rf"([A-Za-z][\w.:$-]*)(?:\[\s*([A-Za-z][\w.$-]*)\s+eq\s+({_VALUE})\s*\])?(?:\.([A-Za-z][\w$-]*))?", re.IGNORECASE
)
_COMPLEX = re.compile(
    r"emails\s*\[\s*type\s+eq\s+\"work\"\s*(?:and\s+value\s+eq\s+(\"[^\"]*\")\s*)?\](?:\.value)?", re.IGNORECASE
)


@dataclass(frozen=True)
class Path:
    """What an operation is on: an attribute, of one value of it where ``key`` equals ``value``, and a part of that.

    Names are in lower case and without the URN of their schema.
    """

    attribute: str
    key: str = ""
    value: Any = None
    part: str = ""


def parse_filter(text: str | None, fields: Mapping[str, Field]) -> dict[Field, Any]:
    """What has to be equal; raises ``value_invalid`` with the type ``invalidFilter``."""
    if not text:
        return {}
    if len(text) > LENGTH_MAX:
        raise _no_filter("it is too long")
    # Entra asks for the address of work like this; there is one address here, and it is that.
    text = _COMPLEX.sub(lambda m: f"emails.value eq {m[1]}" if m[1] else "emails.value", text)
    found: dict[Field, Any] = {}
    at = 0
    while at < len(text):
        term = _TERM.match(text, at)
        if term is None:
            raise _no_filter("it is not made of comparisons that `and` joins")
        name, operator, value = without_urn(term[1]), term[2].lower(), term[3]
        if operator != "eq" or value is None:
            raise _no_filter(f"{operator[:20]!r} is none of its operators")
        if name not in fields:
            raise _no_filter(f"one cannot look for {name[:60]!r}")
        field, wanted = fields[name], _loaded(value)
        if (field is Field.ACTIVE) != isinstance(wanted, bool) or wanted is None:
            raise _no_filter(f"{name[:60]!r} is never {value[:60]}")
        if found.get(field, wanted) != wanted:
            raise _no_filter(f"{name[:60]!r} cannot be two things")
        found[field] = wanted
        at = term.end()
        if term[4] and at == len(text):
            raise _no_filter("nothing follows `and`")
    return found


def parse_path(text: str) -> Path:
    """The path of an operation; raises ``value_invalid`` with the type ``invalidPath``."""
    bare = without_urn(text.strip()) if "[" not in text else text.strip()
    found = _PATH.fullmatch(bare) if len(text) <= LENGTH_MAX else None
    if found is None:
        raise invalid(f"{text[:60]!r} is no path", 'write an attribute, as in members[value eq "ID"]', "invalidPath")
    name = without_urn(found[1])
    key = (found[2] or "").lower()
    part = (found[4] or "").lower()
    if not key and not part and "." in name and not name.startswith("urn:"):
        name, _, part = name.partition(".")
    return Path(name, key, _loaded(found[3]) if found[3] else None, part)


def without_urn(name: str) -> str:
    """An attribute in lower case, without the URN of a core schema before it."""
    lower = name.lower()
    for urn in URNS:
        if lower.startswith(urn):
            return lower[len(urn) :]
    return lower


def _loaded(text: str) -> Any:
    try:
        value = json.loads(text if text.startswith('"') else text.lower())
    except ValueError:
        raise _no_filter("a value is no JSON") from None
    # Nothing that is kept has such characters, and no database takes all of them.
    if isinstance(value, str) and not value.isprintable():
        raise _no_filter("a value cannot be printed")
    return value


def _no_filter(why: str) -> Exception:
    return invalid(
        f"the filter cannot be answered: {why}", 'compare by `eq`, as in userName eq "ada@example.com"', "invalidFilter"
    )
