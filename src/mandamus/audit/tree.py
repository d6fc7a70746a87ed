"""The Merkle tree of RFC 6962 section 2.1, pure: hashes in, hashes and proofs out.

A leaf hashes to SHA-256(0x00, leaf), an inner node to SHA-256(0x01, left, right). Proofs are verified with the
algorithms of RFC 9162 section 2.1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

EMPTY_ROOT = hashlib.sha256(b"").digest()

Subtree = Callable[[int, int], bytes]
"""Gives the root over leaves ``[low, high)``, asked only for complete subtrees (a power of two, aligned)."""


def leaf_hash(leaf: bytes) -> bytes:
    """The hash under which a leaf stands in the tree."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of a growing tree: roots of the complete subtrees of the first ``size`` leaves, left to right."""

    def __init__(self, size: int = 0, roots: Sequence[bytes] = ()) -> None:
        if len(roots) != size.bit_count():
            raise ValueError("a frontier has one root per set bit of its size")
        self.size = size
        self._roots = list(roots)

    def append(self, hashed: bytes) -> list[tuple[int, int, bytes]]:
        """Add a leaf hash; returns ``(tile level, index, hash)`` of what is now complete, from the leaf upwards."""
        index, height, node = self.size, 0, hashed
        done = [(0, index, node)]
        while index & 1:
            node = node_hash(self._roots.pop(), node)
            index >>= 1
            height += 1
            if height % 8 == 0:
                done.append((height // 8, index, node))
        self._roots.append(node)
        self.size += 1
        return done

    def root(self) -> bytes:
        """The root of the whole tree."""
        return fold(self._roots) if self._roots else EMPTY_ROOT

    @property
    def roots(self) -> tuple[bytes, ...]:
        """Roots of the complete subtrees, left to right."""
        return tuple(self._roots)

    def copy(self) -> Frontier:
        """An independent frontier of the same tree."""
        return Frontier(self.size, self._roots)


def complete_root(hashes: Sequence[bytes]) -> bytes:
    """The root over a power of two of leaf hashes."""
    sha256 = hashlib.sha256
    while len(hashes) > 1:
        each = iter(hashes)
        hashes = [sha256(b"\x01" + left + right).digest() for left, right in zip(each, each, strict=True)]
    return hashes[0]


def frontier(size: int, subtree: Subtree) -> Frontier:
    """The right edge of a tree of that size."""
    return Frontier(size, [subtree(*part) for part in _parts(0, size)])


def fold(roots: Sequence[bytes]) -> bytes:
    """One root from those of neighbouring complete subtrees, left to right, each smaller than the one before."""
    node = roots[-1]
    for left in reversed(roots[:-1]):
        node = node_hash(left, node)
    return node


def compact(hashes: Sequence[bytes]) -> list[bytes]:
    """Roots of the complete subtrees over these hashes, left to right."""
    frontier = Frontier()
    for item in hashes:
        frontier.append(item)
    return list(frontier.roots)


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over a list of leaf hashes."""
    return fold(compact(hashes)) if hashes else EMPTY_ROOT


def range_root(low: int, high: int, subtree: Subtree) -> bytes:
    """MTH over leaves ``[low, high)`` where ``low`` is aligned to the largest power of two below the width."""
    return fold([subtree(*part) for part in _parts(low, high)])


def inclusion_proof(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """PATH(index, D[size]) of RFC 6962 section 2.1.1, leaf's sibling first."""
    if not 0 <= index < size:
        raise ValueError("the leaf is not in a tree of this size")
    low, high = 0, size
    path: list[bytes] = []
    while high - low > 1:
        split = low + _split(high - low)
        if index < split:
            path.append(range_root(split, high, subtree))
            high = split
        else:
            path.append(range_root(low, split, subtree))
            low = split
    return path[::-1]


def consistency_proof(old: int, new: int, subtree: Subtree) -> list[bytes]:
    """PROOF(old, D[new]) of RFC 6962 section 2.1.2; empty when there is nothing to prove."""
    if not 0 <= old <= new:
        raise ValueError("the older tree is the smaller one")
    if old in (0, new):
        return []
    low, high, whole = 0, new, True
    path: list[bytes] = []
    while old != high:
        split = low + _split(high - low)
        if old <= split:
            path.append(range_root(split, high, subtree))
            high = split
        else:
            path.append(range_root(low, split, subtree))
            low, whole = split, False
    if not whole:
        path.append(range_root(low, high, subtree))
    return path[::-1]


def verify_inclusion(index: int, size: int, hashed: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the proof shows the leaf hash at that index of the tree with that root (RFC 9162 section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    at, last, node = index, size - 1, hashed
    for sibling in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            node = node_hash(sibling, node)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and node == root


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the proof shows that the old tree is a prefix of the new one (RFC 9162 section 2.1.4.2)."""
    if not 0 <= old <= new:
        return False
    if old == new:
        return not proof and old_root == new_root
    if old == 0:
        return not proof and old_root == EMPTY_ROOT
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    before = after = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and before == old_root and after == new_root


def _split(width: int) -> int:
    return 1 << (width - 1).bit_length() - 1


def _parts(low: int, high: int) -> list[tuple[int, int]]:
    parts = []
    while low < high:
        width = 1 << (high - low).bit_length() - 1
        parts.append((low, low + width))
        low += width
    return parts
