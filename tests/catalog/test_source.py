"""The source: a tree is the same bytes everywhere, and a snapshot is never trusted on its way back."""

from __future__ import annotations

import gzip
import io
import os
import socket
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mandamus.catalog import source
from mandamus.kernel.errors import Code, MandamusError

TREE = {
    "workflows/a.yaml": b"workflow: a\n",
    "terraform/bucket/main.tf": b'variable "x" {}\n',
    "terraform/bucket/.terraform.lock.hcl": b"# locked\n",
    "terraform/bucket/.terraform/providers/p": b"skipped",
    "terraform/bucket/terraform.tfstate": b"skipped",
    "terraform/bucket/terraform.tfstate.backup": b"skipped",
    ".git/HEAD": b"skipped",
    ".gitignore": b"*.tfstate\n",
    "node_modules/x/y.js": b"skipped",
    "été/ñ.txt": "ü".encode(),
    "deep/" + "d/" * 20 + "x": b"deep",
    "long/" + "n" * 200: b"long name",
    "empty.txt": b"",
    "bytes.bin": bytes(range(256)),
}


def make(root: Path, tree: dict[str, bytes]) -> Path:
    for name, content in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def shape(root: Path) -> dict[str, object]:
    """Everything below a folder: kind, content, target, and whether it may be executed."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        elif path.is_dir():
            found[name] = "folder"
        else:
            found[name] = (path.read_bytes(), bool(path.stat().st_mode & stat.S_IXUSR))
    return found


def refused(action: Callable[[], object], words: str = "") -> None:
    with pytest.raises(MandamusError) as caught:
        action()
    assert caught.value.code is Code.SOURCE_INVALID
    assert words in caught.value.message
    assert caught.value.remedy


def test_the_same_tree_gives_the_same_bytes(tmp_path):
    """Order of writing, times, modes beyond executable, and the place on disk do not show in a snapshot."""
    one = make(tmp_path / "one", TREE)
    two = make(tmp_path / "elsewhere" / "two", dict(reversed(TREE.items())))
    for path in two.rglob("*"):
        os.utime(path, (1, 1))
        if path.is_file():
            path.chmod(0o600)
    assert source.snapshot(one) == source.snapshot(two)
    (two / "empty.txt").write_bytes(b"\n")
    assert source.snapshot(one) != source.snapshot(two)


def test_a_tree_survives_the_way_there_and_back(tmp_path):
    """What was left out is not there, everything else is, and a snapshot of the copy has the same bytes."""
    root = make(tmp_path / "project", TREE)
    (root / "run.sh").write_bytes(b"#!/bin/sh\n")
    (root / "run.sh").chmod(0o750)
    (root / "empty").mkdir()
    (root / "link").symlink_to("terraform/bucket")
    (root / "workflows" / "up").symlink_to("../terraform/../run.sh")
    data = source.snapshot(root)
    source.unpack(data, tmp_path / "copy")
    found = shape(tmp_path / "copy")
    kept = {name: (content, False) for name, content in TREE.items() if content != b"skipped"}
    assert {name: item for name, item in found.items() if isinstance(item, tuple) and item[0] != "link"} == {
        **kept,
        "run.sh": (b"#!/bin/sh\n", True),
    }
    assert found["empty"] == "folder"
    assert (found["link"], found["workflows/up"]) == (("link", "terraform/bucket"), ("link", "../terraform/../run.sh"))
    assert source.snapshot(tmp_path / "copy") == data


def test_hard_links_are_their_content(tmp_path):
    """A second name of a file is a file; nothing of the link remains."""
    root = make(tmp_path / "project", {"a": b"x"})
    os.link(root / "a", root / "b")
    source.unpack(source.snapshot(root), tmp_path / "copy")
    assert shape(tmp_path / "copy") == {"a": (b"x", False), "b": (b"x", False)}
    assert (tmp_path / "copy" / "a").stat().st_nlink == 1


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("../outside", "leaves the project"),
        ("/etc/passwd", "leaves the project"),
        ("/etc", "leaves the project"),
        ("nothing", "leads nowhere"),
        ("bad", "leads nowhere"),
        (".git/HEAD", "what a snapshot leaves out"),
        ("../project/a", "leaves the project"),
        ("..", "leaves the project"),
    ],
)
def test_links_that_leave_are_refused(tmp_path, target, words):
    """A link may only name what the snapshot itself holds, by a way that stays inside."""
    root = make(tmp_path / "project", {"a": b"x", ".git/HEAD": b"y"})
    (tmp_path / "outside").write_bytes(b"secret")
    (root / "bad").symlink_to(target)
    refused(lambda: source.snapshot(root), words)


def test_a_link_to_a_link_that_leaves_is_refused(tmp_path):
    """The way out may be hidden in a second link."""
    root = make(tmp_path / "project", {"a/b": b"x"})
    (root / "first").symlink_to("second")
    (root / "second").symlink_to(tmp_path)
    refused(lambda: source.snapshot(root), "leaves the project")


def test_devices_pipes_and_sockets_are_refused(tmp_path):
    """What is no file, folder or link would hang, or mean another thing elsewhere."""
    root = make(tmp_path / "project", {"a": b"x"})
    os.mkfifo(root / "pipe")
    refused(lambda: source.snapshot(root), "pipe is a device, pipe or socket")
    (root / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(root)  # the address of a socket is at most 108 bytes
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
        refused(lambda: source.snapshot(root), "socket is a device, pipe or socket")


@pytest.mark.parametrize("name", [b"a\nb", b"a\\b", b"\xff\xfe", b"a\x1b[31m", b"x" * 250 + b"/" + b"y" * 250])
def test_names_no_other_system_could_hold_are_refused(tmp_path, name):
    """A control character, a backslash, other encodings and too long a path are refused by name."""
    path = make(tmp_path / "project", {"a": b"x"}) / "/".join([os.fsdecode(name)] * (3 if b"/" in name else 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    refused(lambda: source.snapshot(tmp_path / "project"))


def test_a_home_inside_is_left_out_and_a_home_is_no_project(tmp_path):
    """Keys and the audit log of a home never become part of a project."""
    root = make(tmp_path / "project", {"a": b"x", "home/mandamus.db": b"", "home/keys/blobs": b"k"})
    source.unpack(source.snapshot(root), tmp_path / "copy")
    assert shape(tmp_path / "copy") == {"a": (b"x", False)}
    refused(lambda: source.snapshot(root / "home"), "is a home of Mandamus")


def test_what_is_no_folder_is_refused(tmp_path):
    """A file or nothing is no project."""
    (tmp_path / "file").write_bytes(b"")
    refused(lambda: source.snapshot(tmp_path / "file"), "is no folder")
    refused(lambda: source.snapshot(tmp_path / "nothing"), "is no folder")


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    """One more than the limit is refused, both ways."""
    assert source.FILES_MAX == 10_000
    root = make(tmp_path / "p", {f"d/{number}": b"" for number in range(99)})
    data = source.snapshot(root)
    monkeypatch.setattr(source, "FILES_MAX", 99)
    refused(lambda: source.snapshot(root), "more than 99")
    refused(lambda: source.unpack(data, tmp_path / "dest"), "too many files")
    monkeypatch.setattr(source, "FILES_MAX", 100)
    source.unpack(source.snapshot(root), tmp_path / "dest")


def test_huge_trees_are_refused(tmp_path):
    """Over 64 MiB the project is not read to its end."""
    large = make(tmp_path / "large", {"a": b"x"})
    for name in "bc":
        with (large / name).open("wb") as file:
            file.truncate(source.BYTES_MAX // 2)
    refused(lambda: source.snapshot(large), "more than 64 MiB; c goes over it")


def test_the_root_is_found_from_below(tmp_path):
    """The nearest mandamus.yaml wins, else the folder above ``workflows``; else the error names the next command."""
    root = make(tmp_path / "p", {"mandamus.yaml": b"", "sub/workflows/a.yaml": b"", "sub/x/y": b""})
    assert source.find_root(root / "sub" / "workflows" / "a.yaml") == root
    (root / "mandamus.yaml").unlink()
    assert source.find_root(root / "sub" / "workflows" / "a.yaml") == root / "sub"
    with pytest.raises(MandamusError) as caught:
        source.find_root(root / "sub" / "x")
    assert caught.value.code is Code.SOURCE_INVALID
    assert "mandamus init" in caught.value.remedy


def test_one_file_is_read_from_a_snapshot(tmp_path):
    """A workflow is read from the kept bytes; what is not there, or outside, is told apart."""
    data = source.snapshot(make(tmp_path / "p", {"workflows/a.yaml": b"A", "b": b"B"}))
    assert source.read_file(data, "workflows/a.yaml") == b"A"
    for name, code in (
        ("workflows/b.yaml", Code.NOT_FOUND),
        ("workflows", Code.NOT_FOUND),
        ("../b", Code.SOURCE_INVALID),
        ("/b", Code.SOURCE_INVALID),
        ("workflows/../b", Code.SOURCE_INVALID),
        ("", Code.SOURCE_INVALID),
    ):
        with pytest.raises(MandamusError) as caught:
            source.read_file(data, name)
        assert caught.value.code is code, name


def archive(*entries: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, errors="surrogateescape") as tar:
        for entry in entries:
            info, content = entry if isinstance(entry, tuple) else (entry, b"")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, mode
    return info


def link(name: str, target: str) -> tarfile.TarInfo:
    return entry(name, tarfile.SYMTYPE, target)


NAMES = ["../x", "../../x", "/x", "//x", "a/../x", "a/../../x", "a/..", "..", ".", "a//x", "a/./x", "./x"]
NAMES += ["~/\n", "x\\y"]
NAMES += ["C:\\x", "..\\x", "a\x00b", "a\x7fb", "a\rb", "a\x1b]0;b", "\udcff", "a/\udcfe/b", "x" * 1001]
NAMES += ["a/" * 61 + "x"]
NAMES += [f"{up}etc/cron.d/x" for up in ("../" * n for n in range(1, 40))]
TARGETS = ["..", "../x", "/", "/etc", "/etc/passwd", "a/../../x", "../../../../../../etc", "", "./../x", "b/../../../x"]
KINDS = [tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE, b"Z", b"\xff", b"V"]

HOSTILE: dict[str, bytes] = {
    **{f"name {name!a}": archive(entry(name)) for name in NAMES if "\x00" not in name},
    **{f"folder {name!a}": archive(entry(name, tarfile.DIRTYPE)) for name in NAMES[:7]},
    **{f"link to {target!a}": archive(entry("b", tarfile.DIRTYPE), link("a", target)) for target in TARGETS},
    **{f"deep link to {target!a}": archive(link("d/e/a", "../../" + target)) for target in TARGETS[:2]},
    **{f"kind {kind!a}": archive(entry("x"), entry("a", kind, "x")) for kind in KINDS},
    **{f"hard link to {target!a}": archive(entry("a", tarfile.LNKTYPE, target)) for target in TARGETS},
    "link to nothing": archive(link("a", "b")),
    "link to itself": archive(link("a", "a")),
    "links in a circle": archive(link("a", "b"), link("b", "a")),
    "file below a link": archive(entry("d", tarfile.DIRTYPE), link("a", "d"), entry("a/x")),
    "file below a file": archive(entry("a"), entry("a/x")),
    "link over a folder": archive(entry("a", tarfile.DIRTYPE), link("a", "b"), entry("b")),
    "link over a file": archive(entry("a"), link("a", "b"), entry("b")),
    "file over a link": archive(link("a", "b"), entry("b"), entry("a")),
    "folder over a link": archive(link("a", "b"), entry("b", tarfile.DIRTYPE), entry("a", tarfile.DIRTYPE)),
    "file twice": archive(entry("a"), entry("a")),
    "link out through a link": archive(
        entry("d/e", tarfile.DIRTYPE), link("in", "d/e"), link("out", "in/../../../x"), entry("x")
    ),
    "chain that climbs": archive(entry("d", tarfile.DIRTYPE), link("d/up", ".."), link("out", "d/up/up/up/x")),
    "cut short": archive((entry("a"), b"x" * 2000))[:1024],
    "no tar": b"x" * 2048,
    "empty": b"",
    "zip": b"PK\x03\x04" + b"\0" * 600,
    "compressed": gzip.compress(archive(entry("a"))),
    "gnu sparse": archive(entry("a", tarfile.GNUTYPE_SPARSE), form=tarfile.GNU_FORMAT),
    "rubbish behind": archive(entry("a"))[:512] + b"\x01" * 512,
    "rubbish behind the end": archive(entry("a")) + b"x",
    "cut between two files": archive(entry("a"), entry("b"))[:512],
    "cut before its end": archive(entry("a"), entry("b"))[:1024],
    "a damaged header in the middle": archive(entry("a"), entry("b"), entry("c")).replace(b"b\0", b"B\0", 1),
}


def _with_size(field: bytes) -> bytes:
    """An archive whose one header claims another size; the checksum is right."""
    header = bytearray(archive((entry("a"), b"x" * 512)))
    header[124:136] = field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    return bytes(header)


HOSTILE["a negative size"] = _with_size(b"\xff" * 12)
HOSTILE["a size of 8 EiB"] = _with_size(b"\x80\0\0\0\x7f" + b"\xff" * 7)
HOSTILE["a size over the limit"] = _with_size(b"%011o\0" % (source.BYTES_MAX + 1))
HOSTILE["a pax size"] = archive((entry("p", tarfile.XHDTYPE), b"20 size=99999999999\n"))[:1024] + archive(entry("a"))
HOSTILE["pax headers in a row"] = archive((entry("p", tarfile.XHDTYPE), b"14 path=../xx\n"))[:1024] * 5_000
HOSTILE["long names in a row"] = archive((entry("L", tarfile.GNUTYPE_LONGNAME), b"../x"))[:1024] * 5_000
HOSTILE["a pax path"] = archive((entry("p", tarfile.XHDTYPE), b"14 path=../xx\n"))[:1024] + archive(entry("a"))
HOSTILE["a pax link"] = archive((entry("p", tarfile.XHDTYPE), b"17 linkpath=/etc\n"))[:1024] + archive(link("a", "b"))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_leave_nothing(tmp_path, name):
    """Whatever is not a snapshot of ours is refused before a byte is written, inside or outside."""
    before = shape(tmp_path)
    refused(lambda: source.unpack(HOSTILE[name], tmp_path / "in" / "dest"))
    refused(lambda: source.read_file(HOSTILE[name], "a"))
    assert shape(tmp_path) == before


def test_there_are_many_hostile_archives():
    """The corpus does not shrink unseen."""
    assert len(HOSTILE) >= 120


def test_a_folder_that_is_there_is_not_touched(tmp_path):
    """A source is unpacked into a new folder; what lies in another is nobody's to overwrite."""
    data = source.snapshot(make(tmp_path / "p", {"a": b"new"}))
    make(tmp_path / "dest", {"a": b"old"})
    with pytest.raises(MandamusError) as caught:
        source.unpack(data, tmp_path / "dest")
    assert caught.value.code is Code.CONFLICT
    assert shape(tmp_path / "dest") == {"a": (b"old", False)}


