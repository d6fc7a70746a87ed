from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mandamus.kernel.ansi import Shown

DANGEROUS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
COLOUR = re.compile("\x1b\\[[0-9;:]*m")
PIECES = st.lists(
    st.sampled_from(
        [
            b"\x1b[31m", b"\x1b[0m", b"\x1b[2J", b"\x1b[8mhidden\x1b[28m", b"\x1b]0;title\x07",
            b"\x1b]8;;http://x\x1b\\", b"\x1bP+q\x1b\\", b"\x1bc", b"\x1b", b"\x1b[", b"\r\n", b"\r", b"\x9b31m",
            "\u202e".encode(), "\u200b".encode(),
            b"text", "caf\u00e9".encode(), b"\xff", b"\x00", b"\x07", b"\n", b"\t", b"\x1b[?1049h", b"\x1b[38;2;1;2;3m",
        ]
    ),
    max_size=30,
).map(b"".join)  # fmt: skip


def _shown(data: bytes, cuts: list[int], *, colour: bool = True) -> str:
    shown = Shown(colour=colour)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    parts = [shown.feed(data[low:high]) for low, high in itertools.pairwise(edges)]
    return "".join(parts) + shown.close()


@given(PIECES, st.lists(st.integers(0, 500), max_size=8))
def test_where_chunks_are_cut_makes_no_difference(data, cuts):
    """What is shown depends on the bytes alone, wherever chunks end: inside a sequence, a character, a line break."""
    assert _shown(data, cuts) == _shown(data, [])


@given(PIECES)
def test_nothing_but_colours_reaches_a_terminal(data):
    """No control, invisible or bidirectional character is left, but for colour sequences where colour is wanted."""
    assert not DANGEROUS.search(COLOUR.sub("", _shown(data, [])))
    assert not DANGEROUS.search(_shown(data, [], colour=False))


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m\x1b[0m"),
        (b"\x1b]0;owned\x07title", "title"),
        (b"\x1b]8;;https://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"\x1b[2J\x1b[Hgone", "gone"),
        (b"\x1b[8msecret", "secret"),
        (b"\x1b[1;8mbold and hidden", "bold and hidden"),
        (b"10%\r20%\r\n", "10%\n20%\n"),
        (b"\xc3", "\ufffd"),
    ],
)
def test_sequences_are_told_apart(data, shown):
    """Colours stay and are put back at the end; titles, links, cursor moves and concealment go."""
    assert _shown(data, []) == shown


def test_a_sequence_without_an_end_is_shown_as_text():
    """A tool that opens a string and never ends it does not keep what follows from being seen."""
    shown = Shown(colour=True)
    assert shown.feed(b"\x1b]0;" + b"x" * 5000).count("x") == 5000
    assert shown.feed(b" seen") + shown.close() == " seen"
