"""Reads the part of a platform file that says how long events are kept."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mandamus.audit.kinds import Kind as EventKind
from mandamus.audit.retention import DEFAULT, RetentionClass
from mandamus.catalog.workflow import NAME
from mandamus.kernel.document import Finding, Node
from mandamus.kernel.reader import Reader, did_you_mean

YEAR_DAYS = 366
"""A year is rather too long than too short: what must be kept for seven years is kept for every one of their days."""
YEARS_MAX = 100

_KEYS = ("at_least", "at_most", "kinds", "projects", "environments")
_DURATION = re.compile(r"([1-9][0-9]{0,4})(y|d)")
_DAY_S = 86_400


def read_retention(reader: Reader, node: Node) -> tuple[RetentionClass, ...]:
    """Every class; notes what is wrong."""
    return tuple(_class(reader, name, node, child) for name, child in reader.mapping(node, "`retention`").items())


def _class(reader: Reader, name: str, parent: Node, node: Node) -> RetentionClass:
    if not NAME.fullmatch(name):
        message = f"`{name[:60]}` is no name for a retention class"
        reader.add(parent.key_at(name), Finding.WRONG_VALUE, message, "use lower-case letters, digits, - and _")
    fields = reader.table(node, f"retention class `{name}`", _KEYS)
    made = RetentionClass(
        name,
        _seconds(reader, fields, "at_least"),
        _seconds(reader, fields, "at_most"),
        read_kinds(reader, fields),
        read_texts(reader, fields, "projects"),
        read_texts(reader, fields, "environments"),
    )
    covers = bool(made.kinds or made.projects or made.environments)
    if covers == (name == DEFAULT):
        message = "covers what no other class covers" if covers else "covers nothing"
        remedy = (
            "delete its kinds, projects and environments" if covers else "add `kinds`, `projects` or `environments`"
        )
        reader.add(node, Finding.WRONG_VALUE, f"retention class `{name}` {message}", remedy)
    if made.at_most_s and made.at_most_s < made.at_least_s:
        reader.add(fields["at_most"], Finding.WRONG_VALUE, "`at_most` is shorter than `at_least`", "give a longer one")
    return made


def _seconds(reader: Reader, fields: Mapping[str, Node], key: str) -> int:
    if key not in fields:
        return 0
    text = reader.text(fields[key], f"`{key}`", late=False)
    match = _DURATION.fullmatch(text)
    days = int(match[1]) * (YEAR_DAYS if match[2] == "y" else 1) if match else 0
    if not 0 < days <= YEARS_MAX * YEAR_DAYS:
        message = f"`{key}` is `{text[:60]}`"
        reader.add(
            fields[key], Finding.WRONG_VALUE, message, f"write years or days, such as 7y or 90d, up to {YEARS_MAX}y"
        )
        return 0
    return days * _DAY_S


def read_kinds(reader: Reader, fields: Mapping[str, Node]) -> tuple[str, ...]:
    """Kinds of events, each in full or as a family such as ``run.*``; notes what is none."""
    known = {kind.text for kind in EventKind}
    known |= {f"{text.partition('.')[0]}.*" for text in known}
    for element in reader.sequence(fields["kinds"], "`kinds`") if "kinds" in fields else ():
        text = reader.text(element, "an element of `kinds`", late=False)
        if text and text not in known:
            remedy = did_you_mean(text, sorted(known), "docs/reference/events.md lists them")
            reader.add(element, Finding.UNKNOWN_NAME, f"`{text[:60]}` is no kind of event", remedy)
    return read_texts(reader, fields, "kinds")


def read_texts(reader: Reader, fields: Mapping[str, Node], key: str) -> tuple[str, ...]:
    """A list of texts under a key, each once; none where there is no such key."""
    if key not in fields:
        return ()
    return tuple(
        dict.fromkeys(
            reader.text(each, f"an element of `{key}`", late=False) for each in reader.sequence(fields[key], f"`{key}`")
        )
    )
