"""OPA bundle archives (``.tar.gz``): read within limits into a `Tree`, written so that a set is always the same bytes.

Nothing is ever unpacked to a disk. An archive is read as OPA reads it (v1/bundle/bundle.go, file.go), but for what OPA
passes over in silence: links and devices, a second file of one name, a damaged header, compiled policies. Here these
are refused, since a rule that goes missing is a rule that denies nobody.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mandamus.kernel.errors import Code, MandamusError, Problem, raise_problems
from mandamus.policy import bundle_data, manifest, signature
from mandamus.policy.bundle import DATA_FILE, FILE_BYTES_MAX, FILES_MAX, TOTAL_BYTES_MAX, Tree
from mandamus.policy.manifest import Manifest
from mandamus.policy.model import Options, RegoVersion

SUFFIX = ".tar.gz"

UNPACKED_BYTES_MAX = TOTAL_BYTES_MAX + FILES_MAX * 4096
"""With room for the headers of every file, so that no archive is ever held in memory beyond this."""

_CHUNK_BYTES = 1 << 20
_SHOWN_CHARS = 200
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE)
_PATCH = "patch.json"
_TAKEN_FOR = {".manifest": manifest.FILE, "signatures.json": signature.FILE}
"""By their endings: what OPA takes files for, wherever they lie."""


@dataclass(frozen=True)
class Archive:
    """What an archive holds: the files, what its manifest says, and the id of the key that signed it, if one did."""

    tree: Tree
    manifest: Manifest
    signed_by: str | None


def read(
    path: Path,
    keys: Mapping[str, signature.Key] | None,
    options: Options | None = None,
    further: Sequence[str] = (),
) -> Tree:
    """The policy files of an archive, with every problem in it.

    With keys (by id, or under `signature.ANY`) the archive has to be signed by one of them; without, it has to be
    unsigned: a signature that nobody checks is worth nothing. ``further`` are endings of names that belong to the
    set, too. ``data.yaml`` is given as the ``data.json`` it means.
    """
    return examine(path, keys, options, further).tree


def examine(
    path: Path,
    keys: Mapping[str, signature.Key] | None,
    options: Options | None = None,
    further: Sequence[str] = (),
) -> Archive:
    """As `read`, with the manifest and who signed."""
    reading = _Reading(path)
    members = reading.members()
    signed_by = None if reading.problems else reading.verified(members, keys)
    if reading.problems:
        # Of an archive that is damaged or not vouched for nothing is used.
        members = {}
    files = reading.policy_files(members, (".rego", *further))
    found = manifest.parse(members.get(manifest.FILE))
    versions, unclear = found.versions({name: reading.raw[name] for name in files if name.endswith(".rego")})
    for message, remedy in (*found.problems, *unclear):
        reading.refuse(manifest.FILE, message, remedy, code="manifest_invalid")
    for name, message, line in found.outside_of_roots(files):
        reading.refuse(name, message, "add it to the roots, or take it out", code="manifest_invalid", line=line)
    tree = Tree(path, dict(sorted(files.items())), tuple(reading.problems), options or Options(), versions)
    return Archive(tree, found, signed_by)


def write(
    tree: Tree, path: Path, *, revision: str, sign: signature.SigningKey | None = None, older: Collection[str] = ()
) -> int:
    """Write a set to a new file as a bundle and return its size in bytes.

    ``older`` are modules in Rego v0, beside those that the tree says are. Raises ``policy_invalid`` when anything is
    wrong with the tree and ``conflict`` when the file is there.
    """
    raise_problems(Code.POLICY_INVALID, list(tree.problems), remedy="mend every line above; nothing was written")
    data = packed(tree, revision=revision, sign=sign, older=older)
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError as error:
        raise MandamusError(
            Code.CONFLICT, f"{path} exists already", remedy="name a new file, or remove the old one"
        ) from error
    except OSError as error:
        raise MandamusError(
            Code.USAGE, f"{path} cannot be written: {error.strerror}", remedy="name a file in a folder of yours"
        ) from error
    return len(data)


def packed(
    tree: Tree, *, revision: str, sign: signature.SigningKey | None = None, older: Collection[str] = ()
) -> bytes:
    """The bytes of a bundle: the same for the same set, revision and key."""
    old = {name for name, version in tree.versions.items() if version is RegoVersion.V0} | set(older)
    files = {name: text.encode() for name, text in sorted(tree.files.items())}
    files[manifest.FILE] = manifest.made(tree.files, revision, old)
    if sign is not None:
        files[signature.FILE] = signature.sign(files, sign)
    made = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=made, mtime=0) as zipped:
        with tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name, data in sorted(files.items()):
                # OPA names files from a root, and the patterns of its manifest are compared with that.
                member = tarfile.TarInfo(f"/{name}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return made.getvalue()


class _Reading:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.problems: list[Problem] = []
        self.raw: dict[str, str] = {}
        """The names as they stand in the archive."""

    def members(self) -> dict[str, bytes]:
        """Every file of the archive by its name without a leading slash."""
        data, trouble = self._unpacked()
        found: dict[str, bytes] = {}
        try:
            for name, content in self._walk(data):
                if name in found:
                    self.refuse(name, "stands in the archive twice", "pack the folder again")
                    break
                found[name] = content
        except (tarfile.TarError, ValueError, OverflowError, EOFError, OSError) as error:
            trouble = trouble or f"is no tar archive: {error}"
        if trouble and not self.problems:
            self.refuse("", trouble, "get the archive again, or pack the folder again")
        return found

    def refuse(self, path: str, message: str, remedy: str, *, code: str = "file_invalid", line: int = 1) -> None:
        """Note a problem of the archive, or of a file in it."""
        place = f"{self._path}/{path}" if path else str(self._path)
        self.problems.append(Problem(place, line, 1, code, message, remedy))

    def verified(self, members: dict[str, bytes], keys: Mapping[str, signature.Key] | None) -> str | None:
        """The id of the key that signed; notes every file that it does not vouch for. Takes the signature out."""
        document = members.pop(signature.FILE, None)
        if document is None:
            if keys is not None:
                self._unsigned("is not signed, and a key is given", "get a signed bundle, or give no key")
            return None
        if keys is None:
            self._unsigned("is signed, and no key is given to verify it", "give the key it is signed with")
            return None
        try:
            key_id, listed = signature.verify(document, keys)
        except MandamusError as error:
            self.refuse(signature.FILE, error.message, error.remedy, code="signature_invalid")
            return None
        for name, message in signature.mismatches(listed, members):
            remedy = "get the bundle again from whom you trust"
            self.refuse(ascii(name)[1:-1], message, remedy, code="signature_invalid")
        return key_id

    def policy_files(self, members: Mapping[str, bytes], endings: tuple[str, ...]) -> dict[str, str]:
        """The texts that belong to the set."""
        found: dict[str, str] = {}
        for name, data in members.items():
            folder, _, base = name.rpartition("/")
            if name == _PATCH:
                self.refuse(name, "makes this a delta bundle, which is no set by itself", "get the whole bundle")
            elif base in bundle_data.YAML_NAMES:
                self._from_yaml(f"{folder}/{DATA_FILE}" if folder else DATA_FILE, name, data, found)
            elif base == DATA_FILE or name.endswith(endings):
                text = self._text(name, data)
                if text is not None:
                    if name in found:
                        self._twice(name)
                    found[name] = text
        return found

    def _from_yaml(self, target: str, name: str, data: bytes, found: dict[str, str]) -> None:
        value, problems = bundle_data.parse_yaml(data, str(self._path / name))
        self.problems += problems
        if not problems:
            if target in found:
                self._twice(name)
            found[target] = bundle_data.json_text(value)

    def _twice(self, name: str) -> None:
        self.refuse(name, "gives the data of its folder a second time", "keep one data file in a folder")

    def _text(self, name: str, data: bytes) -> str | None:
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            self.refuse(name, f"is not UTF-8 at byte {error.start}", "save it as UTF-8", line=line)
            return None
        if "\0" in text:
            self.refuse(name, "holds a NUL", "remove it", line=text[: text.index("\0")].count("\n") + 1)
            return None
        if name.rpartition("/")[2] == DATA_FILE:
            try:
                bundle_data.json_text(bundle_data.parse_json(data))
            except MandamusError as error:
                line = int(str(error.context.get("line", 1)))
                self.refuse(name, error.message, "give one JSON object", code="data_invalid", line=line)
                return None
        return text

    def _unpacked(self) -> tuple[bytes, str]:
        """The tar archive as far as the limit, and what is wrong with the packing."""
        made = bytearray()
        try:
            # Not blocking: a named pipe would wait for a writer that never comes.
            with os.fdopen(os.open(self._path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    return b"", "is not a regular file"
                with gzip.GzipFile(fileobj=file, mode="rb") as zipped:
                    while chunk := zipped.read(_CHUNK_BYTES):
                        made += chunk
                        if len(made) > UNPACKED_BYTES_MAX:
                            return bytes(made), f"unpacks to more than {UNPACKED_BYTES_MAX >> 20} MiB"
        except EOFError:
            return bytes(made), "ends too early: the rest is missing"
        except (gzip.BadGzipFile, zlib.error) as error:
            return bytes(made), f"is not packed with gzip: {error}"
        except OSError as error:
            return b"", f"cannot be read: {error.strerror}"
        return bytes(made), ""

    def _walk(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        total = 0
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:", encoding="utf-8") as archive:
            for member in archive:
                name = self._name(member)
                if name is None:
                    return
                if not name:
                    continue
                total += member.size
                if member.size > FILE_BYTES_MAX or total > TOTAL_BYTES_MAX or member.size < 0:
                    limits = f"{FILE_BYTES_MAX >> 20} MiB a file, {TOTAL_BYTES_MAX >> 20} MiB a bundle"
                    self.refuse(name, f"is too large ({limits})", "give large data as workflow inputs")
                    return
                if len(self.raw) >= FILES_MAX:
                    self.refuse("", f"holds more than {FILES_MAX} files", "split the set")
                    return
                content = data[member.offset_data : member.offset_data + member.size]
                if len(content) < member.size:
                    raise EOFError(f"{name} is cut off")
                self.raw[name] = member.name
                yield name, content
            # A header that cannot be read ends the loop like the end of the archive does, which is a block of zeros.
            if data[archive.offset : archive.offset + tarfile.BLOCKSIZE].strip(b"\0") or archive.offset >= len(data):
                raise ValueError(f"it is damaged or cut off at byte {archive.offset}")

    def _name(self, member: tarfile.TarInfo) -> str | None:
        """The file's name in the set, empty for a folder; None when the archive is refused."""
        # One slash in front is how OPA itself writes the names; it means the root of the bundle.
        name = "" if member.name in (".", "/") else member.name.removeprefix("./").removeprefix("/")
        if member.isdir() and not name:
            return ""
        why = _why_not(name, member)
        if why:
            shown = ascii(member.name[:_SHOWN_CHARS])[1:-1]
            self.refuse(shown, why, "pack plain files under plain names, relative to the folder of the set")
            return None
        return "" if member.isdir() else name

    def _unsigned(self, message: str, remedy: str) -> None:
        self.refuse("", message, remedy, code="signature_missing")


def _why_not(name: str, member: tarfile.TarInfo) -> str:
    parts = set(name.split("/"))
    if ".." in parts:
        return "leaves the archive by its name"
    if not name.isprintable() or set(name) & set(":\\") or parts & {"", "."}:
        return "has a name that is not one of a file in the archive"
    if member.isdir():
        return ""
    if member.type not in _REGULAR or member.issparse():
        return "is a link, a device or a sparse file"
    taken = next((special for ending, special in _TAKEN_FOR.items() if name.endswith(ending)), name)
    return "" if taken == name else f"would be read by OPA as {taken}"
