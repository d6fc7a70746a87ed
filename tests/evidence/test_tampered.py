"""Whatever is done to a bundle after it was sealed is found, has the right verdict, and is named by its file."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from collections.abc import Iterator

import pytest

from mandamus.audit.model import Verdict
from mandamus.audit.signer import Signer
from mandamus.evidence import archive, dsse
from mandamus.evidence.manifest import MANIFEST, MEDIA_TYPE
from mandamus.evidence.model import ATTESTATIONS, CHECKPOINT, README, SUMMARY, TRUST, WORKFLOW, leaf_file
from mandamus.evidence.record import FOLDERS, RECORD, fold


@pytest.fixture
def whole(governed, sealed) -> bytes:
    """A sound bundle."""
    return sealed(governed)


def _places(data: bytes) -> dict[int, str]:
    """For each byte of a file's packed contents the file's name."""
    found = {}
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        for info in opened.infolist():
            start = info.header_offset + 30 + len(info.filename)
            found |= dict.fromkeys(range(start, start + info.compress_size), info.filename)
    return found


def _flip(bench, data: bytes, at: int, mask: int, places: dict[int, str]) -> None:
    report = bench.check(data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :])
    assert not report.ok, f"byte {at} ^ {mask:#x} in {places.get(at, 'the archive')}"
    assert report.outcome in (Verdict.TAMPERED, Verdict.INCOMPLETE), report.problems
    if at in places:
        name = places[at]
        assert report.outcome is Verdict.TAMPERED, report.problems
        named = [problem for problem in report.problems if problem.file in (name, "")]
        assert named, f"byte {at} of {name}: {report.problems}"


def test_flipped_bytes_of_every_file_are_found(whole, bench):
    """A flipped byte anywhere in any file of the zip: tampered, and the file is named."""
    source, places = random.Random(11), _places(whole)
    by_file: dict[str, list[int]] = {}
    for at, name in places.items():
        by_file.setdefault(name, []).append(at)
    assert by_file.keys() == {README, SUMMARY, WORKFLOW, CHECKPOINT, TRUST, MANIFEST, RECORD, *ATTESTATIONS.values()}
    for positions in by_file.values():
        for at in source.sample(positions, 12):
            _flip(bench, whole, at, source.choice((1, 4, 0x20, 0x80, 0xFF)), places)


def test_flipped_bytes_inside_the_record_are_found(whole, bench):
    """A byte of any file in the record, packed anew: tampered, the file is named, and of a leaf its index."""
    source, files = random.Random(13), bench.files(whole)
    inside = [name for name in files if name.startswith(FOLDERS)]
    assert len(inside) > 40
    for name in inside:
        at, data = source.randrange(len(files[name])), bytearray(files[name])
        data[at] ^= source.choice((1, 4, 0x20, 0x80, 0xFF))
        report = bench.check(bench.zipped({**files, name: bytes(data)}))
        assert report.outcome is Verdict.TAMPERED
        named = {problem.file for problem in report.problems}
        if name.startswith("events/"):
            # A hash of a proof that was changed does not fit the leaf: then either of the two is named.
            leaf = int(name.removeprefix("events/").split(".")[0])
            assert {problem.leaf for problem in report.problems} >= {leaf}
            assert {name, leaf_file(leaf)} & named
        else:
            assert name in named, f"byte {at} of {name}: {report.problems}"
        assert RECORD in named


def test_flipped_bytes_between_the_files_are_found(whole, bench):
    """Headers, directory, seal and the end of the archive are covered as well, down to times and modes."""
    source, places = random.Random(12), _places(whole)
    between = [at for at in range(len(whole)) if at not in places]
    for at in [*source.sample(between, 150), *range(len(whole) - 40, len(whole))]:
        _flip(bench, whole, at, source.choice((1, 4, 0x20, 0x80, 0xFF)), places)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_single_bit_and_byte_matters(whole, bench):
    """Every byte of a bundle, each flipped in one bit and as a whole: none goes unnoticed."""
    places = _places(whole)
    for at in range(len(whole)):
        _flip(bench, whole, at, 1 << at % 8, places)
        _flip(bench, whole, at, 0xFF, places)


def test_every_dropped_file_is_named(whole, bench):
    """A bundle without one of its files is incomplete, and a record without one is another; the report says which."""
    files = bench.files(whole)
    for name in files:
        report = bench.check(bench.zipped({other: data for other, data in files.items() if other != name}))
        told = {problem.file: problem.verdict for problem in report.problems}
        assert told[name] is Verdict.INCOMPLETE, (name, report.problems)
        assert [problem.file for problem in report.problems].count(name) == 1
        assert told.get(RECORD) == (Verdict.TAMPERED if name.startswith(FOLDERS) else None)
    plain = {name: data for name, data in fold(files).items() if name != RECORD}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, data in plain.items():
            made.writestr(name, data)
    report = bench.check(buffer.getvalue())
    assert [(problem.verdict, problem.file) for problem in report.problems] == [(Verdict.INCOMPLETE, RECORD)]


def test_every_emptied_and_swapped_file_is_named(whole, bench):
    """A file that is empty, or holds what another one should, is tampered with."""
    files = bench.files(whole)
    names = sorted(files)
    for name, other in zip(names, names[1:] + names[:1], strict=True):
        for content in (b"", files[other]):
            report = bench.check(bench.zipped({**files, name: content}))
            assert report.outcome is Verdict.TAMPERED, (name, report.problems)
            assert name in {problem.file for problem in report.problems}


def test_every_added_file_is_named(whole, bench):
    """A file more, whatever its name, is tampered with."""
    files = bench.files(whole)
    for name in ("steps/bucket.1/extra.json", "events/99.json", "approvals/x.json", "readme", "events/007.json"):
        report = bench.check(bench.zipped({**files, name: b"{}"}))
        assert report.outcome is Verdict.TAMPERED
        assert {name, name.replace(".json", ".tlog-proof")} & {problem.file for problem in report.problems}


def test_only_what_was_changed_is_blamed(whole, bench):
    """One changed character of the manifest is the manifest's, one in a leaf that leaf's; the chain then has a gap."""
    files = bench.files(whole)
    listed = files[MANIFEST][:400] + bytes([files[MANIFEST][400] ^ 1]) + files[MANIFEST][401:]
    assert listed != files[MANIFEST]
    report = bench.check(bench.zipped({**files, MANIFEST: listed}))
    assert (report.outcome, [problem.file for problem in report.problems]) == (Verdict.TAMPERED, [MANIFEST])
    report = bench.check(bench.zipped({**files, "events/5.json": files["events/5.json"].replace(b'"at":1', b'"at":2')}))
    assert [(p.verdict, p.file) for p in report.problems] == [
        (Verdict.TAMPERED, "events/5.json"),
        (Verdict.INCOMPLETE, "events/6.json"),
        (Verdict.TAMPERED, RECORD),
    ]


def test_swapped_leaves_are_found(whole, bench):
    """Genuine leaves in each other's place, with their own proofs or without, are not what was sealed."""
    files = bench.files(whole)
    for kinds in ((".json",), (".json", ".tlog-proof")):
        swapped = dict(files)
        for kind in kinds:
            swapped[f"events/5{kind}"], swapped[f"events/6{kind}"] = files[f"events/6{kind}"], files[f"events/5{kind}"]
        report = bench.check(bench.zipped(swapped))
        assert report.outcome is Verdict.TAMPERED
        assert {problem.leaf for problem in report.problems} >= {5, 6}


