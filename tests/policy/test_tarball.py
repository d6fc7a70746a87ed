"""OPA bundles: what is packed comes back, and an archive that lies is refused whole, with file and line."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from mandamus.kernel.errors import Code, MandamusError
from mandamus.policy import tarball
from mandamus.policy.bundle import FILE_BYTES_MAX, FILES_MAX, Tree
from mandamus.policy.model import RegoVersion

RULE = "package mandamus.plan\n\ndeny contains {} if false\n"
Member = tuple[str, bytes]
Pack = Callable[[Iterable[Member | tarfile.TarInfo]], Path]


def tarred(members: Iterable[Member | tarfile.TarInfo]) -> bytes:
    """A tar archive of files, and of headers as they are given."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            archive.addfile(info, io.BytesIO(member[1]))
    return made.getvalue()


def header(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """Write members as an archive."""
    count = iter(range(10_000))

    def packed(members: Iterable[Member | tarfile.TarInfo]) -> Path:
        path = tmp_path / f"set{next(count)}.tar.gz"
        path.write_bytes(gzip.compress(tarred(members), 1))
        return path

    return packed


def tree(files: Mapping[str, str]) -> Tree:
    return Tree(Path("policy"), files, ())


def read(path: Path) -> Tree:
    return tarball.read(path, None)


def refused(path: Path, *words: str) -> str:
    """The archive is refused whole; the text of its problems, which hold the words."""
    found = read(path)
    assert found.problems
    assert not found.files
    text = "\n".join(map(str, found.problems))
    assert all(word in text for word in words), text
    assert str(path) in text
    return text


def test_what_is_written_is_read_back(tmp_path: Path):
    """Every file comes back as it was, with its Rego version, and the manifest says what the set is and owns."""
    files = {
        "plan/size.rego": RULE,
        "plan/size_test.rego": "package mandamus.plan_test\n",
        "plan/[old] {x}-*.rego": "package old\n\ndeny[msg] { msg := 1 }\n",
        "data.json": '{ "limit": 12345678901234567890123, "share": 1.50 }\n',
        "teams/data.json": '{"ops": ["ada"]}',
    }
    path = tmp_path / "set.tar.gz"
    tarball.write(tree(files), path, revision="sha256:abc", older=["plan/[old] {x}-*.rego"])
    found = tarball.examine(path, None)
    assert found.tree.problems == ()
    assert found.tree.files == files
    assert {name for name, version in found.tree.versions.items() if version is RegoVersion.V0} == {
        "plan/[old] {x}-*.rego"
    }
    assert found.manifest.revision == "sha256:abc"
    assert found.manifest.roots == ("limit", "mandamus/plan", "mandamus/plan_test", "old", "share", "teams")
    assert found.signed_by is None


def test_the_same_set_is_the_same_bytes(tmp_path: Path):
    """Neither the order of the files nor the time is in an archive; a version of a file is kept when packed again."""
    files = {"b.rego": "package b\n", "a.rego": "package a\n"}
    first = tarball.packed(tree(files), revision="r", older=["b.rego"])
    assert first == tarball.packed(tree(dict(reversed(files.items()))), revision="r", older=["b.rego"])
    path = tmp_path / "set.tar.gz"
    path.write_bytes(first)
    assert tarball.packed(read(path), revision="r") == first


def test_a_file_is_never_overwritten(tmp_path: Path):
    """Writing to a file that is there fails and leaves it."""
    path = tmp_path / "set.tar.gz"
    path.write_text("mine")
    with pytest.raises(MandamusError) as caught:
        tarball.write(tree({"a.rego": RULE}), path, revision="r")
    assert caught.value.code is Code.CONFLICT
    assert path.read_text() == "mine"


@pytest.mark.parametrize("prefix", ["/", "./", ""])
def test_names_start_at_the_root_of_the_bundle(pack: Pack, prefix: str):
    """OPA writes a slash in front of names, tar often a dot; both mean the folder of the set."""
    path = pack([header(prefix or "plan/", tarfile.DIRTYPE), (f"{prefix}plan/a.rego", RULE.encode())])
    assert read(path).problems == ()
    assert list(read(path).files) == ["plan/a.rego"]


@pytest.mark.parametrize(
    "name",
    [
        "../a.rego", "/../a.rego", "a/../../b.rego", "a/..", "//etc/a.rego", "/./a.rego", "a//b.rego", "a/./b.rego",
        "a\\b.rego", "C:a.rego", "a\nb.rego", "a\u202eb.rego", "a\udcffb.rego", "sub/.manifest", "x.signatures.json",
    ],
)  # fmt: skip
def test_odd_names_refuse_the_archive(pack: Pack, name: str):
    """A name that leaves the bundle, or that two readers could take for two files, refuses all of it."""
    refused(pack([("good.rego", RULE.encode()), (name, RULE.encode())]), "name" if "json" not in name else "OPA")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE]
)
def test_links_and_devices_refuse_the_archive(pack: Pack, kind: bytes):
    """Only plain files and folders are policy."""
    refused(pack([("good.rego", RULE.encode()), header("x.rego", kind, "/etc/passwd")]), "x.rego", "link")


