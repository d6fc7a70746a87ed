"""Our own convention: ``deny``, ``warn`` and ``require_approval`` as partial sets in ``package mandamus.<point>``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mandamus.policy.bundle import Tree
from mandamus.policy.model import ROOT, RULE, RULES, Entry, Fault, Options, Point, Said, fault
from mandamus.policy.trees import rule_names

_POINTS = tuple(point.value for point in Point)
_NAMES = 3
"""``mandamus``, the point, the rule."""


class Mandamus:
    """See the module."""

    name = ROOT
    suffixes: tuple[str, ...] = ()

    def modules(self, files: Mapping[str, str]) -> dict[str, str]:
        """See `Profile.modules`."""
        return Tree.evaluated(files)

    def tests(self, files: Mapping[str, str]) -> dict[str, str]:
        """See `Profile.tests`."""
        return Tree.testing(files)

    def entries(
        self,
        trees: Mapping[str, Mapping[str, Any]],
        files: Mapping[str, str],  # noqa: ARG002 - the profile's signature
        options: Options,  # noqa: ARG002 - as above
    ) -> list[Entry]:
        """See `Profile.entries`."""
        # A rule below an entry point makes that an object: it is asked, and what it gives is refused.
        found = dict.fromkeys(full[:_NAMES] for tree in trees.values() for full in rule_names(tree))
        return [
            Entry(full[1], ".".join(full), f"v := {RULE}", full[2])
            for full in sorted(found)
            if len(full) == len(("root", "point", "rule"))
            and full[0] == ROOT
            and full[1] in _POINTS
            and full[2] in RULES
        ]

    def read(self, entry: Entry, given: Sequence[tuple[str, Any]]) -> list[Said]:
        """See `Profile.read`: exactly one set; a rule that is there and gives nothing is trouble."""
        if entry.kind not in RULES:
            raise fault(
                Fault.SHAPE_INVALID,
                f"data.{entry.rule} is asked for {entry.kind!r}, and nobody knows what that is",
                "publish the set again with this release",
            )
        if not given:
            own = entry.rule.split(".")[-1]
            raise fault(
                Fault.UNDEFINED, f"data.{entry.rule} is undefined", f"write it as `{own} contains ... if {{...}}`"
            )
        kind, members = given[0]
        if kind != "set" or not isinstance(members, list) or len(given) > 1:
            raise fault(
                Fault.SHAPE_INVALID,
                f"data.{entry.rule} is of type {kind}, not a set",
                "see docs/reference/policy.md for the rules that are read",
            )
        return [Said(entry.kind, entry.rule, member) for member in members]


MANDAMUS = Mandamus()
