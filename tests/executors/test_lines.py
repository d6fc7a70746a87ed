"""Lines of an output by number: whatever pieces it is read in, they are those of the whole."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mandamus.executors import lines
from mandamus.executors.lines import line_at, search, window
from mandamus.executors.output import Piece

BYTES = st.lists(st.sampled_from([b"a", b"A", b"b", b"\n", b"\n", b"\xc3\xa9", b"\x1b[31m"]), max_size=60).map(b"".join)


def reader(data: bytes, most: int):
    """Gives at most so many bytes at once."""

    def read(offset: int, limit: int = most) -> Piece:
        piece = data[offset : offset + min(limit, most)]
        return Piece(piece, offset + len(piece), False)

    return read


def rows(data: bytes) -> list[bytes]:
    """The lines of it all; an end of line ends a line and begins none."""
    return data.removesuffix(b"\n").split(b"\n") if data else []


@given(BYTES, st.integers(1, 9), st.none() | st.integers(1, 30), st.integers(1, 9))
def test_a_window_is_a_part_of_the_whole(data, most, first, count):
    """From a line on, or the last ones; and how many there are."""
    found, whole = window(reader(data, most), first, count), rows(data)
    start = max(len(whole) - count + 1, 1) if first is None else first
    assert [(line.number, line.data) for line in found.lines] == list(enumerate(whole, 1))[
        start - 1 : start - 1 + count
    ]
    assert found.total == len(whole)


@example(b"one\nTWO\n\x1b[31mt\x1b[31mwo", 2, "twO", 1)
@given(BYTES, st.integers(1, 9), st.sampled_from(["a", "B", "ab", "é", "aa"]), st.integers(1, 9))
def test_a_search_finds_every_line_once(data, most, text, first):
    """Each line that holds the text, by its number, from a line on; colours are no part of a text."""
    wanted = [
        (number, row)
        for number, row in enumerate(rows(data.replace(b"\x1b[31m", b"")), 1)
        if text.encode().lower() in row.lower() and number >= first
    ]
    found = search(reader(data, most), text, first)
    assert [(line.number, line.data) for line in found.lines] == wanted
    assert found.following is None


@given(BYTES, st.integers(1, 9), st.integers(0, 60))
def test_a_byte_stands_in_a_line(data, most, offset):
    """The one with as many ends of lines before it."""
    assert line_at(reader(data, most), offset) == data[:offset].count(b"\n") + 1


def test_a_search_ends_and_goes_on(monkeypatch):
    """After so many lines it says where to go on."""
    monkeypatch.setattr(lines, "HITS_MAX", 2)
    read = reader(b"x\ny\nx\nx\nx\n", 3)
    found = search(read, "x")
    assert ([line.number for line in found.lines], found.following) == ([1, 3], 4)
    assert [line.number for line in search(read, "x", 4).lines] == [4, 5]


def test_a_line_is_cut_and_counted():
    """A line without end is no way to fill a page."""
    found = window(reader(b"x" * 10_000_000, 1_000_000), None, 10)
    assert [(len(line.data), line.more) for line in found.lines] == [(2_000, 9_998_000)]


@pytest.mark.parametrize("data", [b"", b"\n", b"\n\n"])
def test_empty_lines_are_lines(data):
    """Each has a number."""
    assert window(reader(data, 1), None, 10).total == len(data)
