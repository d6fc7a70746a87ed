"""Compares what a sink has with the log, for each 256 leaves: proves that nothing was lost or changed on the way."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mandamus.audit import export_files, export_ocsf, tiles
from mandamus.audit.export_model import Record
from mandamus.audit.model import Finding, Report, Verdict

LINE_BYTES_MAX = 1024 * 1024
FINDINGS_MAX = 1_000
_SYSLOG = re.compile(
    r'\[audit@\d{1,10} idx="(\d{1,19})" leaf="([0-9a-f]{64})" origin="((?:[^"\\\]]|\\.)*)"\](.*)', re.DOTALL
)
_OCTETS = re.compile(rb"\d{1,7} <\d{1,3}>1 ")
_HEAD_BYTES = 16
_COUNT_DIGITS_MAX = 7


@dataclass(frozen=True)
class Copied:
    """One event as a sink has it: of which leaf of which log, and the leaf's SHA-256 in hex."""

    origin: str
    index: int
    sha256: str


class Copy:
    """What a sink has of one log. Only a hash is kept of each event: a copy may be larger than memory."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._hashes: dict[int, str] = {}
        self._differing: set[int] = set()
        self.problems: list[Finding] = []
        self.unread = 0
        self.repeated = 0

    def add(self, text: bytes) -> None:
        """Take one line. What is no event of ours is counted, for a copy may hold other things as well."""
        found = read_line(text)
        if found is None:
            self.unread += 1
        elif found.origin == self._origin:
            known = self._hashes.get(found.index)
            if known is None:
                self._hashes[found.index] = found.sha256
                return
            self.repeated += 1
            if known != found.sha256:
                self._differing.add(found.index)

    def compare(self, batches: Iterable[list[Record]], size: int) -> Report:
        """What is missing or differs, at most one finding of either kind for each 256 leaves; ``size`` in leaves."""
        problems = list(self.problems)
        for records in batches:
            low, last = records[0].index, records[-1].index
            lost = [each.index for each in records if each.index not in self._hashes]
            wrong = [each.index for each in records if each.index not in lost and self._differs(each)]
            if lost:
                message = f"{len(lost)} of the leaves {low} to {last} are not there, the first is {lost[0]}"
                problems.append(Finding(Verdict.INCOMPLETE, message, leaf=lost[0]))
            if wrong:
                message = f"{len(wrong)} of the leaves {low} to {last} differ from the log, the first is {wrong[0]}"
                problems.append(Finding(Verdict.TAMPERED, message, leaf=wrong[0]))
        beyond = sorted(index for index in self._hashes if index >= size)
        if beyond:
            message = f"it has leaf {beyond[0]}, and the log compared with has {size}"
            problems.append(Finding(Verdict.TAMPERED, message, leaf=beyond[0]))
        return Report(size, tuple(problems[:FINDINGS_MAX]), self._origin)

    def _differs(self, record: Record) -> bool:
        return record.index in self._differing or self._hashes[record.index] != export_ocsf.sha256(record.leaf)


def read_folder(copy: Copy, folder: Path, origin: str) -> None:
    """Add every file of a folder sink; a digest that does not fit its file is a finding."""
    own = export_files.folder_of(folder, origin)
    for path in sorted(own.glob(f"*{export_files.SUFFIX}")) if own.is_dir() else ():
        data = path.read_bytes()
        for text in data.splitlines():
            copy.add(text)
        digest = path.with_name(path.name.removesuffix(export_files.SUFFIX) + export_files.DIGEST_SUFFIX)
        full = data.count(b"\n") >= tiles.WIDTH
        if full and not digest.is_file():
            copy.problems.append(Finding(Verdict.INCOMPLETE, "it is full and has no digest", str(path)))
        elif digest.is_file() and digest.read_text(errors="replace") != export_files.digest_line(data, path.name):
            copy.problems.append(Finding(Verdict.TAMPERED, "its digest is of another content", str(path)))


def read_file(copy: Copy, path: Path) -> None:
    """Add every event of a sink's copy: JSON lines, or syslog messages by line or by octet count."""
    with path.open("rb") as file:
        framed = _OCTETS.match(file.peek(_HEAD_BYTES)[:_HEAD_BYTES])
        for text in _frames(file) if framed else iter(lambda: file.readline(LINE_BYTES_MAX), b""):
            copy.add(text)


def read_line(text: bytes) -> Copied | None:
    """The event in a line: OCSF, a CloudEvent around it, or a syslog message; None when it is none."""
    decoded = text.decode(errors="replace").strip()
    found = _SYSLOG.search(decoded)
    if found is not None:
        index, claimed, origin, body = found.groups()
        inner = _event(_json(body.strip()))
        if inner is not None and (inner.index != int(index) or inner.sha256 != claimed):
            return Copied(inner.origin, int(index), "")
        return Copied(re.sub(r"\\(.)", r"\1", origin), int(index), claimed)
    return _event(_json(decoded))


def _event(value: Any) -> Copied | None:
    if isinstance(value, dict) and value.get("specversion") == "1.0":
        value = value.get("data")
    try:
        metadata, raw = value["metadata"], value["raw_data"]
        origin, index = metadata["log_name"], metadata["sequence"]
        if type(index) is not int or index < 0 or not isinstance(origin, str):
            return None
        return Copied(origin, index, hashlib.sha256(raw.encode()).hexdigest())
    except (KeyError, TypeError, AttributeError, UnicodeEncodeError):
        return None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _frames(file: BinaryIO) -> Iterator[bytes]:
    """Messages that follow each other, each behind its octet count."""
    head = b""
    while byte := file.read(1):
        if byte != b" ":
            head += byte
            if not byte.isdigit() or len(head) > _COUNT_DIGITS_MAX:
                yield head
                return
            continue
        yield file.read(min(int(head or b"0"), LINE_BYTES_MAX))
        head = b""
