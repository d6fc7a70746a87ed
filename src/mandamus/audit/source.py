"""Where a published log is read from: a folder; and how a tile is read that a growing log has replaced meanwhile."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mandamus.audit import tiles

SMALL_BYTES_MAX = 256 * 1024
"""Checkpoints and keys."""


class Source(Protocol):
    """A published log, read by path. It may be handed to another process."""

    def read(self, path: str, bytes_max: int) -> bytes | None:
        """A file, or None when it is not there. Of a longer one at least one byte more than asked for is given.

        Raises ``audit_incomplete`` when the log itself cannot be read.
        """

    def widths(self, tile: tiles.Tile) -> Sequence[int]:
        """The widths at which the tile is there as a partial one, smallest first, as far as that can be told."""


@dataclass(frozen=True)
class Folder:
    """A log as it is on disk."""

    path: Path

    def read(self, path: str, bytes_max: int) -> bytes | None:
        """See `Source.read`."""
        try:
            with (self.path / path).open("rb") as file:
                # Room for the file and not for the longest there can be: asking for that would take as long as hashing.
                return file.read(min(os.fstat(file.fileno()).st_size, bytes_max) + 1)
        except OSError:
            return None

    def widths(self, tile: tiles.Tile) -> Sequence[int]:
        """See `Source.widths`."""
        folder = (self.path / tiles.Tile(tile.level, tile.number, 1).path).parent
        try:
            names = [path.name for path in folder.iterdir()]
        except OSError:
            return ()
        return sorted(int(name) for name in names if name.isascii() and name.isdigit() and len(name) < 4)


def read_tile(source: Source, tile: tiles.Tile) -> bytes | None:
    """What a tile holds, cut from a wider one when that has replaced it (tlog-tiles, Partial Tiles)."""
    found = source.read(tile.path, tile.bytes_max)
    if found is not None or tile.full:
        return found
    wider = tiles.Tile(tile.level, tile.number, tiles.WIDTH)
    found = source.read(wider.path, wider.bytes_max)
    for width in source.widths(tile) if found is None else ():
        if width > tile.width and found is None:
            wider = tiles.Tile(tile.level, tile.number, width)
            found = source.read(wider.path, wider.bytes_max)
    return None if found is None else _narrow(found, tile)


def _narrow(data: bytes, tile: tiles.Tile) -> bytes:
    if tile.level != tiles.ENTRIES:
        return data[: tile.width * tiles.HASH_BYTES]
    leaves, rest = tiles.scan_bundle(data)
    return data if rest else tiles.bundle(leaves[: tile.width])
