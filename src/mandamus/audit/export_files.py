"""The sink that is a folder: JSON lines, one file for each 256 leaves, sealed by its digest when it is full."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from mandamus.audit import export_ocsf, tiles
from mandamus.audit.export_model import Record, trouble
from mandamus.kernel.errors import MandamusError

DIGITS = 12
SUFFIX = ".jsonl"
DIGEST_SUFFIX = ".jsonl.sha256"


def name_of(number: int) -> str:
    """The file of the leaves from ``256 * number``; names sort by index."""
    return f"{number:0{DIGITS}d}{SUFFIX}"


def digest_line(data: bytes, name: str) -> str:
    """What stands in the digest's file, as ``sha256sum --check`` reads it."""
    return f"{hashlib.sha256(data).hexdigest()}  {name}\n"


class Files:
    """Appends only: a line is never written twice, and a line that a crash tore is cut off before the next one."""

    batch = tiles.WIDTH

    def __init__(self, sink: str, folder: Path) -> None:
        self._sink = sink
        self._folder = folder

    def take(self, records: Sequence[Record]) -> None:
        """See `Taker.take`; what is there when this returns is on the disk."""
        try:
            for (origin, number), group in groupby(records, lambda each: (each.origin, each.index // tiles.WIDTH)):
                self._append(folder_of(self._folder, origin), number, list(group))
        except OSError as error:
            raise trouble(self._sink, f"{self._folder}: {error.strerror}") from error

    def close(self) -> None:
        """Nothing is held open."""

    def _append(self, folder: Path, number: int, records: Sequence[Record]) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / name_of(number)
        with path.open("a+b") as file:
            os.fchmod(file.fileno(), 0o600)
            file.seek(0)
            data = file.read()
            whole = data.rfind(b"\n") + 1
            if whole != len(data):
                file.truncate(whole)
            have = number * tiles.WIDTH + data.count(b"\n", 0, whole)
            if have < records[0].index:
                raise self._lost(path, have, records[0].index)
            added = "".join(f"{export_ocsf.encode(each)}\n" for each in records if each.index >= have).encode()
            file.write(added)
            file.flush()
            os.fsync(file.fileno())
        if max(have, records[-1].index + 1) == (number + 1) * tiles.WIDTH:
            _write_digest(path, data[:whole] + added)
        _sync(folder)

    def _lost(self, path: Path, have: int, want: int) -> MandamusError:
        return trouble(
            self._sink,
            f"{path} ends before leaf {have} although the sink had everything before {want}; "
            "move the folder away and `mandamus audit export run --from 0` writes all of it again",
        )


def folder_of(folder: Path, origin: str) -> Path:
    """The folder of one log within the sink's: a home that begins a new epoch has several."""
    return folder / hashlib.sha256(origin.encode()).hexdigest()[:32]


def _write_digest(path: Path, data: bytes) -> None:
    target = path.with_name(path.name.removesuffix(SUFFIX) + DIGEST_SUFFIX)
    partial = target.with_name(f".{target.name}")
    with partial.open("w", encoding="ascii") as file:
        file.write(digest_line(data, path.name))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(target)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
