"""OPA's trace as a tree a person can read: which rules were tried, and where each failed or that it came true."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mandamus.kernel import canonical
from mandamus.policy.because_reads import Reader
from mandamus.policy.profile_foreign import OWN

Event = Mapping[str, Any]

DEPTH = 4
SHOWN_MAX = 100
_RULE = re.compile(r"(?!__local)([A-Za-z_][^\s(]*(?:\([^)]*\))?)(?: .*)? if \{ ", re.DOTALL)
_LOCAL = re.compile(r"__local\w*?(\d+)__")
_CONSTANTS = frozenset({"string", "number", "boolean", "null"})
_SAME = frozenset({"equal", "eq"})


@dataclass(frozen=True)
class Stop:
    """Where a rule went no further: the line as it is written, the variables in it, and how many times."""

    file: str
    line: int
    text: str
    values: Mapping[str, Any]
    times: int = 1

    def to_json(self) -> dict[str, Any]:
        """As commands print it."""
        return {**vars(self), "values": dict(self.values)}


@dataclass(frozen=True)
class Tried:
    """A rule body that was tried ``times`` times; ``true`` counts the values it gave, ``calls`` what it tried."""

    rule: str
    file: str
    line: int
    true: int
    stops: tuple[Stop, ...]
    calls: tuple[Tried, ...]
    times: int = 1

    def to_json(self) -> dict[str, Any]:
        """As commands print it."""
        return {
            **vars(self),
            "stops": [stop.to_json() for stop in self.stops],
            "calls": [call.to_json() for call in self.calls],
        }


@dataclass
class _Query:
    """One query of the trace: a rule's body, or a part of one."""

    parent: int
    rule: str
    file: str
    line: int
    true: int = 0
    fails: list[Event] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)


def tries(trace: Sequence[Event], sources: Mapping[str, str], *, full: bool) -> list[Tried]:
    """The rules that were tried first, each with those beneath; equal tries are one, unless all is wanted in full."""
    queries: dict[int, _Query] = {}
    first: list[int] = []
    for event in trace:
        number = event["query_id"]
        if event["op"] == "Enter" and number not in queries:
            query = queries[number] = _entered(event)
            above = _above(queries, query)
            if query.rule:
                (first if above is None else queries[above].calls).append(number)
        elif event["op"] == "Exit" and number in queries:
            queries[number].true += 1
        elif event["op"] == "Fail" and number in queries:
            queries[number].fails.append(event)
    return _made(queries, first, {path: text.split("\n") for path, text in sources.items()}, 0, full=full)


def _entered(event: Event) -> _Query:
    file, _, line = event["location"].rpartition(":")
    match = _RULE.match(event["node"]) if line.isdigit() else None
    rule = _LOCAL.sub("_", match[1]) if match else ""
    return _Query(event["parent_id"], rule, file, int(line) if line.isdigit() else 0)


def _above(queries: Mapping[int, _Query], query: _Query) -> int | None:
    """The query of the nearest rule around this one."""
    number, seen = query.parent, 0
    while number in queries and seen <= len(queries):
        if queries[number].rule:
            return number
        if queries[number].parent == number:
            return None
        number, seen = queries[number].parent, seen + 1
    return None


def _made(
    queries: Mapping[int, _Query],
    numbers: Sequence[int],
    rows: Mapping[str, Sequence[str]],
    depth: int,
    *,
    full: bool,
) -> list[Tried]:
    found: dict[Any, Tried] = {}
    for number in numbers:
        query = queries[number]
        if query.file.startswith(OWN) or (depth >= DEPTH and not full):
            continue
        stops = tuple(_stops(query, rows, full=full))
        key = number if full else (query.file, query.line, query.true > 0, tuple((s.line, s.text) for s in stops))
        known = found.get(key)
        if known:
            found[key] = replace(known, times=known.times + 1)
            continue
        calls = tuple(_made(queries, query.calls, rows, depth + 1, full=full))
        found[key] = Tried(query.rule, query.file, query.line, query.true, stops, calls)
    return list(found.values())


def _stops(query: _Query, rows: Mapping[str, Sequence[str]], *, full: bool) -> Iterator[Stop]:
    found: dict[Any, Stop] = {}
    for count, event in enumerate(query.fails):
        file, _, number = event["location"].rpartition(":")
        if not number.isdigit():
            continue
        line = int(number)
        lines = rows.get(file, ())
        text = lines[line - 1].strip() if 0 < line <= len(lines) else str(event["node"])
        key = count if full else line
        if key in found:
            found[key] = replace(found[key], times=found[key].times + 1)
        else:
            values = event.get("locals") or {}
            words = set(re.findall(r"\w+", text))
            named = {name: value for name, value in values.items() if name in words or full}
            found[key] = Stop(file, line, text, named)
    yield from found.values()


def mismatch(reader: Reader, tree: Mapping[str, Any], document: Any) -> str:
    """Which comparison with a constant keeps a rule from being tried at all; empty when none is found.

    OPA looks such rules up in an index, and of those that cannot be true there is no trace.
    """
    for expression in tree.get("body", ()):
        terms = expression.get("terms")
        if not isinstance(terms, list) or expression.get("negated") or len(terms) != len(("op", "a", "b")):
            continue
        operator = terms[0].get("value")
        if not isinstance(operator, list) or operator[-1].get("value") not in _SAME:
            continue
        for left, right in ((terms[1], terms[2]), (terms[2], terms[1])):
            origin = reader.origin(tree, left) if left.get("type") in ("ref", "var") else None
            if origin and right.get("type") in _CONSTANTS:
                there, value = _at(document, origin.parts)
                if not there or value != right.get("value"):
                    said = f"is {_plain(value)}, not {_plain(right.get('value'))}" if there else "is undefined"
                    return f"{'.'.join(('input', *map(str, origin.parts)))} {said}"
    return ""


def _at(value: Any, parts: Sequence[Any]) -> tuple[bool, Any]:
    for part in parts:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return False, None
    return True, value


def _plain(value: Any) -> str:
    text = canonical.dumps(value).decode()
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}..."
