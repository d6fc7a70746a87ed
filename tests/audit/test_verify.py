"""Offline verification: a whole log passes, and every change of any byte or file is named."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mandamus.audit import note, tiles, tree
from mandamus.audit.model import Leaf, Verdict
from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.audit.verify import read_trust, verify_log
from mandamus.kernel.errors import Exit, MandamusError
from mandamus.store.database import Database

Write = Callable[..., list[Leaf]]


@pytest.fixture
def database(sqlite_database: Database) -> Database:
    """The published log has no database in it."""
    return sqlite_database


@pytest.fixture
def log(audit: Audit, folder: Path, write: Write) -> Path:
    """A log of five leaves and three checkpoints, old partial tiles included."""
    for count in (1, 2, 1):
        write(audit, count)
        audit.flush()
    return folder


def _files(log: Path) -> list[Path]:
    return sorted(path for path in log.rglob("*") if path.is_file() and not path.name.startswith("."))


def test_a_whole_log_passes(audit: Audit, log: Path) -> None:
    """Size and origin are reported, and the exit code is 0."""
    report = verify_log(log, audit.vkey)
    assert (report.ok, report.size, report.origin, report.outcome.exit) == (True, 5, "log.example.com/home", Exit.OK)


def test_every_flipped_byte_is_found(audit: Audit, log: Path) -> None:
    """Any one byte of any file, flipped: the log does not verify, and in an entry the leaf index is named."""
    for path in _files(log):
        whole = path.read_bytes()
        for at in range(len(whole)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x20]) + whole[at + 1 :])
            report = verify_log(log, audit.vkey)
            assert not report.ok, f"{path} byte {at}"
            if path.parent == log / "tile/entries/000.p" and path.name == "5":
                assert report.leaf == _leaf_at(whole, at), f"{path} byte {at}"
        path.write_bytes(whole)
    assert verify_log(log, audit.vkey).ok


def _leaf_at(bundle: bytes, offset: int) -> int:
    end = 0
    for index, leaf in enumerate(tiles.scan_bundle(bundle)[0]):
        end += 2 + len(leaf)
        if offset < end:
            return index
    raise AssertionError


def test_every_removed_file_is_found(audit: Audit, log: Path) -> None:
    """Any file the checkpoint promises, removed: incomplete, and the file is named."""
    for name in ("checkpoint", "tile/0/000.p/5", "tile/entries/000.p/5"):
        moved = (log / name).rename(log / "away")
        report = verify_log(log, audit.vkey)
        assert (report.outcome, report.problems[0].file) == (Verdict.INCOMPLETE, name)
        assert report.outcome.exit is Exit.INCOMPLETE
        moved.rename(log / name)


def test_cut_and_extended_files_are_found(audit: Audit, log: Path) -> None:
    """A byte less or more at the end of any file is found."""
    for path in _files(log):
        whole = path.read_bytes()
        for changed in (whole[:-1], whole + b"\0", whole + whole):
            path.write_bytes(changed)
            assert not verify_log(log, audit.vkey).ok, path
        path.write_bytes(whole)


def test_another_key_is_untrusted(audit: Audit, log: Path) -> None:
    """A log of another key is untrusted, whatever it holds; so is a text that is no key."""
    for trust in (Signer("log.example.com/home", b"\x01" * 32).vkey, Signer("other", b"\x07" * 32).vkey, "nonsense"):
        assert verify_log(log, trust).outcome is Verdict.UNTRUSTED


def test_swapped_leaves_are_found(audit: Audit, log: Path) -> None:
    """Leaves in another order are found although every single one is genuine."""
    path = log / "tile/entries/000.p/5"
    leaves = tiles.scan_bundle(path.read_bytes())[0]
    leaves[1], leaves[2] = leaves[2], leaves[1]
    path.write_bytes(tiles.bundle(leaves))
    assert verify_log(log, audit.vkey).leaf == 1


def test_a_broken_chain_is_found_under_a_good_signature(log: Path, signer: Signer) -> None:
    """An event left out before its checkpoint was signed shows in its stream, although every hash fits."""
    leaves = tiles.scan_bundle((log / "tile/entries/000.p/5").read_bytes())[0]
    del leaves[2]
    hashes = [tree.leaf_hash(leaf) for leaf in leaves]
    shutil.rmtree(log / "tile")
    for tile, data in (
        (tiles.Tile(tiles.ENTRIES, 0, 4), tiles.bundle(leaves)),
        (tiles.Tile(0, 0, 4), b"".join(hashes)),
    ):
        (log / tile.path).parent.mkdir(parents=True)
        (log / tile.path).write_bytes(data)
    (log / "checkpoint").write_bytes(note.sign_checkpoint(signer, 4, tree.root_of(hashes)).note)
    report = verify_log(log, signer.vkey)
    assert (report.outcome, report.leaf) == (Verdict.TAMPERED, 2)
    assert "goes from event 0 to 2" in report.problems[0].message


def test_a_log_can_be_verified_while_it_grows(audit: Audit, log: Path, write: Write) -> None:
    """A verifier that holds an earlier checkpoint reads the wider tiles that replaced the ones it names."""
    old = (log / "checkpoint").read_bytes()
    write(audit, 300)
    audit.flush()
    (log / "checkpoint").write_bytes(old)
    report = verify_log(log, audit.vkey)
    assert (report.problems, report.size) == ((), 5)


def test_large_logs(audit: Audit, folder: Path, write: Write) -> None:
    """Across several bundles and tile levels, random changes are found and named by leaf."""
    write(audit, 700)
    audit.flush()
    assert verify_log(folder, audit.vkey).ok
    source = random.Random(3)
    for _ in range(20):
        index = source.randrange(512)
        path = folder / f"tile/entries/{index // 256:03d}"
        whole = path.read_bytes()
        leaves = tiles.scan_bundle(whole)[0]
        leaves[index % 256] = leaves[index % 256].replace(b'"attempt":', b'"attempt":1', 1)
        if leaves[index % 256] in whole:
            continue
        path.write_bytes(tiles.bundle(leaves))
        assert verify_log(folder, audit.vkey).leaf == index
        path.write_bytes(whole)


def test_trust_is_a_text_or_a_file(audit: Audit, log: Path, tmp_path: Path) -> None:
    """The trust root may be given as the key itself or as the file that holds it; anything else is refused."""
    assert read_trust(audit.vkey) == read_trust(str(log / "log.vkey")) == audit.vkey
    with pytest.raises(MandamusError, match="neither"):
        read_trust(str(tmp_path / "nothing"))
