"""Writes a log of any size straight to tiles, without a database: what the verifier is measured on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mandamus.audit import note, tiles, tree
from mandamus.audit.signer import Signer

LEAF_BYTES = 1024
LIVE = 20
EVENTS = 50
"""Events of a run, and how many runs are under way at a time."""

_FIELDS = {
    "format": "leaf/1", "id": "evt_01JD0000000000000000000000", "kind": "step.started", "at": 1_700_000_000_000_000,
    "who": {"subject": "ada", "authn": "os-user", "behalf_of": None, "groups": ["platform", "sre"],
            "name": "hmac-sha256:" + "ab" * 32},
    "where": {"address": "hmac-sha256:" + "cd" * 32, "agent": "mandamus/1 cli", "request": None, "node": None},
    "what": {"type": "step", "id": "build"}, "project": "shop", "run": "@RUN", "step": "build", "why": "a usual change",
    "authority": {"decisions": ["dec_01JD0000000000000000000000"], "approvals": ["apr_01JD0000000000000000000000"]},
    "outcome": "ok", "stream": "run/@RUN", "seq": "@SEQ", "prev": "@PREV",
    "data": {"attempt": 1, "plan": "sha256:" + "12" * 32, "binding": "sha256:" + "34" * 32, "note": "@FILL"},
}  # fmt: skip


@dataclass
class Tiled:
    """A log in a folder; its checkpoint is written by `sign`."""

    folder: Path
    signer: Signer = field(default_factory=lambda: Signer("log.example.com/bench", b"\x07" * 32))
    _hashes: list[bytes] = field(default_factory=list)

    @property
    def vkey(self) -> str:
        """The key that signs it."""
        return self.signer.vkey

    def write(self, size: int) -> None:
        """Write the entries and every tile of a log of that size."""
        waiting: list[bytes] = []
        for leaf, hashed in _leaves(size):
            waiting.append(leaf)
            self._hashes.append(hashed)
            if len(waiting) == tiles.WIDTH or len(self._hashes) == size:
                tile = tiles.bundle_of(len(self._hashes) - 1, len(self._hashes))
                self._put(tile, tiles.bundle(waiting))
                waiting = []
        level, items = 0, self._hashes
        while items:
            for tile in tiles.all_tiles(level, size):
                self._put(tile, b"".join(items[tile.low : tile.low + tile.width]))
            items = [tree.complete_root(items[at : at + 256]) for at in range(0, len(items) - 255, 256)]
            level += 1

    def sign(self, size: int) -> None:
        """Publish the checkpoint of the first ``size`` leaves."""
        checkpoint = note.sign_checkpoint(self.signer, size, tree.root_of(self._hashes[:size]))
        (self.folder / "checkpoint").write_bytes(checkpoint.note)

    def _put(self, tile: tiles.Tile, data: bytes) -> None:
        path = self.folder / tile.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _leaves(size: int) -> Iterator[tuple[bytes, bytes]]:
    """Leaves of one KiB each with their hashes, of runs that go on side by side."""
    text = json.dumps(_FIELDS, sort_keys=True, separators=(",", ":")).encode()
    text = text.replace(b"%", b"%%").replace(b'"@SEQ"', b"%(seq)d").replace(b'"@PREV"', b"%(prev)b")
    text = text.replace(b"@RUN", b"run_%(run)026d").replace(b"@FILL", b"%(fill)b")
    heads = [(number, 0, b"null") for number in range(LIVE)]
    for index in range(size):
        run, seq, prev = heads[index % LIVE]
        values: dict[bytes, int | bytes] = {b"run": run, b"seq": seq, b"prev": prev, b"fill": b""}
        leaf = text % values
        leaf = text % (values | {b"fill": b"x" * (LEAF_BYTES - len(leaf))})
        hashed = tree.leaf_hash(leaf)
        yield leaf, hashed
        ended = seq + 1 == EVENTS
        heads[index % LIVE] = (run + LIVE, 0, b"null") if ended else (run, seq + 1, b'"%b"' % hashed.hex().encode())
