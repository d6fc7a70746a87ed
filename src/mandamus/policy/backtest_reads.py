"""Which parts of an input a policy set reads, so that decisions that look the same to it are evaluated once.

The paths come from the syntax trees: of every reference that begins with ``input`` its constant head. What cannot be
said in advance (the whole input, a computed key at its top) means that there is no projection.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from mandamus.policy.trees import constants, is_input

_MISSING = ...

Wanted = dict[str, Any]
"""Key to what is wanted beneath it; empty means all of it."""


class Projection:
    """The paths that are read, as one tree of keys."""

    def __init__(self, paths: Iterable[tuple[str, ...]]) -> None:
        self.paths = tuple(sorted(set(paths)))
        self._wanted: Wanted = {}
        # Shorter paths come first, and a path that is wanted whole takes all beneath it.
        for path in sorted(self.paths, key=len):
            _want(self._wanted, path)

    def key(self, data: bytes) -> bytes | None:
        """16 bytes that are the same for inputs whose read parts are the same; None when the bytes are no object.

        Numbers keep the text they came with.
        """
        try:
            value = json.loads(data, parse_float=Decimal)
        except (ValueError, RecursionError):
            return None
        if not isinstance(value, dict):
            return None
        seen = repr(_pick(value, self._wanted)).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(seen, digest_size=16).digest()


def projection(trees: Iterable[Mapping[str, Any]]) -> Projection | None:
    """What the modules of these syntax trees (of ``rego.parse_module``) read; None when it can be anything."""
    paths: set[tuple[str, ...]] = set()
    for tree in trees:
        for path in _reads(tree):
            if not path:
                return None
            paths.add(path)
    return Projection(paths)


def _want(wanted: Wanted, path: Sequence[str]) -> None:
    for index, key in enumerate(path):
        last = index == len(path) - 1
        if key in wanted and (last or not wanted[key]):
            return
        wanted = wanted.setdefault(key, {})


def _pick(value: Any, wanted: Wanted) -> Any:
    if not wanted or not isinstance(value, dict):
        return value
    return [_pick(value[key], beneath) if key in value else _MISSING for key, beneath in wanted.items()]


def _reads(tree: Any) -> Iterator[tuple[str, ...]]:
    """The constant head of every mention of the input, empty for one without."""
    stack = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, dict):
            if is_input(item):
                # A bare mention, as in `f(input)`.
                yield ()
            parts = item.get("value") if item.get("type") == "ref" else None
            if isinstance(parts, list) and parts and is_input(parts[0]):
                yield tuple(constants(parts))[1:]
                stack.extend(parts[1:])
            elif _replaces_input(item):
                # What stands in its place is read where it is written; the beneath reads no more than that.
                stack.append(item["value"])
            else:
                stack.extend(item.values())


def _replaces_input(item: Mapping[str, Any]) -> bool:
    """Whether this is the ``with input as`` (whole, not a part) of an expression."""
    target = item.get("target")
    if not isinstance(target, dict) or "value" not in item:
        return False
    parts = target.get("value")
    return is_input(target) or (isinstance(parts, list) and len(parts) == 1 and is_input(parts[0]))