def test_a_genuine_leaf_of_another_run_is_refused(whole, room, governed, sealed, bench):
    """A leaf of the same log with a sound proof: not listed, and were it listed, not of this run."""
    other = room.begin().asked().denied().closed("denied")
    foreign = bench.files(sealed(other))
    index = room.leaves(other.run)[0].index
    added = {name: foreign[name] for name in (f"events/{index}.json", f"events/{index}.tlog-proof")}
    report = bench.check(bench.zipped({**bench.files(whole), **added}))
    assert report.outcome is Verdict.TAMPERED
    assert {f"events/{index}.tlog-proof", RECORD} <= {problem.file for problem in report.problems}
    # Now even with the platform's key, and every leaf proved in one and the same checkpoint.
    checkpoint, leaves = room.audit.flush(), [*room.leaves(governed.run), room.leaves(other.run)[0]]
    report = bench.check(room.evidence._bundle(governed.parts(), leaves, checkpoint))
    assert (report.outcome, report.leaf) == (Verdict.TAMPERED, index)
    assert f"not of the run {governed.run}" in report.problems[0].message


def test_another_key_is_untrusted(whole, bench):
    """A bundle of a log one does not trust proves nothing, whatever it holds; nor does a text that is no key."""
    for trust in (Signer("log.example.com/home", b"\1" * 32).vkey, Signer("other.log", b"\7" * 32).vkey, "nonsense"):
        report = bench.check(whole, trust)
        assert report.outcome is Verdict.UNTRUSTED
        assert report.outcome.exit == 12


