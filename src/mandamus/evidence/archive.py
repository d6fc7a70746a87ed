"""The zip a bundle travels in: the same files always give the same bytes, and hostile ones are never unpacked.

A seal in the archive's comment covers every byte before it, so that nothing beside the files' contents (times, modes,
order, gaps between entries) can change unnoticed either.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mandamus.audit.model import Finding, Verdict
from mandamus.evidence.model import finding
from mandamus.evidence.record import NAME, RECORD, unfold
from mandamus.kernel import canonical
from mandamus.kernel.ids import Digest

ARCHIVE_BYTES_MAX = 1 << 30
UNPACKED_BYTES_MAX = 2 << 30
FILES_MAX = 1 << 20

_EPOCH = (1980, 1, 1, 0, 0, 0)
_MODE = 0o100444 << 16
_UNIX = 3
_LEVEL = 9
_HOSTILE = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, RuntimeError, OverflowError)
"""What the standard reader raises on bytes that are no zip (``RuntimeError`` also stands for encrypted and unknown)."""

Sign = Callable[[Digest], bytes]


@dataclass
class Archive:
    """What could be read: ``files`` as they stand in the zip, ``record`` those inside the record.

    ``unreadable`` names files that are there and broken. ``sealed`` is the digest of what the seal covers, None when
    the file goes on after its comment or ends within it.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    record: dict[str, bytes] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    seal: bytes = b""
    sealed: Digest | None = None


def pack(files: Mapping[str, bytes], sign: Sign) -> bytes:
    """The files as a zip; ``sign`` gives the seal over the digest of all bytes before the comment's length."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_STORED if name == RECORD else zipfile.ZIP_DEFLATED
            info.create_system, info.external_attr = _UNIX, _MODE
            made.writestr(info, files[name], compresslevel=_LEVEL)
    # An archive without a comment ends in the comment's length, two zero bytes.
    body = buffer.getvalue()[:-2]
    comment = sign(canonical.digest(body))
    return body + struct.pack("<H", len(comment)) + comment


def contents(data: bytes) -> dict[str, bytes]:
    """The files of a bundle that this home sealed itself, as they stand in the zip."""
    with zipfile.ZipFile(io.BytesIO(data)) as found:
        return {name: found.read(name) for name in found.namelist()}


def read(path: Path, problems: list[Finding]) -> Archive | None:
    """Read every file of a bundle into memory; adds to ``problems``, and gives None when it is no archive at all.

    Refused, with the file named: a name twice or outside the bundle, encrypted, linked or oversized contents.
    """
    try:
        if path.stat().st_size > ARCHIVE_BYTES_MAX:
            problems.append(finding(Verdict.TAMPERED, f"it is larger than {ARCHIVE_BYTES_MAX} bytes", path.name))
            return None
        data = path.read_bytes()
    except OSError as error:
        problems.append(finding(Verdict.INCOMPLETE, f"it cannot be read: {error.strerror}", path.name))
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as found:
            return _read(found, data, problems)
    except _HOSTILE as error:
        # A zip begins with an entry and ends with its directory: with the one and not the other, it was cut short.
        cut = data.startswith(b"PK\3\4") and b"PK\5\6" not in data
        why = "it is cut short" if cut else f"it is no zip archive: {error}"
        problems.append(finding(Verdict.INCOMPLETE if cut else Verdict.TAMPERED, why, path.name))
        return None


def _read(found: zipfile.ZipFile, data: bytes, problems: list[Finding]) -> Archive | None:
    archive = Archive(seal=found.comment)
    end = len(data) - len(found.comment) - 2
    if data[end:] == struct.pack("<H", len(found.comment)) + found.comment:
        archive.sealed = canonical.digest(data[:end])
    infos = found.infolist()
    refused = _too_much(infos, len(data))
    if refused is not None:
        problems.append(refused)
        return None
    for info in infos:
        name = info.orig_filename
        why = _refused(info, archive) or _unpack(found, info, archive)
        if why:
            archive.unreadable.add(name)
            problems.append(finding(Verdict.TAMPERED, why, name))
    if RECORD in archive.files:
        _open_record(archive, problems)
    return archive


def _open_record(archive: Archive, problems: list[Finding]) -> None:
    beside = sum(map(len, archive.files.values()))
    try:
        archive.record = unfold(archive.files[RECORD], max(1, UNPACKED_BYTES_MAX - beside), FILES_MAX)
    except ValueError as error:
        archive.unreadable.add(RECORD)
        problems.append(finding(Verdict.TAMPERED, str(error), RECORD))
    for name in sorted(archive.files.keys() & archive.record.keys()):
        archive.unreadable.add(name)
        problems.append(finding(Verdict.TAMPERED, "it stands in the archive and in its record", name))


def _too_much(infos: list[zipfile.ZipInfo], size: int) -> Finding | None:
    """Sizes are what the directory claims; reading stops there, whatever the data holds."""
    if len(infos) > FILES_MAX:
        return finding(Verdict.TAMPERED, f"the archive has more than {FILES_MAX} files", "")
    total = packed = 0
    for info in infos:
        total, packed = total + info.file_size, packed + info.compress_size
        if total > UNPACKED_BYTES_MAX:
            why = f"with it the archive would unpack to more than {UNPACKED_BYTES_MAX} bytes"
            return finding(Verdict.TAMPERED, why, info.orig_filename)
        if packed > size:
            return finding(Verdict.TAMPERED, "it overlaps other files of the archive", info.orig_filename)
    return None


def _refused(info: zipfile.ZipInfo, archive: Archive) -> str:
    name = info.orig_filename
    if name in archive.files or name in archive.unreadable:
        archive.files.pop(name, None)
        return "the name stands in the archive twice"
    if not NAME.fullmatch(name):
        return "a bundle has no file of this name"
    if info.external_attr >> 28 not in (0, _MODE >> 28):
        return "it is no regular file"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "it is packed in a way that bundles never are"
    return ""


def _unpack(found: zipfile.ZipFile, info: zipfile.ZipInfo, archive: Archive) -> str:
    try:
        archive.files[info.orig_filename] = found.read(info)
    except _HOSTILE as error:
        return f"its bytes were changed: {error}"
    return ""
