"""For which tokens of another issuer a program is given one of ours, as declared, and whether one fits; no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mandamus.kernel.access import Permission

FORMAT = "exchange/1"
MINUTES = 15
MINUTES_MAX = 60
PATTERNS_MAX = 50

SHARED: Mapping[str, frozenset[str]] = {
    "https://token.actions.githubusercontent.com": frozenset(
        {
            "sub",
            "repository",
            "repository_id",
            "repository_owner",
            "repository_owner_id",
            "job_workflow_ref",
            "workflow_ref",
            "enterprise_id",
        }
    ),
    "https://gitlab.com": frozenset({"sub", "project_path", "project_id", "namespace_path", "namespace_id"}),
}
"""Issuers that sign for everybody in the world, and the claims that say for whom: one of them has to be asked for."""


@dataclass(frozen=True)
class Exchange:
    """One declaration.

    A token of ``issuer`` for ``audience`` fits when each of ``claims`` is there and, as a whole, one of its patterns.
    It is worth ``minutes`` as ``account`` with at most ``permissions``. ``by`` declared it (with whoever answers for
    that program), and is a maker of what is made with it.
    """

    name: str
    issuer: str
    audience: str
    claims: Mapping[str, tuple[str, ...]]
    account: str
    permissions: frozenset[Permission]
    minutes: int = MINUTES
    by: str = ""

    def to_json(self) -> dict[str, Any]:
        """As stored."""
        return {
            **vars(self),
            "format": FORMAT,
            "claims": {claim: list(patterns) for claim, patterns in self.claims.items()},
            "permissions": sorted(each.value for each in self.permissions),
        }

    def fits(self, claims: Mapping[str, Any]) -> Mapping[str, str] | None:
        """What verified claims say of those that were asked for, or None when one says something else or nothing."""
        said = {}
        for claim, patterns in self.claims.items():
            value = claims.get(claim)
            if not isinstance(value, str) or not value.strip():
                return None
            if not any(matches(pattern, value) for pattern in patterns):
                return None
            said[claim] = value
        return said or None


def exchange_from(value: Mapping[str, Any]) -> Exchange:
    """Rebuild one from what was stored."""
    known = {name: part for name, part in value.items() if name != "format"}
    known["claims"] = {claim: tuple(patterns) for claim, patterns in known["claims"].items()}
    known["permissions"] = frozenset(map(Permission, known["permissions"]))
    return Exchange(**known)


def matches(pattern: str, value: str) -> bool:
    """Whether a whole value is as a pattern says: ``*`` stands for one or more characters but ``/`` and ``:``."""
    parts = (re.escape(part) for part in pattern.split("*"))
    return re.fullmatch("[^/:\r\n]+".join(parts), value) is not None


def says_whose(issuer: str, claims: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether the claims tell one customer of a shared issuer from another: a pattern that begins with one does."""
    needed = SHARED.get(issuer)
    if needed is None:
        return True
    return any(
        claim in needed and all(pattern.partition("*")[0].strip(":/") for pattern in patterns)
        for claim, patterns in claims.items()
    )
