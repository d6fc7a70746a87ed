"""Known vectors: the tree that implementations of RFC 6962 share for their tests, and the probes they make of it.

The inputs and roots are those of the reference tree of Certificate Transparency; the two whole proofs are values that
`testdata` of github.com/transparency-dev/merkle holds. Its other probes are made here by the same kinds of change.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator

import pytest

from mandamus.audit import tree

INPUTS = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657",
                                           "606162636465666768696a6b6c6d6e6f")]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
HASHES = [tree.leaf_hash(data) for data in INPUTS]
GARBAGE = b"\x5a" * 32
INCLUSION_5_OF_8 = ("vBoGQ7EuTS18d5GPROD095qDi2z57FtcKD4fTYhZnms=", "yoVOoSjtBQtBs1/8G4e46yveRh6eO1WW7Oa51ZdaCuA=",
                    "037kGJdt2VdTwcc4Yrk5j6Kiz5tP8P3+izDNlSCWFLc=")  # fmt: skip
CONSISTENCY_6_TO_7 = ("DrxdNDf74tsVi58Sah0RjjCBgQMdCpSfje3t68VY72o=", "sIaT7C5yFZcTBkHoIR5+7cy0wmQTlj7ubB4u0W/7Gl8=",
                      "037kGJdt2VdTwcc4Yrk5j6Kiz5tP8P3+izDNlSCWFLc=")  # fmt: skip

Inclusion = tuple[int, int, bytes, list[bytes], bytes]
Consistency = tuple[int, int, bytes, bytes, list[bytes]]


def subtree(low: int, high: int) -> bytes:
    return tree.root_of(HASHES[low:high])


@pytest.mark.parametrize("size", range(9))
def test_known_roots(size: int) -> None:
    """Every size of the shared tree has its published root, by appending as by bulk."""
    root = bytes.fromhex(ROOTS[size])
    assert tree.root_of(HASHES[:size]) == root
    assert tree.frontier(size, subtree).root() == root
    if size in (1, 2, 4, 8):
        assert tree.complete_root(HASHES[:size]) == root


def test_known_proofs() -> None:
    """The published proofs are made byte for byte, and verify."""
    inclusion = [base64.b64decode(each) for each in INCLUSION_5_OF_8]
    assert tree.inclusion_proof(5, 8, subtree) == inclusion
    assert tree.verify_inclusion(5, 8, HASHES[5], inclusion, bytes.fromhex(ROOTS[8]))
    consistency = [base64.b64decode(each) for each in CONSISTENCY_6_TO_7]
    assert tree.consistency_proof(6, 7, subtree) == consistency
    assert tree.verify_consistency(6, 7, bytes.fromhex(ROOTS[6]), bytes.fromhex(ROOTS[7]), consistency)


def flipped(data: bytes, bit: int) -> bytes:
    return bytes([data[0] ^ 1 << bit]) + data[1:]


def broken_paths(path: list[bytes], *roots: bytes) -> Iterator[list[bytes]]:
    """A path with something before, behind or in it, without a part, or with a bit that differs."""
    for each in (GARBAGE, b"", *roots):
        yield [each, *path]
        yield [*path, each]
        yield [*path[: len(path) // 2], each, *path[len(path) // 2 :]]
    for at, each in enumerate(path):
        yield [*path[:at], flipped(each, 4), *path[at + 1 :]]
        yield [*path[:at], *path[at + 1 :]]
        yield [*path[:at], each[:-1], *path[at + 1 :]]


def inclusion_probes(index: int, size: int) -> Iterator[Inclusion]:
    hashed, path, root = HASHES[index], tree.inclusion_proof(index, size, subtree), subtree(0, size)
    for other in {index - 1, index + 1, index ^ 2, -1, size} - {index}:
        yield other, size, hashed, path, root
    for other in {size * 2, size // 2, 0} - {size}:
        # Twice the tree may hang the same path at the same index; then another root would be signed.
        if len(tree.inclusion_proof(index, other, lambda *_: b"") if index < other else []) != len(path):
            yield index, other, hashed, path, root
    for wrong in (GARBAGE, flipped(hashed, 0), b"", *(HASHES[at] for at in {index - 1, index - 2} if at >= 0)):
        yield index, size, wrong, path, root
    for wrong in (GARBAGE, b"", tree.EMPTY_ROOT, flipped(root, 7)):
        yield index, size, hashed, path, wrong
    for broken in broken_paths(path, root):
        yield index, size, hashed, broken, root


def test_inclusion_probes() -> None:
    """Of every leaf in every size the sound proof verifies, and no probe does."""
    count = 0
    for size in range(1, 9):
        for index in range(size):
            path = tree.inclusion_proof(index, size, subtree)
            assert tree.verify_inclusion(index, size, HASHES[index], path, subtree(0, size))
            for probe in inclusion_probes(index, size):
                assert not tree.verify_inclusion(*probe), probe
                count += 1
    assert count > 900


def consistency_probes(old: int, new: int) -> Iterator[Consistency]:
    path, before, after = tree.consistency_proof(old, new, subtree), subtree(0, old), subtree(0, new)
    for wrong in (GARBAGE, b"", flipped(before, 3)):
        yield old, new, wrong, after, path
    # Every tree continues the empty one, so from there no root of the new tree is wrong.
    for wrong in (GARBAGE, b"", flipped(after, 3)) if old else ():
        yield old, new, before, wrong, path
    if old != new:
        yield old, new, after, before, path
        yield new, old, before, after, path
        yield old - 1, new, before, after, path
        yield old, old, before, after, path
    if old and new - old > 1:
        yield old + 1, new, before, after, path
        yield old, new, before, after, []
    for broken in broken_paths(path, before, after):
        yield old, new, before, after, broken


def test_consistency_probes() -> None:
    """Of every two sizes the sound proof verifies, and no probe does, also from the empty tree and of equal sizes."""
    count = 0
    for old, new in itertools.combinations_with_replacement(range(9), 2):
        path = tree.consistency_proof(old, new, subtree)
        assert tree.verify_consistency(old, new, subtree(0, old), subtree(0, new), path)
        for probe in consistency_probes(old, new):
            assert not tree.verify_consistency(*probe), probe
            count += 1
    assert count > 700
