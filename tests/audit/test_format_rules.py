"""The rules of the C2SP formats, one by one: each test names the specification, its section and what it asks.

Sources: https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint, https://c2sp.org/tlog-tiles and
https://c2sp.org/tlog-proof. What is asked of HTTP servers is asked of whoever serves the folder, not of us.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mandamus.audit import note, proof, tiles, tree
from mandamus.audit.signer import Signer, Verifier, parse_vkey
from mandamus.audit.source import Folder, read_tile
from mandamus.audit.verify import verify_log
from mandamus.kernel.errors import Code, MandamusError

ME = Signer("log.example.com/rules", b"\x07" * 32)
OTHERS = [Signer(f"other.example/{number}", bytes([number]) * 32) for number in range(1, 20)]
ROOT = base64.b64encode(tree.EMPTY_ROOT).decode()

Check = Callable[[], None]
RULES: list[tuple[str, str, str, Check]] = []


def rule(spec: str, section: str, asks: str) -> Callable[[Check], Check]:
    """Add a rule with its source."""

    def add(check: Check) -> Check:
        RULES.append((spec, section, asks, check))
        return check

    return add


def refused(data: bytes, code: Code = Code.AUDIT_TAMPERED) -> None:
    """The bytes are no checkpoint of ours."""
    with pytest.raises(MandamusError) as caught:
        note.read_checkpoint(data, ME.verifier)
    assert caught.value.code is code


def head(text: str) -> bytes:
    """A note of ours with that text."""
    return note.sign(text, ME)


def lines(data: bytes) -> list[str]:
    return data.decode().split("\n")


# --- signed-note ------------------------------------------------------------------------------------------------------


@rule("signed-note", "Format", "text that ends in a newline, a blank line, signature lines")
def _form() -> None:
    made = note.sign("a\nb\n", ME, OTHERS[0])
    assert made.decode().startswith("a\nb\n\n\u2014 ")
    assert note.parse(made).text == "a\nb\n"
    assert len(note.parse(made).signatures) == 2
    with pytest.raises(ValueError, match="newline"):
        note.sign("no newline", ME)
    for broken in (made[:-1], made + b"\n", made.replace(b"\n\n", b"\n"), b"a\nb\n\n", b""):
        refused(broken)


@rule("signed-note", "Format", "a signature line is em dash, space, key name, space, base64, newline")
def _line() -> None:
    made = note.sign("a\n", ME).decode()
    for old, new in (
        ("\u2014 ", "- "),
        ("\u2014 ", "\u2014"),
        ("\u2014 ", "\u2014  "),
        (" log.", " log. "),
        ("=\n", "\n"),
    ):
        refused(made.replace(old, new, 1).encode())


@rule("signed-note", "Format", "valid UTF-8 without control characters other than newline")
def _utf8() -> None:
    for text in (b"a\xff\n", b"a\r\n", b"a\tb\n", b"a\x00\n", b"a\x1f\n"):
        refused(text + b"\n" + note.sign("a\n", ME).split(b"\n\n")[1])


@rule("signed-note", "Format", "the text may hold empty lines; the last empty line of the note ends it")
def _last_blank() -> None:
    assert note.verify(note.sign("a\n\nb\n", ME), ME.verifier) == "a\n\nb\n"


@rule("signed-note", "Format", "key names are not empty and hold no Unicode space and no plus")
def _names() -> None:
    blob = note.sign("a\n", ME).split(b" ")[-1].decode()
    for name in ("", "a b", "a\u00a0b", "a\u2003b", "a\u3000", "a+b"):
        refused(f"a\n\n\u2014 {name} {blob}".encode())
        with pytest.raises(MandamusError):
            Signer(name, b"\x01" * 32)


@rule("signed-note", "Format", "a signature is four bytes of key id, big-endian, and the signature over the text")
def _blob() -> None:
    raw = base64.b64decode(note.sign("a\n", ME).split(b" ")[-1])
    assert raw[:4] == ME.verifier.key_id
    Ed25519PrivateKey.from_private_bytes(b"\x07" * 32).public_key().verify(raw[4:], b"a\n")


@rule("signed-note", "Format", "at least 16 signatures are accepted, of post-quantum size too")
def _many() -> None:
    text = f"{ME.name}\n0\n{ROOT}\n"
    large = base64.b64encode(bytes(5000)).decode()
    made = text + "\n" + "".join(f"\u2014 pq.example/{number} {large}\n" for number in range(15))
    whole = made.encode() + note.sign(text, ME).split(b"\n\n")[1]
    assert note.read_checkpoint(whole, ME.verifier).size == 0
    refused(whole + b"x" * note.NOTE_BYTES_MAX)


@rule("signed-note", "Signatures", "signatures of unknown keys are ignored, also when they share a name or an id")
def _unknown() -> None:
    text = f"{ME.name}\n0\n{ROOT}\n"
    same_name = note.sign(text, Signer(ME.name, b"\x09" * 32)).split(b"\n\n")[1]
    blob = base64.b64encode(ME.verifier.key_id + bytes(64)).decode()
    same_id = f"\u2014 other.example {blob}\n".encode()
    assert note.read_checkpoint(note.sign(text, *OTHERS, ME) + same_name + same_id, ME.verifier).size == 0


@rule("signed-note", "Signatures", "a known key's signature is verified, and a wrong one refuses the whole note")
def _wrong() -> None:
    text = f"{ME.name}\n0\n{ROOT}\n"
    wrong = note.sign(text.replace("0", "1"), ME).split(b"\n\n")[1]
    refused(text.encode() + b"\n" + wrong)


@rule("signed-note", "Signatures", "a note that no known key signed is refused")
def _none() -> None:
    refused(note.sign(f"{ME.name}\n0\n{ROOT}\n", *OTHERS), Code.AUDIT_UNTRUSTED)


@rule("signed-note", "Ed25519 signatures", "key id: SHA-256(name, newline, 0x01, 32-byte key), first four bytes")
def _key_id() -> None:
    public = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32).public_key().public_bytes_raw()
    assert ME.verifier.key_id == hashlib.sha256(ME.name.encode() + b"\n\x01" + public).digest()[:4]


@rule("signed-note", "Signature types", "another type than 0x01 is another key: its verifier key is not taken for ours")
def _types() -> None:
    for kind in (b"\x02", b"\x04", b"\x05", b"\x06", b"\xff"):
        key_id = hashlib.sha256(ME.name.encode() + b"\n" + kind + ME.verifier.public).digest()[:4]
        with pytest.raises(MandamusError):
            parse_vkey(f"{ME.name}+{key_id.hex()}+{base64.b64encode(kind + ME.verifier.public).decode()}")


# --- tlog-checkpoint --------------------------------------------------------------------------------------------------


@rule("tlog-checkpoint", "Note text", "at least three lines: origin, size, root")
def _three() -> None:
    assert lines(note.sign_checkpoint(ME, 7, tree.EMPTY_ROOT).note)[:4] == [ME.name, "7", ROOT, ""]
    refused(head(f"{ME.name}\n7\n"))


@rule("tlog-checkpoint", "Note text 1", "the origin is not empty, and is the log's that is expected")
def _origin() -> None:
    refused(head(f"\n7\n{ROOT}\n"))
    refused(head(f"{ME.name}/x\n7\n{ROOT}\n"), Code.AUDIT_UNTRUSTED)


@rule("tlog-checkpoint", "Note text 2", "the size is ASCII decimal without leading zeroes, 0 for the empty tree")
def _size() -> None:
    assert note.read_checkpoint(head(f"{ME.name}\n0\n{ROOT}\n"), ME.verifier).size == 0
    for size in ("00", "07", "+7", "-7", "7 ", "7.0", "0x7", "\u0667", "", "9" * 5000):
        refused(head(f"{ME.name}\n{size}\n{ROOT}\n"))


@rule("tlog-checkpoint", "Note text 3", "the root is the base64 of the RFC 6962 root at that size")
def _root() -> None:
    leaves = [b"a", b"b", b"c"]
    made = note.sign_checkpoint(ME, 3, tree.root_of([tree.leaf_hash(leaf) for leaf in leaves]))
    h, n = (lambda d: hashlib.sha256(b"\0" + d).digest()), (lambda a, b: hashlib.sha256(b"\1" + a + b).digest())
    assert base64.b64decode(lines(made.note)[2]) == n(n(h(b"a"), h(b"b")), h(b"c"))
    for root in ("", "AAAA", ROOT[:-1], ROOT + "=", ROOT.replace("4", "-")):
        refused(head(f"{ME.name}\n7\n{root}\n"))


@rule("tlog-checkpoint", "Note text 4", "extension lines may follow and are not empty; we write none")
def _extensions() -> None:
    assert note.read_checkpoint(head(f"{ME.name}\n7\n{ROOT}\nmore\n"), ME.verifier).size == 7
    for more in ("\n", "\nmore\n", "more\n\n"):
        refused(head(f"{ME.name}\n7\n{ROOT}\n{more}"))


@rule("tlog-checkpoint", "Signatures", "the log's key name is the origin; unknown signatures do not matter")
def _key_name() -> None:
    made = note.sign_checkpoint(ME, 7, tree.EMPTY_ROOT)
    assert note.parse(made.note).signatures[0].name == made.origin == ME.name
    assert note.read_checkpoint(note.sign(note.parse(made.note).text, *OTHERS, ME), ME.verifier).root == made.root


# --- tlog-tiles -------------------------------------------------------------------------------------------------------


@rule("tlog-tiles", "Merkle Tree", "paths tile/L/N, N in groups of three digits, all but the last behind an x")
def _paths() -> None:
    for number, name in ((0, "000"), (999, "999"), (1000, "x001/000"), (1_234_067, "x001/x234/067")):
        assert tiles.Tile(3, number, 256).path == f"tile/3/{name}"
        assert tiles.Tile(tiles.ENTRIES, number, 256).path == f"tile/entries/{name}"


@rule("tlog-tiles", "Merkle Tree", "a partial tile has the suffix .p/W, W from 1 to 255 without leading zeroes")
def _partial_paths() -> None:
    assert [tiles.Tile(0, 5, width).path for width in (1, 255)] == ["tile/0/005.p/1", "tile/0/005.p/255"]
    assert tiles.Tile(0, 5, 256).path == "tile/0/005"


@rule("tlog-tiles", "Merkle Tree", "the level is at most 63: no tree that can be counted has more")
def _levels() -> None:
    assert max(tiles.levels(10**18)) == 7


@rule(
    "tlog-tiles",
    "Partial Tiles",
    "level l of size s has floor(s / 256^l) mod 256 hashes in its partial tile, none empty",
)
def _widths() -> None:
    for size in (1, 255, 256, 257, 65_535, 65_536, 70_000, 16_777_216, 16_777_217):
        for level in tiles.levels(size):
            partial = [tile.width for tile in tiles.all_tiles(level, size) if not tile.full] if level else []
            assert level == 0 or partial == [size // 256**level % 256] * (size // 256**level % 256 > 0)


@rule("tlog-tiles", "Partial Tiles", "the example of 70,000: 273 full and one of 112, one full and one of 17, one of 1")
def _example() -> None:
    widths = [[tile.width for tile in tiles.all_tiles(level, 70_000)] for level in tiles.levels(70_000)]
    assert widths == [[256] * 273 + [112], [256, 17], [1]]
    assert [[tile.width for tile in tiles.all_tiles(level, 256)] for level in tiles.levels(256)] == [[256], [1]]


@rule("tlog-tiles", "Log entries", "bundles are entries behind their length, big-endian uint16")
def _bundles() -> None:
    assert tiles.bundle([b"", b"ab", b"c" * 258]) == b"\0\0" + b"\0\2ab" + b"\1\2" + b"c" * 258


def test_every_rule_is_listed_once() -> None:
    """The list names each rule by specification, section and words."""
    assert len({each[:3] for each in RULES}) == len(RULES) >= 24


@pytest.mark.parametrize(("spec", "section", "asks", "check"), RULES, ids=[f"{r[0]}: {r[2]}" for r in RULES])
def test_rule(spec: str, section: str, asks: str, check: Check) -> None:
    """The rule holds, and what breaks it is refused."""
    check()


# --- rules that need a log ------------------------------------------------------------------------------------------


@pytest.fixture
def log(tmp_path: Path, tiled):
    made = tiled(tmp_path / "log")
    made.grow(70_000 // 100)
    made.write()
    return made


def test_tiles_hold_the_hashes_of_their_range(log) -> None:
    """tlog-tiles, Merkle Tree: tile n of level l has MTH(D[(n*256+i)*256^l : (n*256+i+1)*256^l]); full: 8,192 bytes."""
    hashes = [tree.leaf_hash(leaf) for leaf in log.leaves]
    assert len((log.folder / "tile/0/000").read_bytes()) == 8192
    for level in tiles.levels(len(hashes)):
        for tile in tiles.all_tiles(level, len(hashes)):
            span = 256**level
            wide = [hashes[at * span : (at + 1) * span] for at in range(tile.low, tile.low + tile.width)]
            assert (log.folder / tile.path).read_bytes() == b"".join(tree.root_of(part) for part in wide)


def test_entries_hash_to_level_0(log) -> None:
    """tlog-tiles, Log entries: each entry of a bundle hashes to the hash of its place in the level 0 tile."""
    for tile in tiles.all_tiles(tiles.ENTRIES, len(log.leaves)):
        entries = tiles.scan_bundle((log.folder / tile.path).read_bytes())[0]
        beside = (log.folder / tiles.Tile(0, tile.number, tile.width).path).read_bytes()
        assert b"".join(tree.leaf_hash(entry) for entry in entries) == beside


def test_a_full_tile_stands_in_for_a_partial_one(log) -> None:
    """tlog-tiles, Partial Tiles: a partial tile may be gone once the full one is there; clients fall back on it."""
    for level in (0, tiles.ENTRIES):
        data = read_tile(Folder(log.folder), tiles.Tile(level, 1, 5))
        whole = (log.folder / tiles.Tile(level, 1, 256).path).read_bytes()
        assert data
        assert whole.startswith(data)
    kept = note.sign_checkpoint(log.signer, 261, tree.root_of([tree.leaf_hash(leaf) for leaf in log.leaves[:261]]))
    (log.folder / "checkpoint").write_bytes(kept.note)
    assert verify_log(log.folder, log.signer.vkey).ok


def written(log, index: int = 600) -> tuple[bytes, Verifier]:
    hashes = [tree.leaf_hash(leaf) for leaf in log.leaves]
    path = tree.inclusion_proof(index, len(hashes), lambda low, high: tree.root_of(hashes[low:high]))
    head_ = note.sign_checkpoint(log.signer, len(hashes), tree.root_of(hashes))
    return proof.write(index, path, head_), log.signer.verifier


def test_a_proof_has_the_lines_of_tlog_proof(log) -> None:
    """tlog-proof, Format: first line, index, hashes with the leaf's sibling first, an empty line, the checkpoint."""
    made, verifier = written(log)
    first, index, *path = made.partition(b"\n\n")[0].decode().split("\n")
    assert (first, index) == ("c2sp.org/tlog-proof@v1", "index 600")
    assert base64.b64decode(path[0]) == tree.leaf_hash(log.leaves[601])
    assert all(len(base64.b64decode(each)) == 32 for each in path)
    with pytest.raises(MandamusError):
        proof.parse(made.replace(path[0].encode(), b"AAAA", 1))
    assert note.read_checkpoint(made.partition(b"\n\n")[2], verifier).size == 700


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"proof@v1", b"proof@v2"),
        (b"index 600", b"index 0600"),
        (b"index 600", b"index +600"),
        (b"index 600", b"index -1"),
        (b"index 600", b"index  600"),
        (b"index 600", b"Index 600"),
        (b"index 600\n", b"index 600\nAAAA\n"),
        (b"index 600\n", b"index 600\n\n"),
        (b"index 600\n", b""),
    ],
)
def test_another_text_is_no_proof(log, old: bytes, new: bytes) -> None:
    """tlog-proof, Format: each line has one spelling; what differs is refused when it is read."""
    made, verifier = written(log)
    with pytest.raises(MandamusError):
        proof.verify(proof.parse(made.replace(old, new, 1)), log.leaves[600], verifier)


def test_extra_data_is_refused(log) -> None:
    """tlog-proof, Format: the `extra` line may be left out, we never write it; nothing signs it, so we take none."""
    made, _ = written(log)
    with pytest.raises(MandamusError):
        proof.parse(made.replace(b"index", b"extra YQ==\nindex", 1))
