"""Verification in parts: by several processes, from a kept checkpoint, with a state file, and from the leaf's end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mandamus.audit import chain, note, tree, verify
from mandamus.audit.chain import Segment
from mandamus.audit.cosign import Cosigner, cosign
from mandamus.audit.model import Report, Verdict
from mandamus.audit.quorum import parse_policy
from mandamus.audit.resume import verify_since, verify_with_state
from mandamus.audit.signer import Signer
from mandamus.audit.verify import verify_log

SIZE = 1500
ROOT = Path(__file__).parents[2]


@pytest.fixture
def log(tmp_path: Path, tiled):
    made = tiled(tmp_path / "log")
    made.grow(SIZE)
    made.write()
    return made


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges of two bundles, so that a small log has several."""
    monkeypatch.setattr(verify, "LEAVES", 512)


def test_processes_find_what_one_finds(log, signer: Signer, small_ranges: None) -> None:
    """The report of several processes is that of one, for a sound log and for one that is damaged in every range."""
    assert verify_log(log.folder, signer.vkey, procs=2) == verify_log(log.folder, signer.vkey)
    assert verify_log(log.folder, signer.vkey, procs=2).ok
    for number in range(5):
        path = log.folder / f"tile/entries/{number:03d}"
        path.write_bytes(path.read_bytes().replace(b'"subject":"ada"', b'"subject":"eve"', 1))
    one = verify_log(log.folder, signer.vkey)
    assert verify_log(log.folder, signer.vkey, procs=2) == one
    assert {problem.leaf for problem in one.problems} >= {0, 256, 512, 768, 1024}
    assert {problem.file for problem in one.problems if problem.leaf == 512} == {"tile/entries/002"}


def test_a_chain_is_followed_across_ranges(log, signer: Signer, small_ranges: None) -> None:
    """An event left out of its stream shows also where the stream goes on in another range."""
    del log.leaves[511]
    log.write()
    report = verify_log(log.folder, signer.vkey)
    assert (report.outcome, report.leaf) == (Verdict.TAMPERED, 517)
    assert "goes from event 72 to 74" in report.problems[0].message


def test_a_log_rewritten_under_its_old_checkpoint_is_found(log, leaf, signer: Signer) -> None:
    """Entries and tiles that fit each other and not the signed root: only the root tells, and it does."""
    signed = (log.folder / "checkpoint").read_bytes()
    log.leaves[-1] = leaf("run/new", 0, None)
    log.write()
    (log.folder / "checkpoint").write_bytes(signed)
    report = verify_log(log.folder, signer.vkey)
    assert [(each.verdict, each.file) for each in report.problems] == [(Verdict.TAMPERED, "checkpoint")]


@pytest.mark.parametrize("at", [0, 31, 70, 5 * 32 - 1])
def test_hashes_of_upper_tiles_are_compared(log, signer: Signer, tmp_path: Path, at: int) -> None:
    """A hash above the leaves that is not that of its subtree is named by its tile, also in what is verified anew."""
    kept = tmp_path / "kept"
    kept.write_bytes((log.folder / "checkpoint").read_bytes())
    log.grow(600)
    log.write()
    (path,) = log.folder.glob("tile/1/000.p/8")
    whole = path.read_bytes()
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    report = verify_log(log.folder, signer.vkey)
    assert [(each.file, each.leaf) for each in report.problems] == [("tile/1/000.p/8", None)]
    assert not verify_since(log.folder, signer.vkey, kept).ok
    path.write_bytes(whole[: 7 * 32] + bytes(32))
    assert verify_since(log.folder, signer.vkey, kept).problems[0].file == "tile/1/000.p/8"
    path.write_bytes(whole)
    assert verify_since(log.folder, signer.vkey, kept).ok


