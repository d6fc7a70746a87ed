"""Where the published log keeps what: tile paths, entry bundles and their bytes, as C2SP tlog-tiles lays them out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WIDTH = 256
"""Hashes in a full tile, entries in a full bundle."""

HASH_BYTES = 32
ENTRY_BYTES_MAX = 2 + 65_535
"""An entry behind its length."""

ENTRIES = -1
"""The level number by which this module calls entry bundles; they are as wide as level 0."""


@dataclass(frozen=True)
class Tile:
    """One tile or bundle: ``level`` 0 and up, or ``ENTRIES``; the ``number``-th of its level; ``width`` 1 to 256."""

    level: int
    number: int
    width: int

    @property
    def path(self) -> str:
        """Relative to the log's folder, e.g. ``tile/0/x001/x234/067.p/17``."""
        kind = "entries" if self.level == ENTRIES else str(self.level)
        base = f"tile/{kind}/{_number(self.number)}"
        return base if self.full else f"{base}.p/{self.width}"

    @property
    def bytes_max(self) -> int:
        """More bytes than this it cannot have."""
        return self.width * (ENTRY_BYTES_MAX if self.level == ENTRIES else HASH_BYTES)

    @property
    def full(self) -> bool:
        """Whether nothing can be added any more."""
        return self.width == WIDTH

    @property
    def low(self) -> int:
        """Index, in its level, of the first item."""
        return self.number * WIDTH


def levels(size: int) -> Iterator[int]:
    """The hash levels that a tree of that size has tiles of."""
    level = 0
    while size >> 8 * level:
        yield level
        level += 1


def tiles_of(level: int, old: int, new: int) -> Iterator[Tile]:
    """The tiles of one level that differ between a tree of ``old`` leaves and the same tree grown to ``new``."""
    shift = 8 * max(level, 0)
    have, want = old >> shift, new >> shift
    for number in range(have // WIDTH, (want + WIDTH - 1) // WIDTH):
        width = min(WIDTH, want - number * WIDTH)
        if number * WIDTH + width > have:
            yield Tile(level, number, width)


def all_tiles(level: int, size: int) -> Iterator[Tile]:
    """Every tile of one level of a tree of that size."""
    return tiles_of(level, 0, size)


def bundle_of(index: int, size: int) -> Tile:
    """The bundle that has the leaf of that index, in a log of that size."""
    number = index // WIDTH
    return Tile(ENTRIES, number, min(WIDTH, size - number * WIDTH))


def bundle(leaves: Sequence[bytes]) -> bytes:
    """An entry bundle: each leaf behind its length as a big-endian uint16."""
    return b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in leaves)


def scan_bundle(data: bytes) -> tuple[list[bytes], int]:
    """The leaves of a bundle, and how many bytes at its end are not a whole leaf (0 for a sound bundle)."""
    leaves: list[bytes] = []
    at, last = 0, len(data) - 2
    while at <= last:
        stop = at + 2 + (data[at] << 8 | data[at + 1])
        if stop > last + 2:
            break
        leaves.append(data[at + 2 : stop])
        at = stop
    return leaves, last + 2 - at


def split_hashes(data: bytes) -> list[bytes]:
    """The 32-byte hashes of a tile; a remainder stays as a short last item and so fits nothing."""
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def _number(number: int) -> str:
    parts = [f"{number % 1000:03d}"]
    while number >= 1000:
        number //= 1000
        parts.append(f"x{number % 1000:03d}")
    return "/".join(reversed(parts))
