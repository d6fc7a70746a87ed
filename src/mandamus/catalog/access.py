"""Reads the parts of a platform file that say who else acts and who may what where: programs, roles and grants."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from mandamus.catalog.retention import read_texts
from mandamus.identity.grants import BUILT_IN, DAY_MIN, DAYS, NAME, Granted, OwnRole, To, Window
from mandamus.identity.model import RESERVED, USER_NAME, Nature, Role, User
from mandamus.kernel.access import Permission
from mandamus.kernel.clock import moment_us
from mandamus.kernel.document import Finding, Node
from mandamus.kernel.errors import MandamusError
from mandamus.kernel.reader import Reader, did_you_mean

ENTRIES_MAX = 10_000
WINDOWS_MAX = 20
KEYS = ("service_accounts", "agents", "roles", "grants")
PROGRAM_KEYS = ("owner", "active")
GRANT_KEYS = ("role", "to", "projects", "environments", "when", "until", "active")
TO_KEYS = ("user", "group", "service_account", "agent")
WINDOW_KEYS = ("days", "from", "to")

_NATURES = {"service_accounts": Nature.SERVICE_ACCOUNT, "agents": Nature.AGENT}
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00")
_RULE = "use lower-case letters, digits, - and _, beginning with a letter"


@dataclass(frozen=True)
class Access:
    """What a file declares of programs, roles and grants, in its order."""

    programs: tuple[User, ...] = ()
    roles: tuple[OwnRole, ...] = ()
    grants: tuple[Granted, ...] = ()


@dataclass(frozen=True)
class Named:
    """What this file and those before it declare, by which a grant names whom it is to."""

    people: Collection[str]
    programs: Mapping[str, Nature]
    groups: Collection[str]
    roles: Collection[str]


def read_access(reader: Reader, fields: Mapping[str, Node], named: Named) -> Access:
    """Programs, roles and grants; notes what is wrong. ``fields`` are the sections of the file, by name."""
    programs = tuple(
        _program(reader, name, fields[key], node, nature, named.people)
        for key, nature in _NATURES.items()
        for name, node in _entries(reader, fields, key).items()
    )
    roles = tuple(
        _role(reader, name, fields["roles"], node) for name, node in _entries(reader, fields, "roles").items()
    )
    known = Named(
        named.people,
        {**named.programs, **{each.name: each.nature for each in programs}},
        named.groups,
        {*BUILT_IN, *named.roles, *(role.name for role in roles)},
    )
    grants = tuple(
        _grant(reader, name, fields["grants"], node, known) for name, node in _entries(reader, fields, "grants").items()
    )
    return Access(programs, roles, grants)


def _entries(reader: Reader, fields: Mapping[str, Node], key: str) -> Mapping[str, Node]:
    if key not in fields:
        return {}
    found = reader.mapping(fields[key], f"`{key}`")
    if len(found) > ENTRIES_MAX:
        reader.add(fields[key], Finding.LIMIT, f"more than {ENTRIES_MAX} {key}", "split the file")
        return {}
    return found


def _program(reader: Reader, name: str, parent: Node, node: Node, nature: Nature, people: Collection[str]) -> User:
    what = nature.value.replace("_", " ")
    if not USER_NAME.fullmatch(name) or name in RESERVED or name in people:
        message = f"`{name[:60]}` is no name for {'an' if nature is Nature.AGENT else 'a'} {what}"
        remedy = "choose one that is no user's, of letters, digits and . _ @ + -"
        reader.add(parent.key_at(name), Finding.WRONG_VALUE, message, remedy)
    fields = reader.table(node, f"{what} `{name}`", PROGRAM_KEYS, required=("owner",))
    owner = reader.text(fields["owner"], "`owner`", late=False) if "owner" in fields else ""
    if owner and owner not in people:
        remedy = did_you_mean(owner, sorted(people), f"add `{owner}` under `users`")
        reader.add(fields["owner"], Finding.UNKNOWN_NAME, f"there is no user `{owner}`", remedy)
    return User(name, active=_active(reader, fields), role=Role.NONE, nature=nature, owner=owner)


def _active(reader: Reader, fields: Mapping[str, Node]) -> bool:
    return reader.boolean(fields["active"], "`active`", default=True) if "active" in fields else True


def _role(reader: Reader, name: str, parent: Node, node: Node) -> OwnRole:
    if not NAME.fullmatch(name):
        reader.add(parent.key_at(name), Finding.WRONG_VALUE, f"`{name[:60]}` is no name for a role", _RULE)
    if name in BUILT_IN:
        message = f"the role `{name}` is there already, and stays as it is"
        reader.add(parent.key_at(name), Finding.WRONG_VALUE, message, "choose another name")
    known = {each.value: each for each in Permission}
    permissions = []
    for element in reader.sequence(node, f"role `{name}`"):
        text = reader.text(element, f"a permission of `{name}`", late=False)
        if text and text not in known:
            remedy = did_you_mean(text, sorted(known), "docs/reference/permissions.md lists them")
            reader.add(element, Finding.UNKNOWN_NAME, f"`{text[:60]}` is no permission", remedy)
        elif text:
            permissions.append(known[text])
    return OwnRole(name, frozenset(permissions))


def _grant(reader: Reader, name: str, parent: Node, node: Node, named: Named) -> Granted:
    if not NAME.fullmatch(name):
        reader.add(parent.key_at(name), Finding.WRONG_VALUE, f"`{name[:60]}` is no name for a grant", _RULE)
    fields = reader.table(node, f"grant `{name}`", GRANT_KEYS, required=("role", "to"))
    role = ""
    if "role" in fields:
        role = reader.choice(fields["role"], "`role`", sorted(named.roles), default="")
    to, subject = _to(reader, fields["to"], named) if "to" in fields else (To.USER, "")
    windows = reader.sequence(fields["when"], "`when`") if "when" in fields else ()
    if len(windows) > WINDOWS_MAX:
        reader.add(fields["when"], Finding.LIMIT, f"more than {WINDOWS_MAX} windows", "join some, or make two grants")
        windows = ()
    return Granted(
        name=name,
        role=role,
        to=to,
        subject=subject,
        projects=_places(reader, fields, "projects"),
        environments=_places(reader, fields, "environments"),
        windows=tuple(_window(reader, each) for each in windows),
        until_us=_moment(reader, fields["until"]) if "until" in fields else None,
        active=_active(reader, fields),
    )


def _places(reader: Reader, fields: Mapping[str, Node], key: str) -> tuple[str, ...] | None:
    return read_texts(reader, fields, key) if key in fields else None


def _to(reader: Reader, node: Node, named: Named) -> tuple[To, str]:
    fields = reader.table(node, "`to`", TO_KEYS)
    if len(fields) != 1:
        message = "`to` names nobody" if not fields else "`to` names more than one"
        reader.add(
            node, Finding.WRONG_VALUE, message, "write one of " + ", ".join(f"{{{key}: NAME}}" for key in TO_KEYS)
        )
        return To.USER, ""
    ((key, child),) = fields.items()
    known = {"user": named.people, "group": named.groups}.get(key)
    if known is None:
        known = [name for name, nature in named.programs.items() if nature.value == key]
    name = reader.text(child, f"`{key}`", late=False)
    if name and name not in known:
        what = key.replace("_", " ")
        remedy = did_you_mean(name, sorted(known), f"declare it under `{key}s`")
        reader.add(child, Finding.UNKNOWN_NAME, f"there is no {what} `{name[:60]}`", remedy)
    return (To.GROUP if key == "group" else To.USER), name


def _window(reader: Reader, node: Node) -> Window:
    fields = reader.table(node, "a window of `when`", WINDOW_KEYS)
    days = tuple(range(len(DAYS)))
    if "days" in fields:
        named = [reader.choice(each, "a day", DAYS, default="") for each in reader.sequence(fields["days"], "`days`")]
        days = tuple(sorted({DAYS.index(day) for day in named if day}))
    first, last = _minute(reader, fields, "from", 0), _minute(reader, fields, "to", DAY_MIN)
    if first == last:
        reader.add(
            node, Finding.WRONG_VALUE, "a window begins when it ends", "leave out `from` and `to` for whole days"
        )
    return Window(days, first, last)


def _minute(reader: Reader, fields: Mapping[str, Node], key: str, default: int) -> int:
    if key not in fields:
        return default
    text = reader.text(fields[key], f"`{key}`", late=False)
    match = _TIME.fullmatch(text)
    if match is None:
        reader.add(fields[key], Finding.WRONG_VALUE, f"`{key}` is `{text[:60]}`", "write a time in UTC, such as 08:00")
        return default
    return DAY_MIN if match[1] is None else int(match[1]) * 60 + int(match[2])


def _moment(reader: Reader, node: Node) -> int | None:
    text = reader.text(node, "`until`", late=False)
    try:
        return moment_us(text)
    except MandamusError as error:
        reader.add(node, Finding.WRONG_VALUE, f"`until` is `{text[:60]}`", error.remedy)
        return None
