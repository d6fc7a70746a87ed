"""Proofs made from a published log's files, and the commands that make and check them on any machine."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mandamus.audit import proof, proofs, tree
from mandamus.audit.signer import Signer
from mandamus.audit.source import Folder
from mandamus.audit.trust import Trust, parse_trust
from mandamus.kernel.errors import Code, MandamusError

SIZE = 700


@pytest.fixture
def log(tmp_path: Path, tiled):
    made = tiled(tmp_path / "log")
    made.grow(SIZE)
    made.write()
    (made.folder / "log.vkey").write_text(f"{made.signer.vkey}\n")
    return made


@pytest.fixture
def trust(signer: Signer) -> Trust:
    return parse_trust(signer.vkey)


@pytest.fixture
def stranger(tmp_path: Path):
    """Run a command of ``mandamus audit`` on a machine without a home."""

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-m", "mandamus", "audit", *map(str, words)]
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        return subprocess.run(program, capture_output=True, text=True, cwd=tmp_path, env=environ, check=False)

    return run


@pytest.mark.parametrize("index", [0, 1, 255, 256, 511, 512, 698, 699])
def test_any_leaf_can_be_proved(log, trust: Trust, index: int) -> None:
    """The proof verifies with the exact leaf and with no other."""
    made = proofs.prove(Folder(log.folder), trust, index)
    assert made.leaf == log.leaves[index]
    assert proof.verify(proof.parse(made.proof), made.leaf, trust).size == SIZE
    with pytest.raises(MandamusError, match=f"leaf {index}"):
        proof.verify(proof.parse(made.proof), log.leaves[index - 1], trust)


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 700), (1, 2), (255, 256), (256, 512), (300, 699), (700, 700)])
def test_any_two_sizes_can_be_proved(log, trust: Trust, old: int, new: int) -> None:
    """Roots and path are those computed from the leaves, and the proof holds; with another root it does not."""
    made = proofs.consistency(Folder(log.folder), trust, old, new)
    hashes = [tree.leaf_hash(leaf) for leaf in log.leaves]
    assert (made.old_root, made.new_root) == (tree.root_of(hashes[:old]), tree.root_of(hashes[:new]))
    assert proofs.holds(made)
    lines = made.text().decode().splitlines()
    assert lines[:3] == ["consistency/1", *(f"{name} {size} {base64.b64encode(root).decode()}" for name, size, root in
                         (("old", old, made.old_root), ("new", new, made.new_root)))]  # fmt: skip
    assert [base64.b64decode(line) for line in lines[3:]] == list(made.path)


def test_nothing_false_is_proved(log, trust: Trust) -> None:
    """A changed entry, hash or checkpoint gives no proof but a word that says what is wrong."""
    source = Folder(log.folder)
    for path, old, new in (
        ("tile/entries/001", b'"n":300', b'"n":301'),
        ("tile/0/000", log.folder.joinpath("tile/0/000").read_bytes()[:32], bytes(32)),
        ("tile/1/000.p/2", log.folder.joinpath("tile/1/000.p/2").read_bytes()[32:], bytes(32)),
    ):
        whole = (log.folder / path).read_bytes()
        (log.folder / path).write_bytes(whole.replace(old, new, 1))
        with pytest.raises(MandamusError) as caught:
            proofs.prove(source, trust, 300 if "entries" in path or "tile/1" not in path else 600)
            proofs.prove(source, trust, 5)
        assert caught.value.code is Code.AUDIT_TAMPERED
        (log.folder / path).write_bytes(whole[:-1])
        with pytest.raises(MandamusError) as caught:
            proofs.prove(source, trust, 300)
            proofs.prove(source, trust, 511)
            proofs.prove(source, trust, 5)
        assert caught.value.code is Code.AUDIT_TAMPERED
        (log.folder / path).unlink()
        with pytest.raises(MandamusError) as caught:
            proofs.prove(source, trust, 300)
            proofs.prove(source, trust, 5)
        assert caught.value.code is Code.AUDIT_INCOMPLETE
        (log.folder / path).write_bytes(whole)
    for index in (SIZE, 10**12):
        with pytest.raises(MandamusError, match="has no leaf"):
            proofs.prove(source, trust, index)
    with pytest.raises(MandamusError, match="the older first"):
        proofs.consistency(source, trust, 5, 4)


def test_a_rewritten_log_proves_no_consistency(log, trust: Trust) -> None:
    """Changed hashes of the older leaves lead to another root than the signed one."""
    path = log.folder / "tile/0/000"
    path.write_bytes(bytes(32) + path.read_bytes()[32:])
    with pytest.raises(MandamusError) as caught:
        proofs.consistency(Folder(log.folder), trust, 10, 200)
    assert caught.value.code is Code.AUDIT_TAMPERED


def test_a_proof_is_made_and_checked_by_commands(log, stranger, tmp_path: Path) -> None:
    """With log and key alone; the check needs proof, leaf and key only, and never takes another leaf or key."""
    vkey = log.signer.vkey
    done = stranger("prove", 17, "--leaf", "17.json", "--log", log.folder, "--trust", vkey)
    assert (done.returncode, done.stdout) == (0, "17.tlog-proof: leaf 17 of 700 of log.example.com/home\n")
    assert (tmp_path / "17.json").read_bytes() == log.leaves[17]
    log.folder.rename(tmp_path / "gone")
    check = ("check-proof", "17.tlog-proof", "--leaf", "17.json", "--trust")
    assert stranger(*check, vkey).returncode == 0
    assert stranger(*check, Signer("log.example.com/home", b"\x01" * 32).vkey).returncode == 12
    (tmp_path / "17.json").write_bytes(log.leaves[18])
    done = stranger(*check, vkey, "--output", "json")
    assert (done.returncode, json.loads(done.stdout)["outcome"]) == (10, "tampered")
    again = stranger("prove", 17, "--log", tmp_path / "gone", "--trust", vkey)
    assert (again.returncode, "is there already" in again.stderr) == (1, True)


def test_consistency_is_shown_by_a_command(log, tiled, stranger, tmp_path: Path) -> None:
    """Between sizes and between kept checkpoints; a checkpoint of another history is named."""
    (tmp_path / "kept").write_bytes((log.folder / "checkpoint").read_bytes())
    log.grow(100)
    log.write()
    where = ("--log", log.folder, "--trust", log.signer.vkey)
    done = stranger("consistency", "kept", log.folder / "checkpoint", *where, "-o", "kept.proof")
    assert done.returncode == 0
    lines = (tmp_path / "kept.proof").read_text().splitlines()
    assert [line.split()[1] for line in lines[1:3]] == ["700", "800"]
    shown = json.loads(stranger("consistency", 700, 800, *where, "--output", "json").stdout)
    assert [shown["old"]["root"], shown["new"]["root"]] == [line.split()[2] for line in lines[1:3]]
    assert shown["proof"] == lines[3:]
    fork = tiled(tmp_path / "fork")
    fork.grow(SIZE, streams=3)
    done = stranger("consistency", fork.write() / "checkpoint", 800, *where)
    assert done.returncode == 10
    assert "signs another tree of 700 leaves" in done.stderr
    assert stranger("consistency", "nothing", 800, *where).returncode == 2


def test_a_published_log_is_verified_by_a_command(log, stranger, tmp_path: Path) -> None:
    """From a folder with a state file that remembers; options that need a log say so."""
    where = ("--log", log.folder, "--trust", log.folder / "log.vkey")
    assert stranger("verify", *where, "--state", "state.json", "--procs", 1).returncode == 0
    (tmp_path / "kept").write_bytes((log.folder / "checkpoint").read_bytes())
    log.grow(10)
    log.write()
    for option in (("--since", "kept"), ("--state", "state.json")):
        shown = json.loads(stranger("verify", *where, *option, "--output", "json").stdout)
        assert (shown["outcome"], shown["size"], shown["since"]) == ("ok", 710, 700)
    assert stranger("verify", *where, "--since", "kept", "--state", "state.json").returncode == 2
    assert stranger("verify", "--state", "state.json").returncode == 2
    assert stranger("verify", "--log", log.folder).returncode == 2
    assert stranger("verify", "--log", "ftp://x/y", "--trust", log.signer.vkey).returncode == 2
    assert stranger("verify", "--log", tmp_path / "none", "--trust", log.signer.vkey).returncode == 11
