"""What OPA's trace of a test says: the expression that failed, and which cases a test with cases went through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mandamus.kernel import canonical
from mandamus.policy.testing_model import Test

Event = Mapping[str, Any]

_GLOBAL = frozenset({"data", "input"})


def failed_line(test: Test, trace: Sequence[Event]) -> int:
    """The line of the last expression of the test itself that failed; 0 when it is not in the trace."""
    return next((_line(event) for event in reversed(_own(test, trace)) if event["op"] == "Fail"), 0)


def cases(test: Test, trace: Sequence[Event]) -> dict[tuple[str, ...], tuple[bool, int]]:
    """Every case that the test took up: whether it came to its end, and the line of its last failure (or 0).

    A case counts from the first expression after which all keys have a value, as it does in ``opa test``. A key that
    is a call is named by the variables in it.
    """
    found: dict[tuple[str, ...], tuple[bool, int]] = {}
    for event in _own(test, trace):
        name = _name(test, event.get("locals") or {})
        if name is None:
            continue
        ended, line = found.get(name, (False, 0))
        if event["op"] == "Exit":
            ended = True
        elif event["op"] == "Fail":
            line = _line(event)
        found[name] = (ended, line)
    return found


def has_calls(test: Test) -> bool:
    """Whether a case's name can only be known from the test's value."""
    return any(_variables(key) and not _local(key) for key in test.keys)


def _local(key: Mapping[str, Any]) -> bool:
    """Whether it is a variable or a reference into one, so that its value can be read off the trace."""
    if key["type"] == "ref":
        return not _variables(key) & _GLOBAL and all(_local(part) or "value" in part for part in key["value"])
    return bool(key["type"] == "var")


def _own(test: Test, trace: Sequence[Event]) -> list[Event]:
    """The events of the rule's own body, not of what it refers to."""
    here = f"{test.file}:{test.line}"
    name = test.path[-1]
    queries = {e["query_id"] for e in trace if e["op"] == "Enter" and e["location"] == here and name in e["node"]}
    return [event for event in trace if event["query_id"] in queries and event["location"].startswith(test.file)]


def _line(event: Event) -> int:
    return int(event["location"].rpartition(":")[2])


def _name(test: Test, known: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The case that an event belongs to; None as long as a key has no value."""
    parts = []
    for key in test.keys:
        names = _variables(key) - _GLOBAL
        if not all(name in known for name in names):
            return None
        if _local(key):
            value = _value(key, known)
            if value is _MISSING:
                return None
            parts.append(text(value))
        elif names:
            parts.append(", ".join(f"{name}={text(known[name])}" for name in sorted(names)))
        else:
            parts.append(text(key["value"]))
    return tuple(parts)


def text(value: Any) -> str:
    """A case's key as it is shown: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else canonical.dumps(value).decode()


_MISSING = object()


def _value(key: Mapping[str, Any], known: Mapping[str, Any]) -> Any:
    if key["type"] == "var":
        return known[key["value"]]
    if key["type"] != "ref":
        return key["value"]
    value = known.get(key["value"][0]["value"], _MISSING)
    for part in key["value"][1:]:
        at = _value(part, known)
        try:
            value = value[int(at) if isinstance(value, list) else at]
        except (KeyError, IndexError, TypeError, ValueError):
            return _MISSING
    return value


def _variables(key: Any) -> set[str]:
    """The local variables in a term; the name of a function is none."""
    return set(_walk_variables(key))


def _walk_variables(term: Any) -> Iterator[str]:
    if isinstance(term, list):
        for item in term:
            yield from _walk_variables(item)
    elif isinstance(term, dict):
        if term.get("type") == "var":
            yield term["value"]
        elif term.get("type") == "call":
            yield from _walk_variables(term["value"][1:])
        else:
            yield from _walk_variables(term.get("value"))