def test_an_empty_log_has_the_empty_root(tmp_path: Path, tiled, signer: Signer) -> None:
    """A log without leaves is whole when it is signed with the root of nothing, and with no other."""
    folder = tmp_path / "log"
    folder.mkdir()
    (folder / "checkpoint").write_bytes(note.sign_checkpoint(signer, 0, tree.EMPTY_ROOT).note)
    assert verify_log(folder, signer.vkey).ok
    kept = tmp_path / "kept"
    kept.write_bytes((folder / "checkpoint").read_bytes())
    (folder / "checkpoint").write_bytes(note.sign_checkpoint(signer, 0, bytes(32)).note)
    assert verify_log(folder, signer.vkey).outcome is Verdict.TAMPERED
    assert verify_since(folder, signer.vkey, kept).outcome is Verdict.TAMPERED
    log = tiled(folder)
    log.grow(300)
    log.write()
    assert verify_since(folder, signer.vkey, kept).ok


@pytest.mark.slow
def test_programs_share_the_work(tmp_path: Path, tiled) -> None:
    """The command and the single file start further processes from wherever they are, and find the same."""
    log = tiled(tmp_path / "log")
    log.grow(66_000)
    log.write()
    file = tmp_path / "verify.pyz"
    subprocess.run([sys.executable, ROOT / "tools/verifier.py", "-o", file], check=True, capture_output=True)
    tail = ["--trust", log.signer.vkey, "--procs", "2"]
    programs = ([sys.executable, "-m", "mandamus", "audit", "verify", "--log", log.folder, *tail],
                [Path(sys.executable).with_name("mandamus"), "audit", "verify", "--log", log.folder, *tail],
                [sys.executable, "-I", file, "log", log.folder, *tail])  # fmt: skip
    for damaged in (False, True):
        if damaged:
            path = log.folder / "tile/entries/257.p/208"
            path.write_bytes(path.read_bytes().replace(b'"subject":"ada"', b'"subject":"eve"', 1))
        for program in programs:
            done = subprocess.run(program, capture_output=True, text=True, check=False, cwd=tmp_path)
            assert done.returncode == 10 * damaged, done.stderr
            assert ("(leaf 65792)" in done.stdout) == damaged


def test_missing_bundles_are_all_named(log, signer: Signer, small_ranges: None) -> None:
    """What is missing is named bundle by bundle, and nothing else is made of it."""
    for number in (1, 4):
        (log.folder / f"tile/entries/{number:03d}").unlink()
    report = verify_log(log.folder, signer.vkey)
    assert report.outcome is Verdict.INCOMPLETE
    assert [(each.file, each.leaf) for each in report.problems] == [
        ("tile/entries/001", 256),
        ("tile/entries/004", 1024),
    ]


