"""The Merkle tree against an oracle that is written from RFC 6962's own recursive definitions."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mandamus.audit import proof, tiles, tree

# The certificate-transparency reference tree: leaves and the roots of its first 1 to 8 leaves.
LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def mth(data: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1."""
    if not data:
        return hashlib.sha256(b"").digest()
    if len(data) == 1:
        return hashlib.sha256(b"\x00" + data[0]).digest()
    k = split(len(data))
    return hashlib.sha256(b"\x01" + mth(data[:k]) + mth(data[k:])).digest()


def split(n: int) -> int:
    """The largest power of two smaller than n."""
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def path(m: int, data: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962 section 2.1.1."""
    if len(data) == 1:
        return []
    k = split(len(data))
    return [*path(m, data[:k]), mth(data[k:])] if m < k else [*path(m - k, data[k:]), mth(data[:k])]


def subproof(m: int, data: list[bytes], *, whole: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962 section 2.1.2."""
    if m == len(data):
        return [] if whole else [mth(data)]
    k = split(len(data))
    if m <= k:
        return [*subproof(m, data[:k], whole=whole), mth(data[k:])]
    return [*subproof(m - k, data[k:], whole=False), mth(data[:k])]


def leaves_of(size: int) -> list[bytes]:
    return [b"leaf %d" % number for number in range(size)]


def hashes_of(size: int) -> list[bytes]:
    return [tree.leaf_hash(leaf) for leaf in leaves_of(size)]


def oracle(size: int) -> tree.Subtree:
    data = leaves_of(size)
    return lambda low, high: mth(data[low:high])


def test_reference_roots() -> None:
    """The roots are those of the certificate-transparency reference tree."""
    frontier = tree.Frontier()
    assert frontier.root() == tree.EMPTY_ROOT == hashlib.sha256(b"").digest()
    for leaf, root in zip(LEAVES, ROOTS, strict=True):
        frontier.append(tree.leaf_hash(leaf))
        assert frontier.root().hex() == root


@given(st.integers(0, 700))
def test_root_is_mth(size: int) -> None:
    """A frontier that grew leaf by leaf, and a root over all hashes at once, both equal MTH."""
    frontier = tree.Frontier()
    for item in hashes_of(size):
        frontier.append(item)
    assert frontier.root() == tree.root_of(hashes_of(size)) == mth(leaves_of(size))
    assert frontier.roots == tree.Frontier(size, frontier.roots).roots


def test_frontier_reports_tile_hashes() -> None:
    """Appending returns every subtree of 256 and of 65,536 leaves exactly when it becomes complete."""
    frontier = tree.Frontier()
    done: list[tuple[int, int, bytes]] = []
    for item in hashes_of(600):
        done += frontier.append(item)
    data = leaves_of(600)
    assert [(level, index) for level, index, _ in done if level] == [(1, 0), (1, 1)]
    assert [node for level, _, node in done if level] == [mth(data[:256]), mth(data[256:512])]


@given(st.data())
def test_inclusion(data: st.DataObject) -> None:
    """A proof equals PATH and verifies; it fails for another index, size, leaf, root, and when cut or extended."""
    size = data.draw(st.integers(1, 300))
    index = data.draw(st.integers(0, size - 1))
    leaves = leaves_of(size)
    found = tree.inclusion_proof(index, size, oracle(size))
    assert found == path(index, leaves)
    root, hashed = mth(leaves), tree.leaf_hash(leaves[index])
    assert tree.verify_inclusion(index, size, hashed, found, root)
    assert not tree.verify_inclusion(index, size, tree.leaf_hash(b"other"), found, root)
    assert not tree.verify_inclusion(index, size, hashed, found, tree.leaf_hash(b"other"))
    assert not tree.verify_inclusion(index, size, hashed, [*found, root], root)
    assert not tree.verify_inclusion(index, size, hashed, [root, *found], root)
    other = data.draw(st.integers(-1, size + 1).filter(lambda i: i != index))
    assert not tree.verify_inclusion(other, size, hashed, found, root)
    for at in range(len(found)):
        assert not tree.verify_inclusion(index, size, hashed, found[:at] + found[at + 1 :], root)
        assert not tree.verify_inclusion(index, size, hashed, [*found[:at], root, *found[at + 1 :]], root)


@given(st.data())
def test_consistency(data: st.DataObject) -> None:
    """A proof equals PROOF and verifies; it fails for other roots, other sizes, and when cut or extended."""
    new = data.draw(st.integers(1, 300))
    old = data.draw(st.integers(1, new))
    leaves = leaves_of(new)
    found = tree.consistency_proof(old, new, oracle(new))
    assert found == (subproof(old, leaves, whole=True) if old < new else [])
    old_root, new_root, wrong = mth(leaves[:old]), mth(leaves), tree.leaf_hash(b"other")
    assert tree.verify_consistency(old, new, old_root, new_root, found)
    assert not tree.verify_consistency(old, new, wrong, new_root, found)
    assert not tree.verify_consistency(old, new, old_root, wrong, found)
    assert not tree.verify_consistency(old, new, old_root, new_root, [*found, wrong])
    for at in range(len(found)):
        assert not tree.verify_consistency(old, new, old_root, new_root, found[:at] + found[at + 1 :])
        assert not tree.verify_consistency(old, new, old_root, new_root, [*found[:at], wrong, *found[at + 1 :]])
    if old < new:
        assert not tree.verify_consistency(new, old, new_root, old_root, found)


@pytest.mark.parametrize(("old", "proof"), [(0, []), (1, None)])
def test_consistency_from_the_empty_tree(old: int, proof: list[bytes] | None) -> None:
    """Everything extends the empty tree, but only the empty tree's own root and no proof may say so."""
    leaves = leaves_of(5)
    found = tree.consistency_proof(old, 5, oracle(5)) if proof is None else proof
    assert tree.verify_consistency(old, 5, mth(leaves[:old]), mth(leaves), found)
    assert not tree.verify_consistency(0, 5, mth(leaves[:1]), mth(leaves), [])
    assert not tree.verify_consistency(0, 5, tree.EMPTY_ROOT, mth(leaves), [mth(leaves)])


@given(st.data())
def test_proofs_from_tiles(data: st.DataObject) -> None:
    """Proofs computed from tile levels equal those computed from the leaves."""
    size = data.draw(st.integers(1, 900))
    index = data.draw(st.integers(0, size - 1))
    level_0 = hashes_of(size)
    level_1 = [mth(leaves_of(size)[at : at + 256]) for at in range(0, size - size % 256, 256)]
    stored = [level_0, level_1]
    subtree = proof.subtrees(lambda level, low, high: stored[level][low:high])
    assert tree.inclusion_proof(index, size, subtree) == path(index, leaves_of(size))
    old = data.draw(st.integers(1, size))
    expected = subproof(old, leaves_of(size), whole=True) if old < size else []
    assert tree.consistency_proof(old, size, subtree) == expected


def test_tile_paths() -> None:
    """Paths are those of the examples in C2SP tlog-tiles."""
    assert tiles.Tile(0, 1_234_067, 256).path == "tile/0/x001/x234/067"
    assert tiles.Tile(tiles.ENTRIES, 0, 17).path == "tile/entries/000.p/17"
    tree_70k = [tile for level in tiles.levels(70_000) for tile in tiles.all_tiles(level, 70_000)]
    assert [sum(t.level == level and t.full for t in tree_70k) for level in range(3)] == [273, 1, 0]
    assert [(t.level, t.width) for t in tree_70k if not t.full] == [(0, 112), (1, 17), (2, 1)]
    assert [(t.level, t.width) for level in tiles.levels(256) for t in tiles.all_tiles(level, 256)] == [
        (0, 256),
        (1, 1),
    ]


@given(st.lists(st.integers(1, 400), min_size=1, max_size=6))
def test_growth_touches_every_tile_once(steps: list[int]) -> None:
    """Writing what changed at each growth leaves exactly the tiles of the final size, and none is forgotten."""
    size, written = 0, set[tiles.Tile]()
    for step in steps:
        for level in (tiles.ENTRIES, *tiles.levels(size + step)):
            written |= set(tiles.tiles_of(level, size, size + step))
        size += step
    for level in (tiles.ENTRIES, *tiles.levels(size)):
        assert set(tiles.all_tiles(level, size)) <= written


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_bundle_round_trip(leaves: list[bytes]) -> None:
    """A bundle splits into the leaves it was made of."""
    whole = tiles.bundle(leaves)
    assert tiles.scan_bundle(whole) == (leaves, 0)
    if leaves:
        assert tiles.scan_bundle(whole[:-1]) == (leaves[:-1], len(leaves[-1]) + 1)
