"""The record of a run: all that its leaves name, and the leaves, as one archive in a bundle.

Small files that look alike cost little when they are packed together. The archive is an ordinary ``.tar.xz``, its
files in the one order and with the headers that `fold` gives them.
"""

from __future__ import annotations

import lzma
import re
import struct
from collections.abc import Mapping

RECORD = "record.tar.xz"
FOLDERS = ("approvals/", "decisions/", "events/", "policy-bundle/", "steps/")
"""The folders whose files are in the record."""

_PART = r"[A-Za-z0-9][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*"
NAME = re.compile(rf"{_PART}(?:/{_PART})*")
"""What a file of a bundle may be called."""

_FILTER = {
    "id": lzma.FILTER_LZMA2,
    "preset": 2,
    "mode": lzma.MODE_NORMAL,
    "mf": lzma.MF_BT3,
    "nice_len": 32,
    "depth": 8,
}
"""Of xz: the size of preset 5 in half its time, and on a large plan in a fifth of it."""
_MEMORY_MAX = 64 << 20
_BLOCK = 512
_HEADER = struct.Struct("100s8s8s8s12s12s8ss100s8s247x")
_NAME_MAX = 100
_END = bytes(2 * _BLOCK)


def fold(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files as they stand in the zip: those of the record's folders in one archive, the others as they are."""
    inside = sorted((name for name in files if name.startswith(FOLDERS)), key=_place)
    packed = [part for name in inside for part in (_header(name, len(files[name])), _padded(files[name]))]
    beside = {name: data for name, data in files.items() if not name.startswith(FOLDERS)}
    return beside | {RECORD: lzma.compress(b"".join([*packed, _END]), filters=[_FILTER])}


def unfold(data: bytes, size_max: int, files_max: int = 1 << 20) -> dict[str, bytes]:
    """The files in a record; raises ``ValueError`` when it is none that `fold` makes, or unpacks to more."""
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY_MAX)
    try:
        tar = unpacker.decompress(data, size_max)
    except (lzma.LZMAError, EOFError) as error:
        raise ValueError(f"its bytes were changed: {error}") from error
    if not unpacker.eof:
        raise ValueError(f"it is cut short, or would unpack to more than {size_max} bytes")
    if unpacker.unused_data:
        raise ValueError("it goes on after its end")
    files: dict[str, bytes] = {}
    at, newest = 0, ("", "", 0, "")
    while tar[at : at + _BLOCK].strip(b"\0"):
        name, size = _entry(tar[at : at + _BLOCK])
        if _place(name) <= newest or len(files) == files_max:
            raise ValueError(f"{name} is out of order, or the record holds more than {files_max} files")
        newest = _place(name)
        end = at + _BLOCK + size
        files[name] = tar[at + _BLOCK : end]
        at = end + -end % _BLOCK
        if len(files[name]) != size or tar[end:at].strip(b"\0"):
            raise ValueError(f"{name} is cut short, or goes on after its end")
    if tar[at:] != _END:
        raise ValueError("it does not end as a record does")
    return files


def _place(name: str) -> tuple[str, str, int, str]:
    """What looks alike stands together: leaves, then their proofs, each in the order of their numbers."""
    return name.partition("/")[0], name.rpartition(".")[2], len(name), name


def _entry(block: bytes) -> tuple[str, int]:
    """Name and size of a file, whose header must be the one that we would write."""
    try:
        name, size = block[:_NAME_MAX].rstrip(b"\0").decode("ascii"), int(block[124:135], 8)
    except ValueError as error:
        raise ValueError("one of its headers is no header of a file") from error
    if not (NAME.fullmatch(name) and name.startswith(FOLDERS)) or block != _header(name, size):
        raise ValueError(f"the header of {name} is not one that a record has")
    return name, size


def _header(name: str, size: int) -> bytes:
    """The header of a regular file (POSIX ustar), read-only, of nobody and of no time."""
    encoded = name.encode("ascii")
    if len(encoded) > _NAME_MAX:
        raise ValueError(f"the name {name} is longer than {_NAME_MAX} bytes")
    mode, nobody = b"0000444\0", b"0000000\0"
    fields = (b"%011o\0" % size, b"%011o\0" % 0)
    unsummed = _HEADER.pack(encoded, mode, nobody, nobody, *fields, b" " * 8, b"0", b"", b"ustar\00000")
    return unsummed[:148] + b"%06o\0 " % sum(unsummed) + unsummed[156:]


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _BLOCK)
