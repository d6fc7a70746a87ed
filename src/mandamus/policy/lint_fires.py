"""Rules that can never say anything, whatever the input: only what is certain, so there is no false alarm."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mandamus.policy.model import RULES, Entry
from mandamus.policy.trees import constants, named_rules

_SCALARS = frozenset({"string", "number", "boolean", "null"})
_COLLECTIONS = frozenset({"array", "set", "object"})
_COMPARES: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "equal": operator.eq,
    "neq": operator.ne,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}
_ORDERED = frozenset({"lt", "lte", "gt", "gte"})


def never_fires(trees: Mapping[str, Mapping[str, Any]], entries: Sequence[Entry]) -> list[str]:
    """The rules that are asked (full names, without ``data``) and give nothing for any input.

    What a rule means that is no deny, warning or request for approval is its profile's affair: it counts as one that
    fires, and so does one that nobody finds in the trees.
    """
    ours = {entry.rule: tuple(entry.rule.split(".")) for entry in entries if _objects(entry)}
    others = {entry.rule for entry in entries if not _objects(entry)}
    rules = [named for tree in trees.values() for named in named_rules(tree)]
    silent = []
    for full, parts in ours.items():
        of_it = [rule for name, rule in rules if name[: len(parts)] == parts]
        if full not in others and of_it and all(_silent(rule) for rule in of_it):
            silent.append(full)
    return silent


def _objects(entry: Entry) -> bool:
    """Whether what an entry gives is a no, a warning or a request, which its kind begins with in every profile."""
    return entry.kind.split(" ")[0] in (*RULES, "violation")


def _silent(rule: Mapping[str, Any]) -> bool:
    """Whether no branch of a rule gives anything."""
    branch: Mapping[str, Any] | None = rule
    while branch is not None:
        if not _empty(branch.get("head", {})) and not any(_fails(each) for each in branch.get("body", ())):
            return False
        branch = branch.get("else")
    return True


def _empty(head: Mapping[str, Any]) -> bool:
    """Whether what a head gives is nothing: false, or a collection without members."""
    value = head.get("value")
    if value is None or "key" in head:
        return False
    return value == {"type": "boolean", "value": False} or _is_empty(value)


def _fails(expression: Mapping[str, Any]) -> bool:
    """Whether an expression of a body fails for every input."""
    terms = expression.get("terms")
    if expression.get("negated"):
        return isinstance(terms, dict) and terms == {"type": "boolean", "value": True}
    if isinstance(terms, list):
        return _compares_wrong(terms)
    if not isinstance(terms, dict):
        return False
    if "symbols" in terms:
        # `some x in []`
        return any(each.get("type") == "call" and _is_empty(each["value"][-1]) for each in terms["symbols"])
    return terms == {"type": "boolean", "value": False}


def _compares_wrong(terms: Sequence[Any]) -> bool:
    """Whether it compares two constants, and they are not so."""
    name = ".".join(constants(terms[0].get("value", []))) if terms[0].get("type") == "ref" else ""
    if name not in _COMPARES or len(terms) != len(("op", "left", "right")):
        return False
    left, right = terms[1:]
    if left.get("type") not in _SCALARS or right.get("type") not in _SCALARS:
        return False
    if left["type"] != right["type"]:
        # Rego orders all types among each other; only what is certain counts here.
        return name in ("eq", "equal")
    if name in _ORDERED and left["type"] not in ("number", "string"):
        return False
    return not _COMPARES[name](left["value"], right["value"])


def _is_empty(term: Mapping[str, Any]) -> bool:
    return term.get("type") in _COLLECTIONS and not term.get("value")