def test_sparse_files_refuse_the_archive(tmp_path: Path):
    """A sparse file is not what it seems in size."""
    pax = tarfile.TarInfo("x.rego")
    pax.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "10"}
    body = b"1\n0\n0\n".ljust(512, b"\0")
    pax.size = len(body)
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(pax, io.BytesIO(body))
    path = tmp_path / "sparse.tar.gz"
    path.write_bytes(gzip.compress(made.getvalue()))
    refused(path, "sparse file")


@pytest.mark.parametrize("again", ["a.rego", "./a.rego", "/a.rego"])
def test_a_file_stands_in_an_archive_once(pack: Pack, again: str):
    """Readers differ in which of two files of a name they take, so neither is taken."""
    refused(pack([("a.rego", RULE.encode()), (again, b"package b\n")]), "a.rego", "twice")


def test_limits_hold(pack: Pack):
    """A file, the sum of the files and their number are bounded, with the name of what is too large."""
    blank = b" " * FILE_BYTES_MAX
    refused(pack([("big.rego", blank + b" ")]), "big.rego", "too large")
    refused(pack([(f"{index}.rego", blank) for index in range(5)]), "4.rego", "too large")
    refused(pack([(f"{index}.rego", b"") for index in range(FILES_MAX + 1)]), "more than 2000 files")
    assert read(pack([("a.rego", RULE.encode()), ("b.rego", blank)])).problems == ()


BOMB = """
import resource, sys
from pathlib import Path
from mandamus.policy import tarball
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = tarball.read(Path(sys.argv[1]), None)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, found.problems[0], len(found.files))
"""


@pytest.mark.parametrize("kind", ["file", "header", "gaps"])
def test_a_bomb_is_stopped_at_the_limit(tmp_path: Path, kind: str):
    """What unpacks to 2 GiB takes bounded memory, be it a file, an extended header, or nothing at all."""
    bomb = tarfile.TarInfo("bomb.rego")
    bomb.size = 2 << 30
    bomb.type = {"file": tarfile.REGTYPE, "header": tarfile.XHDTYPE, "gaps": tarfile.REGTYPE}[kind]
    first = b"" if kind == "gaps" else bomb.tobuf(tarfile.USTAR_FORMAT)
    # A gzip file may have many members: one of zeros, again and again, unpacks to all of them.
    zeros = gzip.compress(bytes(64 << 20), 6)
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(gzip.compress(first) + zeros * 32)
    done = subprocess.run(
        [sys.executable, "-c", BOMB, path], capture_output=True, text=True, check=True, timeout=60, env=os.environ
    )
    megabytes, said = done.stdout.split(" ", 1)
    assert int(megabytes) < 150, said
    assert said.rstrip().endswith(" 0")
    assert ("bomb.rego" in said) is (kind == "file")


