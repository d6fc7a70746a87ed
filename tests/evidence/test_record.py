"""The record of a bundle is an ordinary archive, in one spelling, and is refused in any other."""

from __future__ import annotations

import io
import lzma
import tarfile

import pytest

from mandamus.audit import note
from mandamus.audit.model import Verdict
from mandamus.evidence import archive, manifest
from mandamus.evidence.model import OLD_FORMAT, leaf_file
from mandamus.evidence.record import RECORD, fold, unfold

FILES = {
    "events/10.json": b'{"at":10}',
    "events/9.json": b'{"at":9}',
    "events/9.tlog-proof": b"proof\n",
    "steps/build.1/plan.json": b"x" * 1024,
    "approvals/a.json": b"",
}
LIMIT = 1 << 20


def _tar(names, **changed):
    """The files of these names as the standard library packs them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as made:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(FILES.get(name, b"")), 0o444
            for key, value in changed.items():
                setattr(info, key, value)
            made.addfile(info, io.BytesIO(FILES.get(name, b"")))
    return buffer.getvalue()


def test_anybody_can_unpack_a_record():
    """The standard tools read the files out of it; what is in none of its folders stands beside it."""
    folded = fold({**FILES, "summary.json": b"{}"})
    assert folded.keys() == {"summary.json", RECORD}
    with tarfile.open(fileobj=io.BytesIO(folded[RECORD])) as found:
        assert {member.name: found.extractfile(member).read() for member in found} == FILES
        assert {(member.mode, member.mtime, member.uid, member.uname) for member in found} == {(0o444, 0, 0, "")}


def test_a_record_has_one_spelling():
    """The same files give the same bytes, in whatever order they come, and are what comes out again."""
    one, other = fold(FILES)[RECORD], fold(dict(reversed(FILES.items())))[RECORD]
    assert one == other
    assert unfold(one, LIMIT) == FILES
    order = list(unfold(one, LIMIT))
    assert order.index("events/9.json") < order.index("events/10.json") < order.index("events/9.tlog-proof")
    assert unfold(fold({})[RECORD], LIMIT) == {}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no archive",
        fold(FILES)[RECORD][:-1],
        fold(FILES)[RECORD] + b"\0",
        fold(FILES)[RECORD] * 2,
        lzma.compress(b""),
        lzma.compress(b"\0" * 512),
        lzma.compress(_tar(["events/9.json"])),  # padded to a whole tape record
        lzma.compress(_tar(["events/9.json"])[:1024]),
        lzma.compress(_tar(["events/9.json", "events/9.json"])[:2048] + bytes(1024)),
        lzma.compress(_tar(["events/10.json", "events/9.json"])[:2048] + bytes(1024)),
        lzma.compress(_tar(["events/9.json"], mtime=1)[:1024] + bytes(1024)),
        lzma.compress(_tar(["events/9.json"], type=tarfile.SYMTYPE, linkname="/etc/passwd")[:512] + bytes(1024)),
        lzma.compress(_tar(["events/9.json"], uname="root")[:1024] + bytes(1024)),
        lzma.compress(_tar(["../events/9.json"])[:512] + bytes(1024)),
        lzma.compress(_tar(["summary.json"])[:512] + bytes(1024)),
        lzma.compress(_tar(["events/9.json"])[:1023] + b"x" + bytes(1024)),
    ],
)
def test_what_fold_does_not_write_is_refused(data):
    """Another order, a file twice, a link, a time, a name elsewhere, bytes between or behind the files."""
    with pytest.raises(ValueError, match=r"."):
        unfold(data, LIMIT)


def test_no_more_is_unpacked_than_allowed():
    """A record that claims little and unpacks to much ends at the limit."""
    bomb = fold({"events/1.json": bytes(64 << 20)})[RECORD]
    assert len(bomb) < 20_000
    with pytest.raises(ValueError, match="more than 1048576"):
        unfold(bomb, LIMIT)


def test_a_bundle_of_the_older_format_still_verifies(governed, sealed, bench, monkeypatch):
    """Bundles that were sealed when every file stood in the zip by itself are read as before, and changes are found."""
    files = bench.files(sealed(governed))
    monkeypatch.setattr(manifest, "FORMAT", OLD_FORMAT)
    old = {name: data for name, data in files.items() if name != manifest.MANIFEST}
    old |= manifest.write(governed.run, old, bench.platform)

    def packed() -> bytes:
        return archive.pack(
            old, lambda body: note.sign(f"{OLD_FORMAT}\nseal\n{governed.run}\n{body}\n", bench.platform)
        )

    report = bench.check(packed())
    assert (report.problems, report.size) == ((), len(old))
    old[leaf_file(5)] = old[leaf_file(5)].replace(b'"at":1', b'"at":2')
    report = bench.check(packed())
    assert (report.outcome, report.problems[0].file) == (Verdict.TAMPERED, leaf_file(5))