def test_a_manifest_by_another_key_is_refused(whole, governed, bench):
    """Whoever signs with a key that the log's first leaf does not name has not sealed this bundle."""
    files = bench.files(whole)
    for name in (bench.platform.name, "log.example.com/other"):
        report = bench.check(bench.forged(governed.run, files, Signer(name, b"\x66" * 32)))
        assert (report.outcome, report.problems[0].file) == (Verdict.TAMPERED, MANIFEST)


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b'{"format":"evidence/3","run":"r","files":{}}',
        b'{"format":"evidence/2","run":7,"files":{}}',
        b'{"format":"evidence/2","run":"r","files":[]}',
        b'{"format":"evidence/1"}',
        b"{",
    ],
)
def test_a_manifest_of_another_form(whole, bench, content):
    """What is no manifest lists nothing, also when it is signed."""
    signed = dsse.sign(MEDIA_TYPE, content, bench.platform)
    report = bench.check(bench.zipped({**bench.files(whole), MANIFEST: signed}))
    assert (report.outcome, [problem.file for problem in report.problems]) == (Verdict.TAMPERED, [MANIFEST])


def test_the_manifest_of_another_run_does_not_fit(whole, room, sealed, bench):
    """The manifest is genuine, and of another bundle: every difference is named."""
    other = bench.files(sealed(room.begin().asked().denied().closed("denied")))
    mixed = {**bench.files(whole), MANIFEST: other[MANIFEST]}
    report = bench.check(bench.zipped(mixed))
    assert report.outcome is Verdict.TAMPERED
    assert len(report.problems) > 20


def test_the_leaf_that_names_the_platforms_key_cannot_be_replaced(whole, room, governed, bench):
    """Trust comes from the log's first leaf alone: another one, though genuine, names no key."""
    files = bench.files(whole)
    swapped = {**files, "events/0.json": files["events/2.json"], "events/0.tlog-proof": files["events/2.tlog-proof"]}
    report = bench.check(bench.forged(governed.run, swapped))
    assert report.outcome is Verdict.TAMPERED
    assert report.problems[0].leaf == 0


def test_another_checkpoint_is_found_once(whole, governed, bench):
    """The checkpoint is that of the proofs: changed afterwards or sealed wrongly, it is named, and nothing else is."""
    files = {**bench.files(whole), "checkpoint": b"another\n"}
    for data in (bench.zipped(files), bench.forged(governed.run, files)):
        report = bench.check(data)
        assert (report.outcome, [p.file for p in report.problems]) == (Verdict.TAMPERED, ["checkpoint"])


def test_a_zip_made_anew_is_not_the_sealed_one(whole, bench):
    """The same files in another archive are not what was handed out, though nothing in them changed."""
    report = bench.check(bench.zipped(bench.files(whole)))
    assert (report.outcome, len(report.problems)) == (Verdict.TAMPERED, 1)
    assert "made anew" in report.problems[0].message
    assert bench.check(whole + b"\0").outcome is Verdict.TAMPERED
    assert bench.check(b"#!/bin/sh\n" + whole).outcome is Verdict.TAMPERED


