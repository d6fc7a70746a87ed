"""Verifies one range of a log's entries: the part of a verification that costs, and that many processes can share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mandamus.audit import tiles, tree
from mandamus.audit.chain import Segment
from mandamus.audit.model import Finding, Verdict
from mandamus.audit.pruned import STREAM, Mark, marks
from mandamus.audit.source import Source, read_tile
from mandamus.kernel.errors import MandamusError

PROBLEMS_MAX = 100
"""Findings that are listed; a log that is wrong everywhere is not described leaf by leaf."""

LEAVES = 256 * tiles.WIDTH
"""Entries in a range: enough that handing it out costs nothing, few enough to share fairly."""


@dataclass(frozen=True)
class Range:
    """The bundles of the entries ``low`` to ``high``; ``low`` begins a bundle. Chains are followed from ``first``."""

    source: Source
    low: int
    high: int
    first: int


@dataclass
class Verified:
    """What the range that begins at ``low`` gave.

    ``roots`` are those of its full bundles, ``rest`` the leaf hashes of a last one that is not full. Of the first
    ``gone`` bundles only the hashes were there, which is well when one of the ``marks`` of the log says so. ``whole``
    is False when another bundle could not be read: roots and chains then end before it.
    """

    low: int = 0
    gone: int = 0
    roots: list[bytes] = field(default_factory=list)
    rest: list[bytes] = field(default_factory=list)
    segment: Segment = field(default_factory=Segment)
    marks: list[Mark] = field(default_factory=list)
    problems: list[Finding] = field(default_factory=list)
    whole: bool = True


def verify_range(part: Range) -> Verified:
    """Hash every entry of the range, follow its chains and compare its hash tiles; findings never raise."""
    made = Verified(part.low)
    try:
        for tile in tiles.tiles_of(tiles.ENTRIES, part.low, part.high):
            _bundle(part, tile, made)
    except MandamusError as error:
        made.problems.append(Finding(Verdict.INCOMPLETE, error.message))
        made.whole = False
    del made.problems[PROBLEMS_MAX:]
    return made


def _bundle(part: Range, tile: tiles.Tile, made: Verified) -> None:
    data = read_tile(part.source, tile)
    if data is None and made.gone == len(made.roots) and _gone(part.source, tile, made):
        return
    leaves = _leaves(part.source, tile, data, made.problems)
    if leaves is None:
        made.whole = False
        return
    sha256 = hashlib.sha256
    hashes = [sha256(b"\x00" + leaf).digest() for leaf in leaves]
    if made.whole:
        known = max(0, part.first - tile.low)
        last = made.segment.newest.get(STREAM)
        for index, wrong in made.segment.follow(leaves[known:], hashes[known:], tile.low + known):
            made.problems.append(Finding(Verdict.TAMPERED, f"leaf {index}: {wrong}", tile.path, index))
        if made.segment.newest.get(STREAM) != last:
            made.marks += marks(leaves, tile.low)
        if tile.full:
            made.roots.append(tree.complete_root(hashes))
        else:
            made.rest = hashes
    made.problems += compare(part.source, tiles.Tile(0, tile.number, tile.width), hashes)


def _gone(source: Source, tile: tiles.Tile, made: Verified) -> bool:
    """Take the hashes in the place of a bundle that may be pruned; False when it cannot be: they are not there."""
    hashes = read_tile(source, tiles.Tile(0, tile.number, tile.width)) if tile.full else None
    if hashes is None or len(hashes) != tiles.WIDTH * tiles.HASH_BYTES:
        return False
    made.gone += 1
    made.roots.append(tree.complete_root(tiles.split_hashes(hashes)))
    return True


def _leaves(source: Source, tile: tiles.Tile, data: bytes | None, problems: list[Finding]) -> list[bytes] | None:
    if data is None:
        problems.append(Finding(Verdict.INCOMPLETE, "the file is missing or cannot be read", tile.path, tile.low))
        return None
    leaves, rest = tiles.scan_bundle(data)
    if rest or len(leaves) != tile.width:
        index = tile.low + _first_wrong(source, tile, leaves)
        message = f"leaf {index}: from here on the bundle is not the {tile.width} entries it should be"
        problems.append(Finding(Verdict.TAMPERED, message, tile.path, index))
        return None
    problems += _older_partials(source, tile, data)
    return leaves


def _first_wrong(source: Source, tile: tiles.Tile, leaves: Sequence[bytes]) -> int:
    """Where a bundle whose lengths do not add up leaves the path of its hash tile."""
    known = tiles.split_hashes(read_tile(source, tiles.Tile(0, tile.number, tile.width)) or b"")
    for at, (leaf, hashed) in enumerate(zip(leaves, known, strict=False)):
        if tree.leaf_hash(leaf) != hashed:
            return at
    return min(len(leaves), tile.width)


def compare(source: Source, tile: tiles.Tile, expected: Sequence[bytes], known: int = 0) -> Iterator[Finding]:
    """What of a hash tile is not what the entries give; its first ``known`` hashes are proved already.

    ``expected`` are the others. This is what names the leaf that was changed.
    """
    data = read_tile(source, tile)
    if data is None:
        yield Finding(Verdict.INCOMPLETE, "the file is missing or cannot be read", tile.path)
        return
    right = data[: known * tiles.HASH_BYTES] + b"".join(expected)
    if data != right:
        yield from _differences(tile, data, right)
    yield from _older_partials(source, tile, right)


def _differences(tile: tiles.Tile, data: bytes, right: bytes) -> Iterator[Finding]:
    found, expected = tiles.split_hashes(data), tiles.split_hashes(right)
    for at, (one, other) in enumerate(zip(expected, found, strict=False)):
        if one != other and tile.level == 0:
            bundle = tiles.Tile(tiles.ENTRIES, tile.number, tile.width).path
            message = f"leaf {tile.low + at} does not have the hash that {tile.path} holds for it"
            yield Finding(Verdict.TAMPERED, message, bundle, tile.low + at)
        elif one != other:
            yield Finding(Verdict.TAMPERED, f"hash {at} is not that of the subtree below it", tile.path)
    if len(data) != len(right):
        yield Finding(Verdict.TAMPERED, f"it holds {len(data)} bytes, not {len(expected)} hashes", tile.path)


def _older_partials(source: Source, tile: tiles.Tile, content: bytes) -> Iterator[Finding]:
    """Partial tiles of earlier checkpoints, where still there, are prefixes of what the tile holds now."""
    for width in source.widths(tile):
        if width < tile.width:
            older = tiles.Tile(tile.level, tile.number, width)
            if not _begins(source.read(older.path, older.bytes_max) or b"", content, older):
                yield Finding(Verdict.TAMPERED, "it is not the beginning of the tile that replaced it", older.path)


def _begins(part: bytes, whole: bytes, tile: tiles.Tile) -> bool:
    if not whole.startswith(part):
        return False
    if tile.level != tiles.ENTRIES:
        return len(part) == tile.width * tiles.HASH_BYTES
    leaves, rest = tiles.scan_bundle(part)
    return not rest and len(leaves) == tile.width
