"""Conftest's convention: ``deny``, ``violation`` and ``warn`` rules of a namespace judge the native document.

Format: https://www.conftest.dev (rule names, namespaces, exceptions).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mandamus.policy.bundle import Tree
from mandamus.policy.model import DENY, WARN, Entry, Options, Said
from mandamus.policy.profile_foreign import ADAPTER, ANSWER, answer, asking, members, rules, text_or_object

DEFAULT_NAMESPACE = "main"
ALL_NAMESPACES = "*"
_NAME = re.compile(r"(deny|violation|warn)(?:_([a-zA-Z0-9]+(?:_[a-zA-Z0-9]+)*))?")
_PARTIAL = ""
_COMPLETE = " or nothing"
"""In an entry's kind: a complete rule may be undefined, which is a pass."""

_ADAPTER = """package mandamus.adapter

# What the step's own tool calls its plan; without any, the change set.
natives := [native | some native in object.get(input, "native", {})]

document := natives[0] if count(natives) == 1

document := input.change_set if count(natives) == 0
"""


class Conftest:
    """See the module."""

    name = "conftest"
    suffixes: tuple[str, ...] = ()

    def modules(self, files: Mapping[str, str]) -> dict[str, str]:
        """See `Profile.modules`."""
        found = Tree.evaluated(files)
        return {**found, ADAPTER: _ADAPTER} if found else {}

    def tests(self, files: Mapping[str, str]) -> dict[str, str]:
        """See `Profile.tests`."""
        return Tree.testing(files)

    def entries(
        self,
        trees: Mapping[str, Mapping[str, Any]],
        files: Mapping[str, str],  # noqa: ARG002 - the profile's signature
        options: Options,
    ) -> list[Entry]:
        """See `Profile.entries`."""
        wanted = options.namespaces or (DEFAULT_NAMESPACE,)
        found = [rule for rule in rules(trees) if ALL_NAMESPACES in wanted or rule.package in wanted]
        exceptions = {rule.package: rule.full for rule in found if rule.name == "exception"}
        made = []
        for rule in found:
            named = _NAME.fullmatch(rule.name)
            if named:
                others = {"exception": exceptions[rule.package]} if rule.package in exceptions else {}
                kind = (WARN if named[1] == "warn" else DENY) + (_PARTIAL if rule.partial else _COMPLETE)
                made.append(Entry("plan", rule.full, asking(others), kind))
        return made

    def read(self, entry: Entry, given: Sequence[tuple[str, Any]]) -> list[Said]:
        """See `Profile.read`: texts, or objects with a text ``msg``; nothing where an exception names the rule."""
        found = answer(entry, given)
        kind = entry.kind.removesuffix(_COMPLETE)
        said = members(entry, found[ANSWER], required=kind == entry.kind)
        own = entry.rule.rpartition(".")[2]
        if said and _excepted(own) & _exceptions(found.get("exception", ())):
            return []
        return [Said(kind, entry.rule, text_or_object(entry, member, ("msg",))) for member in said]


def _excepted(rule: str) -> set[str]:
    """The words that except a rule: what follows ``deny_``; for a bare rule its own name or the empty text."""
    named = _NAME.fullmatch(rule)
    suffix = named[2] if named else None
    return {suffix} if suffix else {rule, ""}


def _exceptions(pairs: Sequence[Any]) -> set[str]:
    """The words that the members of ``exception`` hold; each member is a collection of them."""
    found: set[str] = set()
    for _, value in pairs:
        for member in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            words = member.values() if isinstance(member, dict) else member if isinstance(member, list) else ()
            found.update(word for word in words if isinstance(word, str))
    return found


CONFTEST = Conftest()
