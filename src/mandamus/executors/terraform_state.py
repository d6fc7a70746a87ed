"""A state file (Terraform's state format 4), read for its outputs and for what it knows of each object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mandamus.executors.model import StateRef
from mandamus.executors.terraform_folder import Folder, read
from mandamus.kernel import canonical
from mandamus.kernel.errors import MandamusError

Key = tuple[str, str, str, str, str | int | None]
"""Module address (empty for the root), mode, type, name and index: what names an object."""


@dataclass(frozen=True)
class Outputs:
    """The outputs that may be seen, and the names of those that terraform marks as sensitive."""

    values: Mapping[str, Any] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()


@dataclass(frozen=True)
class StateFile:
    """A state that can be read. ``data`` are its bytes."""

    ref: StateRef
    data: bytes = field(repr=False)
    document: Mapping[str, Any] = field(repr=False)

    @property
    def outputs(self) -> Outputs:
        """The root module's outputs."""
        found = self.document.get("outputs") or {}
        hidden = tuple(sorted(name for name, output in found.items() if output.get("sensitive")))
        return Outputs({name: output.get("value") for name, output in found.items() if name not in hidden}, hidden)

    @property
    def objects(self) -> Mapping[Key, Any]:
        """Everything the state says of each object, its deposed predecessors included."""
        objects: dict[Key, list[Any]] = {}
        for key, instance in self._instances():
            objects.setdefault(key, []).append(instance)
        return objects

    def _instances(self) -> Iterator[tuple[Key, Any]]:
        for found in self.document.get("resources") or ():
            for instance in found.get("instances") or ():
                key = (found.get("module", ""), found["mode"], found["type"], found["name"], instance.get("index_key"))
                yield key, instance


def parse(data: bytes) -> StateFile | None:
    """The state in some bytes, or None when they are none: empty, or cut short."""
    try:
        document = canonical.loads(data)
    except MandamusError:
        return None
    if not isinstance(document, dict):
        return None
    lineage, serial = document.get("lineage"), document.get("serial")
    if not isinstance(lineage, str) or not lineage or not isinstance(serial, int) or isinstance(serial, bool):
        return None
    return StateFile(StateRef(lineage, serial), data, document)


def left_in(folder: Folder) -> StateFile | None:
    """The newest state that terraform left in its folder; the one it could not write to its place comes first."""
    for path in (folder.errored, folder.state):
        found = parse(read(path) or b"")
        if found is not None:
            return found
    return None