FUZZED = archive(
    entry("d", tarfile.DIRTYPE), (entry("d/" + "n" * 120, mode=0o755), b"x" * 700), link("l", "d"), (entry("f"), b"y")
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, len(FUZZED) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_archives_stay_inside_or_are_refused(tmp_path_factory, changes):
    """Bytes changed anywhere give our error or a tree whose every path and link stays inside."""
    data = bytearray(FUZZED)
    for at, value in changes:
        data[at] = value
    folder = tmp_path_factory.mktemp("fuzz")
    dest = folder / "dest"
    try:
        source.unpack(bytes(data), dest)
    except MandamusError as error:
        assert error.code is Code.SOURCE_INVALID  # noqa: PT017 - both outcomes are fine, other errors are not
        assert list(folder.iterdir()) == []
        return
    assert [path.name for path in folder.iterdir()] == ["dest"]
    for path in dest.rglob("*"):
        assert path.resolve().is_relative_to(dest)


_NAMES = st.sampled_from(["a", "b", "c", "été", "x y", "-f", "n" * 120])
_TREES = st.dictionaries(st.lists(_NAMES, min_size=1, max_size=4).map("/".join), st.binary(max_size=600), max_size=8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_TREES)
def test_any_tree_round_trips(tmp_path_factory, tree):
    """Whatever the names and bytes, unpacking and taking it again gives the same bytes."""
    folder = tmp_path_factory.mktemp("tree")
    files = {name: content for name, content in tree.items() if not any(o.startswith(f"{name}/") for o in tree)}
    root = make(folder / "one", files)
    root.mkdir(exist_ok=True)
    data = source.snapshot(root)
    source.unpack(data, folder / "two")
    assert source.snapshot(folder / "two") == data
    assert shape(folder / "two") == shape(root)
