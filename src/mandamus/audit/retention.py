"""How long which events are kept: classes of events, each with the least and the longest time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mandamus.kernel import canonical
from mandamus.kernel.ids import Digest

DEFAULT = "default"
"""The class of every event that no other class covers."""

_SECOND_US = 1_000_000


@dataclass(frozen=True)
class RetentionClass:
    """Events of some kinds, projects or environments; 0 seconds is no limit.

    A kind is written in full or as a family such as ``effect.*``. What is kept at least so long can be neither erased
    nor pruned before; what is kept at most so long is pruned behind it.
    """

    name: str
    at_least_s: int = 0
    at_most_s: int = 0
    kinds: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()

    @property
    def digest(self) -> Digest:
        """Of everything it says."""
        return canonical.digest_of(vars(self))

    def covers(self, facts: Facts) -> bool:
        """Whether the event is of one of its kinds, projects or environments."""
        family = f"{facts.kind.partition('.')[0]}.*"
        if facts.kind in self.kinds or family in self.kinds or (facts.project and facts.project in self.projects):
            return True
        # Of a run whose request is gone nobody knows the environment any more: it may be this one.
        return bool(self.environments) and (facts.environment is None or facts.environment in self.environments)


@dataclass(frozen=True)
class Facts:
    """What a class or a hold can ask of an event; ``environment`` is empty for none, None when nobody knows."""

    at_us: int
    kind: str
    subject: str
    run: str
    project: str
    environment: str | None


@dataclass(frozen=True)
class Kept:
    """Until when (microseconds) an event must be kept, and because of which class."""

    until_us: int
    by: str


class Rules:
    """All classes of a home together."""

    def __init__(self, classes: Iterable[RetentionClass]) -> None:
        self._default = [each for each in classes if each.name == DEFAULT]
        self._named = [each for each in classes if each.name != DEFAULT]

    @property
    def longest_s(self) -> int:
        """No event that is older than this must be kept."""
        return max((each.at_least_s for each in (*self._default, *self._named)), default=0)

    def kept(self, facts: Facts) -> Kept:
        """The longest of the least times of its classes."""
        found = [Kept(facts.at_us + each.at_least_s * _SECOND_US, each.name) for each in self._of(facts)]
        return max(found, key=lambda kept: kept.until_us, default=Kept(0, ""))

    def goes_us(self, facts: Facts) -> int | None:
        """From when on it is not to be kept any longer: the shortest of the longest times; None for never."""
        limits = [each.at_most_s for each in self._of(facts) if each.at_most_s]
        return facts.at_us + min(limits) * _SECOND_US if limits else None

    def _of(self, facts: Facts) -> list[RetentionClass]:
        return [each for each in self._named if each.covers(facts)] or self._default


def facts_of(leaf: Mapping[str, Any], environment: str | None) -> Facts:
    """Those of a decoded leaf; ``environment`` is that of its run."""
    own = leaf["what"]["id"] if leaf["what"]["type"] == "environment" else leaf["data"].get("environment")
    return Facts(
        at_us=leaf["at"],
        kind=leaf["kind"],
        subject=leaf["who"]["subject"],
        run=leaf["run"] or "",
        project=leaf["project"] or "",
        environment=environment if leaf["run"] else str(own or ""),
    )