def test_every_cut_of_an_archive_is_noticed(tmp_path: Path, pack: Pack):
    """However much of the end is missing, of the packing or of what is packed, no file is silently left out."""
    members = [("a.rego", RULE.encode()), ("b.rego", RULE.encode() * 40), ("c.rego", b"package c\n")]
    whole = pack(members).read_bytes()
    path = tmp_path / "cut.tar.gz"
    for end in range(len(whole) - 1):
        path.write_bytes(whole[:end])
        refused(path)
    plain = tarred(members)
    end_of_files = len(plain.rstrip(b"\0")) // 512 * 512 + 512
    for end in range(0, end_of_files + 1, 128):
        path.write_bytes(gzip.compress(plain[:end], 1))
        refused(path)
    assert read(pack(members)).problems == ()


def test_a_damaged_header_is_no_end(tmp_path: Path):
    """A header whose checksum is wrong does not hide the files behind it."""
    plain = bytearray(tarred([("a.rego", RULE.encode()), ("b.rego", RULE.encode())]))
    plain[1024] ^= 1
    path = tmp_path / "damaged.tar.gz"
    path.write_bytes(gzip.compress(bytes(plain)))
    refused(path, "damaged or cut off at byte 1024")


def test_other_files_are_no_archives(tmp_path: Path):
    """A folder, nothing, a pipe, text, gzip of text and an empty file each say so."""
    path = tmp_path / "x.tar.gz"
    refused(path, "cannot be read")
    for content in (b"", b"hello", gzip.compress(b""), gzip.compress(b"hello"), gzip.compress(os.urandom(4096))):
        path.write_bytes(content)
        refused(path)
    path.unlink()
    os.mkfifo(path)
    refused(path, "regular file")
    path.unlink()
    path.mkdir()
    refused(path)


def test_garbage_never_raises(tmp_path: Path):
    """Whatever bytes are changed, an archive is read or refused; nothing else happens."""
    draw = random.Random(7)
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("a.rego", "é" * 80 + ".rego", "data.json", ".manifest"):
            info = tarfile.TarInfo(name)
            info.pax_headers = {"comment": "x" * 50, "mtime": "1.5"}
            body = b'{"revision": "1", "roots": [""]}' if name.endswith(("t", "n")) else RULE.encode()
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    plain = made.getvalue()[:6144]
    path = tmp_path / "x.tar.gz"
    heads = [at for at in range(len(plain)) if plain[at]]
    for _ in range(500):
        changed = bytearray(plain)
        for _ in range(draw.randint(1, 6)):
            changed[draw.choice(heads)] = draw.choice((0, 0x2F, 0x30, 0x37, 0x80, 0xFF, draw.randrange(256)))
        path.write_bytes(gzip.compress(bytes(changed), 1))
        assert isinstance(read(path), Tree)


@pytest.mark.parametrize(
    ("name", "content", "line", "words"),
    [
        ("a.rego", b"package a\n\xff\xfe\n", 2, "not UTF-8"),
        ("a.rego", b"package a\n# \0\n", 2, "NUL"),
        ("data.json", b'{"a": 1,\n "b": 2,\n "a": 3}', 3, "twice"),
        ("data.json", b'{"a": {"x": 1}, "b": {"x": 1,\n\n"x": 3}}', 3, "twice"),
        ("data.json", b'{"a": 1,\n "b": NaN}', 1, "NaN"),
        ("data.json", b'{"a": 1,\n,}', 2, "not JSON"),
        ("data.json", b'{"a": "\\ud800"}', 1, "surrogate"),
        ("x/data.json", b"[" * 100_000, 1, "nested"),
        ("x/data.json", b"[" * 300 + b"]" * 300, 1, "nested"),
        ("data.yaml", b"a: 1\na: 2\n", 2, "a"),
        ("data.yaml", b"a: yes\n", 1, "not the same in every YAML"),
        ("data.yaml", b"a: 1\nno: 1\n", 2, "not the same in every YAML"),
        ("data.yaml", b"a: 1\nb: 0755\n", 2, "not the same in every YAML"),
        ("data.yaml", b"a: 12345678901234567890123\n", 1, "round"),
        ("data.yml", b"a: &x 1\nb: *x\n", 1, "anchor"),
        ("patch.json", b"{}", 1, "delta"),
        (".manifest", b'{"revision": 1,\n "roots": "a"}', 1, "roots"),
        (".manifest", b'{"rego_version": 2}', 1, "neither 0 nor 1"),
        (".manifest", b'{"Rego_Version": 0}', 1, "rego_version"),
        (".manifest", b'{"file_rego_versions": {"[": 0}}', 1, "pattern"),
        (".manifest", b'{"file_rego_versions": {"/z*": 0, "*z.rego": 1}}', 1, "two versions for z.rego"),
        (".manifest", b'{"roots": ["a", "a/b"]}', 1, "holds another"),
        (".manifest", b'{"wasm": [{"module": "/policy.wasm"}]}', 1, "Wasm"),
        (".manifest", b"[]", 1, "object"),
    ],
)  # fmt: skip
def test_a_bad_file_is_named_with_its_line(pack: Pack, name: str, content: bytes, line: int, words: str):
    """What is wrong inside a file is a problem of that file, at the line where it stands."""
    path = pack([("z.rego", RULE.encode()), (name, content)])
    found = read(path).problems
    assert any(each.file == str(path / name) and each.line == line and words in each.message for each in found), found