class Counting:
    """A folder that tells what was read of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.paths = verify.Folder(folder), list[str]()
        self.widths = self.folder.widths

    def read(self, path: str, bytes_max: int) -> bytes | None:
        """See `Source.read`."""
        self.paths.append(path)
        return self.folder.read(path, bytes_max)


@pytest.mark.parametrize(("old", "new"), [(1, 1500), (255, 256), (256, 257), (700, 1500), (1024, 1500), (1500, 1500)])
def test_only_what_is_new_is_read(tmp_path: Path, tiled, signer: Signer, old: int, new: int) -> None:
    """From a kept checkpoint on, the entries before it are not read, and the log is found to continue it."""
    log = tiled(tmp_path / "log")
    log.grow(old)
    kept = tmp_path / "kept"
    kept.write_bytes((log.write() / "checkpoint").read_bytes())
    log.grow(new - old)
    source = Counting(log.write())
    report = verify_since(source, signer.vkey, kept)
    assert (report.problems, report.size, report.since) == ((), new, old)
    read = {path.removeprefix("tile/entries/").partition(".p")[0] for path in source.paths if "entries" in path}
    assert read == {f"{number:03d}" for number in range(old // 256, (new + 255) // 256) if old < new}


def test_another_history_is_found(log, tiled, tmp_path: Path, signer: Signer) -> None:
    """A log that was rolled back or rewritten does not continue the checkpoint that somebody kept."""
    kept = tmp_path / "kept"
    kept.write_bytes((log.folder / "checkpoint").read_bytes())
    fork = tiled(tmp_path / "fork")
    fork.grow(SIZE + 300, streams=5)
    report = verify_since(fork.write(), signer.vkey, kept)
    assert (report.outcome, report.problems[0].file) == (Verdict.TAMPERED, "checkpoint")
    assert "does not continue" in report.problems[0].message
    shorter = tiled(tmp_path / "shorter")
    shorter.grow(SIZE - 1)
    report = verify_since(shorter.write(), signer.vkey, kept)
    assert report.outcome is Verdict.TAMPERED
    assert "rolled back" in report.problems[0].message
    same = tiled(tmp_path / "same")
    same.grow(SIZE, streams=5)
    assert verify_since(same.write(), signer.vkey, kept).outcome is Verdict.TAMPERED


def test_a_kept_checkpoint_is_believed_only_when_signed(log, tmp_path: Path, signer: Signer) -> None:
    """A checkpoint by another key is untrusted, no file is incomplete; nothing of the log is read."""
    kept = tmp_path / "kept"
    assert verify_since(log.folder, signer.vkey, kept).outcome is Verdict.INCOMPLETE
    kept.write_bytes(note.sign_checkpoint(Signer(signer.name, b"\x01" * 32), 3, tree.EMPTY_ROOT).note)
    assert verify_since(log.folder, signer.vkey, kept).outcome is Verdict.UNTRUSTED


def test_a_state_knows_where_streams_ended(log, tmp_path: Path, signer: Signer) -> None:
    """With a state an event left out between two verifications is found, also when it was the first new one."""
    state = tmp_path / "state.json"
    assert verify_with_state(log.folder, signer.vkey, state).since == 0
    log.grow(100)
    report = verify_with_state(log.write(), signer.vkey, state)
    assert (report.problems, report.since, report.size) == ((), SIZE, SIZE + 100)
    before = state.read_bytes()
    log.grow(20)
    del log.leaves[SIZE + 100]
    report = verify_with_state(log.write(), signer.vkey, state)
    assert report.outcome is Verdict.TAMPERED
    assert "goes from event" in report.problems[0].message
    assert state.read_bytes() == before


@pytest.mark.parametrize(
    "text", ["", "{}", '{"format": "verified/2"}', '{"format": "verified/1", "streams": 3}', "[1]"]
)
def test_a_state_that_is_none_is_refused(log, tmp_path: Path, signer: Signer, text: str) -> None:
    """A file of another kind is untrusted, and is left as it is."""
    state = tmp_path / "state.json"
    state.write_text(text)
    assert verify_with_state(log.folder, signer.vkey, state).outcome is Verdict.UNTRUSTED
    assert state.read_text() == text


def test_witnesses_are_asked_for_by_a_policy(log, signer: Signer) -> None:
    """With a policy the checkpoint must carry the cosignatures of its quorum; more or other lines do not matter."""
    witnesses = [Signer(f"w{number}.example", bytes([number]) * 32) for number in (1, 2, 3)]
    text = "".join(f"witness w{n} {Cosigner(w.name, w.verifier.public).vkey}\n" for n, w in enumerate(witnesses, 1))
    policy = parse_policy(f"{text}group two 2 w1 w2 w3\nquorum two\n".encode())
    path = log.folder / "checkpoint"
    bare = path.read_bytes()
    signed = note.parse(bare).text
    report = verify_log(log.folder, signer.vkey, quorum=policy)
    assert (report.outcome, report.problems[0].file) == (Verdict.UNTRUSTED, "checkpoint")
    path.write_bytes(bare + cosign(witnesses[0], signed, 5).encode())
    report = verify_log(log.folder, signer.vkey, quorum=policy)
    assert [each.message for each in report.problems] == ["the quorum two is not met: cosigned by w1"]
    path.write_bytes(bare + cosign(witnesses[0], signed, 5).encode() + cosign(witnesses[2], "x" + signed, 5).encode())
    assert verify_log(log.folder, signer.vkey, quorum=policy).outcome is Verdict.UNTRUSTED
    path.write_bytes(bare + cosign(witnesses[0], signed, 5).encode() + cosign(witnesses[2], signed, 6).encode())
    assert verify_log(log.folder, signer.vkey, quorum=policy).ok


def test_a_log_that_went_on_since_it_was_cosigned(log, signer: Signer) -> None:
    """Leaves beyond ``checkpoint.witnessed`` are told as such, when the log continues that; else it is tampered."""
    witness = Signer("w1.example", b"\1" * 32)
    policy = parse_policy(f"witness w1 {Cosigner(witness.name, witness.verifier.public).vkey}\nquorum w1\n".encode())
    seen = (log.folder / "checkpoint").read_bytes()
    log.grow(20)
    folder = log.write()

    def found(checkpoint: bytes) -> Report:
        line = cosign(witness, note.parse(checkpoint).text, 5).encode()
        (folder / "checkpoint.witnessed").write_bytes(checkpoint + line)
        return verify_log(folder, signer.vkey, quorum=policy)

    report = found(seen)
    assert (report.problems, report.size, report.witnessed) == ((), SIZE + 20, SIZE)
    assert report.to_json()["witnessed"] == SIZE
    assert verify_log(folder, signer.vkey).witnessed is None
    for other in (note.sign_checkpoint(signer, SIZE, b"\2" * 32), note.sign_checkpoint(signer, SIZE + 21, b"\2" * 32)):
        report = found(other.note)
        assert (report.outcome, report.problems[0].file) == (Verdict.TAMPERED, "checkpoint.witnessed")
    (folder / "checkpoint.witnessed").write_bytes(seen)
    assert verify_log(folder, signer.vkey, quorum=policy).outcome is Verdict.UNTRUSTED


words = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
keys = words | st.sampled_from(["format", "prev", "seq", "stream"])
values = st.recursive(
    words | st.integers(0, 9) | st.none(),
    lambda each: st.lists(each, max_size=2) | st.dictionaries(keys, each, max_size=3),
)
NESTED = {"format": "leaf/1", "outcome": "ok", "prev": "0" * 64, "seq": 7, "stream": "run/other", "what": {"id": "x"}}


@given(words, st.integers(0, 10**18), st.none() | st.just("ab" * 32), words, st.dictionaries(words, values, max_size=3))
@example("run/1", 3, None, '"},"what":{"}', {"x": NESTED})
@example("run/1", 3, None, "", {"x": {"data": {}, "format": "leaf/1", "id": NESTED}})
@example('run/"', 3, None, "}{", {"x": [NESTED, {"format": "leaf/1"}]})
def test_the_end_of_a_leaf_says_what_the_leaf_says(leaf, stream, seq, prev, text, data) -> None:
    """Whatever stands in the data, the names and the reason: reading the end gives what parsing the whole gives."""
    names = {"why": text, "project": text, "run": text, "step": text, "what": {"id": text, "type": text}}
    whole = json.loads(leaf("run/other", 7, "0" * 64, data={}))
    for made in (
        leaf(stream, seq, prev, data=data),
        leaf(stream, seq, prev, data=data, **names),
        leaf(stream, seq, prev, who=NESTED),
        leaf(stream, seq, prev, where=data, data=NESTED),
        leaf(stream, seq, prev, data={"a": whole}, who={"a": whole}),
        leaf(stream, seq, prev, data=whole),
    ):
        segment = Segment()
        assert segment.follow([made], [b"h"], 0) == []
        assert segment.firsts == {stream.encode(): (0, seq, (prev or "").encode())}
        assert chain._parse(made) == (stream.encode(), seq, (prev or "").encode())


def test_most_leaves_are_not_parsed(leaf, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary leaf is read by its end; this is what makes verification fast."""
    refuse: Callable[[bytes], None] = lambda _: pytest.fail("it was parsed")  # noqa: E731 - a stand-in
    monkeypatch.setattr(chain, "_parse", refuse)
    assert Segment().follow([leaf("run/1", 0, None, data={"a": {"b": ["}"]}})], [b""], 0) == []
