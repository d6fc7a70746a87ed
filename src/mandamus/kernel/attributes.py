"""What differs between the two sides of a change, attribute by attribute, for every door that shows it to a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from mandamus.kernel.changeset import Change
from mandamus.kernel.pointer import escaped, unescaped


class Missing(Enum):
    """The side on which an attribute is not there."""

    ABSENT = "absent"


ABSENT: Final = Missing.ABSENT


@dataclass(frozen=True)
class Attribute:
    """One attribute that differs; ``path`` is dotted, a side that lacks it is `ABSENT`.

    Of a sensitive one neither side may be shown; of an unknown one ``after`` will be known after the apply.
    """

    path: str
    before: Any
    after: Any
    sensitive: bool = False
    unknown: bool = False
    forces_replace: bool = False


def attributes(change: Change) -> Iterator[Attribute]:
    """Every leaf that differs, by path; a new or a lost object has one side only. A tool's own diff comes as it is."""
    if change.diff:
        yield from _given(change.diff)
        return
    before, after = dict(_leaves(change.before)), dict(_leaves(change.after))
    paths = dict.fromkeys([*before, *after, *change.unknown])
    for path in sorted(paths):
        old, new = before.get(path, ABSENT), after.get(path, ABSENT)
        unknown = any(_within(path, pointer) for pointer in change.unknown)
        whole = path in change.unknown and any(_within(other, path) and other != path for other in paths)
        if whole or (old == new and not unknown):
            continue
        sensitive = any(_within(path, pointer) for pointer in change.sensitive)
        yield Attribute(_named(path), old, new, sensitive=sensitive, unknown=unknown)


def _given(diff: Sequence[Mapping[str, Any]]) -> Iterator[Attribute]:
    for part in diff:
        before = part.get("before")
        yield Attribute(
            _named(str(part.get("path", ""))),
            ABSENT if before is None else before,
            part.get("after"),
            sensitive=bool(part.get("sensitive")),
            unknown=bool(part.get("unknown")),
            forces_replace=bool(part.get("forces_replace")),
        )


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """JSON pointers (RFC 6901) of the scalars and the empty containers of a value, without nulls."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{path}/{escaped(str(key))}")
    elif isinstance(value, (list, tuple)) and value:
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}/{index}")
    elif value is not None:
        yield path, value


def _within(path: str, pointer: str) -> bool:
    return path == pointer or path.startswith(f"{pointer}/")


def _named(pointer: str) -> str:
    parts = pointer.lstrip("/").split("/")
    return ".".join(unescaped(part) for part in parts) or "value"
