"""How a policy set is attached: what the catalog keeps with an environment or project, and policy judges by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mandamus.kernel.ids import Digest


class Level(StrEnum):
    """What a violation of an attached set means.

    ``advisory`` warns, ``soft-mandatory`` denies until named owners override it, ``hard-mandatory`` denies, and
    ``shadow`` is evaluated and recorded and changes nothing.
    """

    ADVISORY = "advisory"
    SOFT = "soft-mandatory"
    HARD = "hard-mandatory"
    SHADOW = "shadow"

    @property
    def binds(self) -> bool:
        """Whether a violation can stop a run."""
        return self in (Level.SOFT, Level.HARD)

    @property
    def strictness(self) -> int:
        """From 0, which changes nothing, to 3, which nobody can override."""
        return (Level.SHADOW, Level.ADVISORY, Level.SOFT, Level.HARD).index(self)


@dataclass(frozen=True)
class Attached:
    """A set as an environment or project is judged by it; ``override`` is how many of which group can override it."""

    set: Digest
    name: str = ""
    level: Level = Level.HARD
    override: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As it is stored and recorded."""
        return {"set": self.set, "name": self.name, "level": self.level.value, "override": dict(self.override)}


def attached_from(value: Mapping[str, Any]) -> Attached:
    """Rebuild an attachment from its JSON form."""
    return Attached(Digest(value["set"]), value["name"], Level(value["level"]), value["override"])
