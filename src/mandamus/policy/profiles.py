"""The conventions a policy set can be written in: what is asked of it, and what its answers mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.reader import did_you_mean
from mandamus.policy import (
    profile_conftest,
    profile_gatekeeper,
    profile_hcp,
    profile_mandamus,
    profile_scalr,
    profile_spacelift,
)
from mandamus.policy.model import Entry, Options, Said


class Profile(Protocol):
    """One convention. The modules are Rego v1 by the time it sees them."""

    @property
    def name(self) -> str:
        """As a platform file names it."""
        ...

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of files that belong to a set beside ``*.rego`` and ``data.json``."""
        ...

    def modules(self, files: Mapping[str, str]) -> dict[str, str]:
        """The Rego texts in the files of a set that are evaluated, by path; tests are not among them."""
        ...

    def tests(self, files: Mapping[str, str]) -> dict[str, str]:
        """The Rego texts that only test and must compile beside those that are evaluated, by path."""
        ...

    def entries(
        self, trees: Mapping[str, Mapping[str, Any]], files: Mapping[str, str], options: Options
    ) -> list[Entry]:
        """What to ask, from the modules' syntax trees (``rego.parse_module``); nothing stops the publishing."""
        ...

    def read(self, entry: Entry, given: Sequence[tuple[str, Any]]) -> list[Said]:
        """What an entry's ``(type, value)`` mean; raises ``policy_unavailable`` for what it does not understand."""
        ...


PROFILES: Mapping[str, Profile] = {
    made.name: made
    for made in (
        profile_mandamus.MANDAMUS,
        profile_conftest.CONFTEST,
        profile_spacelift.SPACELIFT,
        profile_hcp.HCP,
        profile_scalr.SCALR,
        profile_gatekeeper.GATEKEEPER,
    )
}


def find(name: str) -> Profile:
    """The profile of that name; raises ``policy_invalid``."""
    found = PROFILES.get(name)
    if found is None:
        raise MandamusError(
            Code.POLICY_INVALID,
            f"there is no profile {name!r}",
            remedy=did_you_mean(name, list(PROFILES), f"use one of {', '.join(PROFILES)}"),
        )
    return found