def _cuts(data: bytes) -> Iterator[bytes]:
    for end in (0, 1, 3, 30, len(data) // 3, len(data) // 2, len(data) - 500, len(data) - 1):
        yield data[:end]


def test_a_file_cut_short_is_found(whole, bench):
    """However much is missing at the end, nothing is proved; where it can be told from damage it is incomplete."""
    outcomes = [bench.check(cut).outcome for cut in _cuts(whole)]
    assert Verdict.OK not in outcomes
    assert outcomes[4:6] == [Verdict.INCOMPLETE, Verdict.INCOMPLETE]
    report = bench.check(b"")
    assert report.problems[0].file == "bundle.zip"


def test_what_is_no_bundle_is_refused(tmp_path, bench):
    """Other archives, other files and no file at all: a finding, never a crash."""
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    for data in (empty.getvalue(), b"PK", b"\0" * 5000, bench.zipped({MANIFEST: b"[1]"}), b"{}"):
        assert not bench.check(data).ok
    assert bench.check(bench.zipped({MANIFEST: b'{"format":"evidence/3"}'})).outcome is Verdict.TAMPERED


def test_a_file_that_is_not_there_is_a_finding(bench, tmp_path):
    """Nothing to read is incomplete, with the file's name."""
    (tmp_path / "bundle.zip").mkdir()
    with pytest.raises(IsADirectoryError):
        bench.check(b"")


def test_a_name_twice_is_refused(whole, bench):
    """Files of one name are not read at all, however many: which of them would an unzipper show?"""
    buffer = io.BytesIO(whole)
    for _ in range(2):
        with zipfile.ZipFile(buffer, "a") as made, pytest.warns(UserWarning, match="Duplicate"):
            made.writestr("summary.json", bench.files(whole)["summary.json"])
        report = bench.check(buffer.getvalue())
        assert report.outcome is Verdict.TAMPERED
        told = [(problem.file, problem.message) for problem in report.problems]
        assert set(told) == {("summary.json", "the name stands in the archive twice")}
    assert len(told) == 2


def test_another_way_of_packing_is_refused(whole, bench):
    """Bundles are deflated or stored; what only some unzippers can read is no bundle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as made:
        for name, data in bench.files(whole).items():
            made.writestr(name, data)
    report = bench.check(buffer.getvalue())
    assert "packed in a way that bundles never are" in report.problems[0].message


@pytest.mark.parametrize(
    "name",
    ["../evil", "/etc/passwd", "a/../b", "c:\\x", "a//b", "a\\b", ".hidden", "a/", "summary.json~x", "b\n", "ü"],
)
def test_names_outside_the_bundle_are_refused(whole, bench, name):
    """No name that an unzipper could take for another place passes, not even one that is listed."""
    # The standard writer cuts a name at NUL; a forger does not.
    report = bench.check(bench.zipped({**bench.files(whole), name: b"x"}).replace(b"~", b"\0"))
    assert report.outcome is Verdict.TAMPERED
    assert any("no file of this name" in problem.message for problem in report.problems)


def test_links_and_encrypted_files_are_refused(whole, bench):
    """A link or an encrypted entry is no document."""
    files = bench.files(whole)
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    buffer = io.BytesIO(bench.zipped(files))
    with zipfile.ZipFile(buffer, "a") as made:
        made.writestr(link, "/etc/passwd")
    assert ("link", "it is no regular file") in {(p.file, p.message) for p in bench.check(buffer.getvalue()).problems}
    data = bytearray(bench.zipped(files))
    for magic, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = data.index(magic) + offset
        data[at : at + 2] = struct.pack("<H", 1)
    assert bench.check(bytes(data)).outcome is Verdict.TAMPERED


def test_a_bomb_is_not_unpacked(whole, bench, monkeypatch):
    """What claims to be too large, or would be, is refused with its name before it takes the memory."""
    monkeypatch.setattr(archive, "UNPACKED_BYTES_MAX", 1 << 20)
    bomb = bench.zipped({**bench.files(whole), "zeros": bytes(8 << 20)})
    report = bench.check(bomb)
    assert (report.outcome, [problem.file for problem in report.problems]) == (Verdict.TAMPERED, ["zeros"])
    assert "would unpack to more than" in report.problems[0].message
    # The directory lies about the size: no more than it claims is unpacked, and that is not what was packed.
    lying = bomb.replace(struct.pack("<L", 8 << 20), struct.pack("<L", 100))
    report = bench.check(lying)
    assert "zeros" in {problem.file for problem in report.problems}
    bomb = bench.zipped({**bench.files(whole), "steps/bucket.1/plan.json": bytes(8 << 20)})
    report = bench.check(bomb)
    assert [(problem.verdict, problem.file) for problem in report.problems] == [(Verdict.TAMPERED, RECORD)]
    assert "would unpack to more than" in report.problems[0].message
    monkeypatch.setattr(archive, "FILES_MAX", 5)
    assert "more than 5 files" in bench.check(whole).problems[0].message
    monkeypatch.setattr(archive, "ARCHIVE_BYTES_MAX", 1000)
    assert "larger than 1000" in bench.check(whole).problems[0].message


def test_overlapping_files_are_refused(whole, bench):
    """Entries that share their bytes would unpack to many times the archive."""
    data = bench.zipped({"a": random.Random(1).randbytes(5000)})
    start = data.index(b"PK\1\2")
    directory, end = data[start : data.index(b"PK\5\6")], data[data.index(b"PK\5\6") :]
    many = 20
    ended = end[:8] + struct.pack("<2H", many, many) + struct.pack("<L", many * len(directory)) + end[16:]
    report = bench.check(data[:start] + directory * many + ended)
    assert "overlaps" in report.problems[0].message


def test_problems_are_all_told(whole, bench):
    """Several changes at once are several findings."""
    files = bench.files(whole)
    files["summary.json"] += b" "
    files["events/3.json"] = files["events/3.json"].replace(b"ok", b"ko")
    del files["workflow.yaml"]
    found = {problem.file for problem in bench.check(bench.zipped(files)).problems}
    assert {"summary.json", "events/3.json", "workflow.yaml"} <= found
