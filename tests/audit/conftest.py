"""A log on either database, and what tests write into it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from mandamus.audit import note, tiles, tree
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Leaf, Resource
from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.kernel import canonical
from mandamus.kernel.access import OWNER, Subject, Where
from mandamus.kernel.clock import Clock
from mandamus.kernel.ids import Entropy
from mandamus.store.database import Database

ORIGIN = "log.example.com/home"
Open = Callable[..., Audit]


@pytest.fixture
def who() -> Subject:
    return Subject("ada", "os-user", frozenset({"platform"}), OWNER, "Ada Lovelace")


@pytest.fixture
def signer() -> Signer:
    return Signer(ORIGIN, b"\x07" * 32)


@pytest.fixture
def platform() -> Signer:
    return Signer(f"{ORIGIN}/platform", b"\x08" * 32)


@pytest.fixture
def folder(home: Path) -> Path:
    return home / "log"


@pytest.fixture
def open_audit(
    database: Database, folder: Path, signer: Signer, platform: Signer, who: Subject, clock: Clock, entropy: Entropy
) -> Open:
    """Open the log as a process that starts would; several may be open at once."""

    def opened(into: Path = folder) -> Audit:
        audit = Audit(database, into, signer, clock, entropy)
        audit.open(who, platform.vkey)
        return audit

    return opened


@pytest.fixture
def audit(open_audit: Open) -> Audit:
    return open_audit()


@pytest.fixture
def write(database: Database, who: Subject) -> Callable[..., list[Leaf]]:
    """Record events, each in a transaction of its own."""

    def recorded(audit: Audit, count: int, run: str = "run_1") -> list[Leaf]:
        leaves = []
        for number in range(count):
            event = Event(
                Kind.STEP_PLANNED,
                dataclasses.replace(who, where=Where(address="192.0.2.7", agent="mandamus-cli")),
                Resource("step", "build"),
                run=run,
                step="build",
                data={"attempt": number + 1},
            )
            with database.begin("test") as tx:
                leaves.append(audit.record(tx, event))
        return leaves

    return recorded


def _leaf(stream: str, seq: int, prev: str | None, **other: object) -> bytes:
    """A leaf of format 1."""
    names = {"id": "evt_1", "kind": "step.planned", "outcome": "ok", "project": None, "run": None, "step": "build"}
    what, where = {"type": "step", "id": "build"}, {"address": None, "agent": None, "node": None, "request": None}
    who = {"subject": "ada", "authn": "os-user", "behalf_of": None, "groups": [], "name": None}
    authority: dict[str, list[str]] = {"decisions": [], "approvals": []}
    fields = {"at": 1, "authority": authority, "data": {}, "format": "leaf/1", "why": "", **names}
    fields |= {"what": what, "where": where, "who": who, "stream": stream, "seq": seq, "prev": prev}
    return canonical.dumps(fields | other)


class TiledLog:
    """A log in a folder that grows by leaves, written without a database."""

    def __init__(self, folder: Path, signer: Signer) -> None:
        self.folder, self.signer = folder, signer
        self.leaves: list[bytes] = []
        self.heads: dict[str, tuple[int, str | None]] = {}

    def grow(self, count: int, streams: int = 7) -> None:
        """Add leaves, in turn to each of the streams."""
        for _ in range(count):
            stream = f"run/{len(self.leaves) % streams}"
            seq, prev = self.heads.get(stream, (-1, None))
            made = _leaf(stream, seq + 1, prev, data={"n": len(self.leaves)})
            self.leaves.append(made)
            self.heads[stream] = (seq + 1, tree.leaf_hash(made).hex())

    def write(self) -> Path:
        """Write tiles and checkpoint; gives the folder."""
        size, items, level = len(self.leaves), [tree.leaf_hash(leaf) for leaf in self.leaves], 0
        root = tree.root_of(items)
        for tile in tiles.all_tiles(tiles.ENTRIES, size):
            self._write(tile, tiles.bundle(self.leaves[tile.low : tile.low + tile.width]))
        while items:
            for tile in tiles.all_tiles(level, size):
                self._write(tile, b"".join(items[tile.low : tile.low + tile.width]))
            items = [tree.root_of(items[at : at + 256]) for at in range(0, len(items) - 255, 256)]
            level += 1
        (self.folder / "checkpoint").write_bytes(note.sign_checkpoint(self.signer, size, root).note)
        return self.folder

    def _write(self, tile: tiles.Tile, data: bytes) -> None:
        (self.folder / tile.path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / tile.path).write_bytes(data)


@pytest.fixture(scope="session")
def leaf() -> Callable[..., bytes]:
    """Makes a leaf of format 1 from stream, number and the hash named (hex or None); fields may be replaced."""
    return _leaf


@pytest.fixture
def tiled(signer: Signer) -> Callable[[Path], TiledLog]:
    """Begins a log in a folder."""
    return lambda folder: TiledLog(folder, signer)