def test_the_manifest_says_which_rego(pack: Pack):
    """``file_rego_versions`` goes before ``rego_version``; a star stands for slashes, too, as in OPA."""
    says = {"rego_version": 1, "file_rego_versions": {"/old/*.rego": 0, "/{x,y}/[ab]?.rego": 0}}
    names = ["/old/deep/a.rego", "/new/a.rego", "/y/b1.rego", "/y/c1.rego"]
    path = pack([("/.manifest", json.dumps(says).encode()), *((name, b"package a\n") for name in names)])
    found = read(path)
    assert found.problems == ()
    assert [found.versions[name[1:]].value for name in names] == ["v0", "v1", "v0", "v1"]
    assert read(pack([("a.rego", b"package a\n")])).versions == {}


def test_what_the_roots_do_not_hold_is_refused(pack: Pack):
    """A bundle gives no package and no data outside of the roots it names."""
    manifest = (".manifest", b'{"roots": ["mandamus/plan", "limits/a"]}')
    good = [("a.rego", RULE.encode()), ("data.json", b'{"limits": {"a": 1}}'), ("limits/a/data.json", b'{"b": 2}')]
    assert read(pack([manifest, *good])).problems == ()
    path = pack([manifest, ("a.rego", b"# first\npackage mandamus.step\n"), ("data.json", b'{"limits": {"b": 1}}')])
    found = {(each.file, each.line) for each in read(path).problems}
    assert found == {(str(path / "a.rego"), 2), (str(path / "data.json"), 1)}


def test_yaml_data_is_given_as_json(pack: Pack):
    """``data.yaml`` is the ``data.json`` of its folder; beside one it is refused."""
    path = pack([("a.rego", RULE.encode()), ("x/data.yaml", b'b: [1, 1.50, "yes", true, null]\na: text\n')])
    assert read(path).problems == ()
    assert read(path).files["x/data.json"] == '{"a":"text","b":[1,1.5,"yes",true,null]}'
    both = read(pack([("data.yaml", b"a: 1\n"), ("data.json", b'{"b": 1}')]))
    assert "second time" in str(both.problems)


def test_integers_of_any_size_are_kept(pack: Pack):
    """2**53 + 1 is not 2**53."""
    content = f'{{"n": {2**53 + 1}, "m": {10**60 + 1}}}'
    assert read(pack([("data.json", content.encode())])).files == {"data.json": content}


def test_other_files_are_passed_over(pack: Pack):
    """A bundle may hold a licence, and what another profile reads; only what the set is made of is taken."""
    path = pack([("LICENSE", b"\xff"), ("a.rego", RULE.encode()), ("c.yaml", b"kind: X\n")])
    assert list(read(path).files) == ["a.rego"]
    assert list(tarball.read(path, None, further=(".yaml",)).files) == ["a.rego", "c.yaml"]
