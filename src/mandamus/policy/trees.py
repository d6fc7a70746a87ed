"""OPA's syntax trees (``rego.parse_module``): the names of rules and references in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mandamus.kernel import canonical

PARSE = "rego.parse_module(input.name, input.text)"
"""The query that gives the tree of `to_parse`."""

COMPREHENSIONS = frozenset({"arraycomprehension", "setcomprehension", "objectcomprehension"})
MEMBER_OF_THREE = "member_3"
"""What ``some key, value in domain`` is in a tree."""


def to_parse(path: str, text: str) -> bytes:
    """The input of `PARSE`."""
    return canonical.dumps({"name": path, "text": text})


def references(syntax: object) -> Iterator[str]:
    """Every reference with constant parts, dotted.

    Names that an import or a rule shadows count too: a set that calls its own function ``http.send`` is renamed
    rather than trusted.
    """
    stack = [syntax]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, dict):
            stack.extend(item.values())
            parts = item.get("value") if item.get("type") == "ref" else None
            if isinstance(parts, list):
                yield ".".join(constants(parts))


def constants(parts: list[Any]) -> Iterator[str]:
    """The parts of a reference up to the first that is computed."""
    for index, part in enumerate(parts):
        if part.get("type") not in (("var",) if index == 0 else ("string",)):
            return
        yield str(part["value"])


def rule_names(tree: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The full path of every rule in a module, without ``data``."""
    for full, _ in named_rules(tree):
        yield full


def named_rules(tree: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Every rule in a module behind its full path, without ``data``."""
    package = package_of(tree)
    for rule in tree.get("rules", ()):
        yield (*package, *constants(rule["head"].get("ref", []))), rule


def package_of(tree: Mapping[str, Any]) -> tuple[str, ...]:
    """The path of a module's package, without ``data``."""
    return tuple(str(part["value"]) for part in tree["package"]["path"][1:])


def is_variable(term: object) -> bool:
    """Whether a term is a variable."""
    return isinstance(term, dict) and term.get("type") == "var"


def is_input(term: Any) -> bool:
    """Whether a term is the input."""
    return is_variable(term) and term.get("value") == "input"
