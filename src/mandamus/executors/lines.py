"""Output as numbered lines: a window of them and where a text stands, read piece by piece and never kept whole."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from mandamus.executors.output import Piece

PIECE_BYTES = 1024 * 1024
LINE_BYTES_MAX = 2_000
"""Of a longer line the rest is only counted."""
HITS_MAX = 200
TEXT_CHARS_MAX = 200
_COLOUR = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]")
"""A control sequence as colours are (ECMA-48 5.4)."""


class Reader(Protocol):
    """Reads some output from an offset on, at most so many bytes."""

    def __call__(self, offset: int, limit: int = PIECE_BYTES) -> Piece:
        """The piece there."""
        ...


@dataclass(frozen=True)
class Line:
    """One line: its number, counted from 1, and its bytes without their end; ``more`` bytes of it are left out."""

    number: int
    data: bytes
    more: int = 0


@dataclass(frozen=True)
class Window:
    """Some lines, and how many there are in all."""

    lines: tuple[Line, ...]
    total: int


@dataclass(frozen=True)
class Hits:
    """Lines that hold a text, in order. ``following`` is the line to look on from, None after the last hit."""

    lines: tuple[Line, ...]
    following: int | None


@dataclass(frozen=True)
class _Block:
    """Whole lines: the number of the first one, how many, and their bytes; only the very last may lack its end."""

    first: int
    count: int
    data: bytes


def window(read: Reader, first: int | None, count: int) -> Window:
    """``count`` lines from ``first`` on, or the last ones when that is None; all output is counted on the way."""
    kept: deque[_Block] = deque()
    held = total = 0
    for block in _blocks(read):
        total += block.count
        if first is None:
            kept.append(block)
            held += block.count
            while held - kept[0].count >= count:
                held -= kept.popleft().count
        elif block.first < first + count and block.first + block.count > first:
            kept.append(block)
    start = max(total - count + 1, 1) if first is None else first
    found = [line for block in kept for line in _lines(block) if start <= line.number < start + count]
    return Window(tuple(found), total)


def line_at(read: Reader, offset: int) -> int:
    """The number of the line that a byte stands in."""
    number, at = 1, 0
    while at < offset:
        piece = read(at, min(PIECE_BYTES, offset - at))
        if not piece.data:
            break
        number += piece.data.count(b"\n")
        at = piece.next_offset
    return number


def search(read: Reader, text: str, first: int = 1) -> Hits:
    """The first lines from ``first`` on that hold a text, literally; of ASCII letters the case does not matter.

    It is looked for in what people see: colours are taken out. The work is one pass, whatever is looked for.
    """
    wanted = text.encode().lower()
    found: list[Line] = []
    for block in _blocks(read):
        if block.first + block.count <= first:
            continue
        for line in _holding(block, wanted):
            if line.number < first:
                continue
            if len(found) == HITS_MAX:
                return Hits(tuple(found), line.number)
            found.append(line)
    return Hits(tuple(found), None)


def _blocks(read: Reader) -> Iterator[_Block]:
    first, at = 1, 0
    open_line: list[bytes] = []
    while True:
        piece = read(at, PIECE_BYTES)
        if not piece.data:
            break
        at = piece.next_offset
        head, end, rest = piece.data.rpartition(b"\n")
        if end:
            block = _Block(first, head.count(b"\n") + 1, b"".join((*open_line, head, end)))
            yield block
            first += block.count
            open_line = []
        if rest:
            open_line.append(rest)
    if open_line:
        yield _Block(first, 1, b"".join(open_line))


def _lines(block: _Block) -> Iterator[Line]:
    rows = block.data.removesuffix(b"\n").split(b"\n")
    return (_cut(block.first + place, row) for place, row in enumerate(rows))


def _holding(block: _Block, wanted: bytes) -> Iterator[Line]:
    plain = _COLOUR.sub(b"", block.data) if b"\x1b" in block.data else block.data
    data = plain.lower()
    number, counted, at = block.first, 0, data.find(wanted)
    while at >= 0:
        number += data.count(b"\n", counted, at)
        begin = data.rfind(b"\n", 0, at) + 1
        end = data.find(b"\n", at)
        end = len(data) if end < 0 else end
        yield _cut(number, plain[begin:end])
        counted = end
        at = data.find(wanted, end)


def _cut(number: int, row: bytes) -> Line:
    return Line(number, row[:LINE_BYTES_MAX], max(len(row) - LINE_BYTES_MAX, 0))
