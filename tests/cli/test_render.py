from __future__ import annotations

import json
import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mandamus.cli.render import Painted, Screen, brief, document, duration, line, safe, stamp, width

DANGEROUS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
SCALARS = st.none() | st.booleans() | st.integers() | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
HOSTILE = "evil\x1b]0;title\x07\x1b[2J\u202etxt.exe\u200b\x9b31m\rgone\x00\ud800"


@given(st.text(st.characters()))
def test_text_is_made_safe(text):
    """Whatever people or tools wrote, a terminal acts on nothing of it; one line stays one line."""
    assert not DANGEROUS.search(safe(text))
    assert not re.search(r"[\r\n\t]", line(text))


@given(VALUES)
def test_documents_lose_nothing(value):
    """JSON on a terminal holds no character a terminal acts on, and reads back as what went in."""
    text = document(value)
    assert "\n" not in text
    assert not DANGEROUS.search(text)
    assert json.loads(text) == value


def test_fractions_keep_their_digits():
    """A decimal that a float holds exactly is a number, any other is text: nothing is rounded silently."""
    assert document({"a": Decimal("0.5"), "b": Decimal("0.1000000000000000000001")}) == (
        '{"a": 0.5, "b": "0.1000000000000000000001"}'
    )


@pytest.mark.parametrize(
    ("environ", "tty", "coloured"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_colour_only_where_it_is_wanted(terminal, environ, tty, coloured):
    """Colours go to terminals that have them, never with NO_COLOR set to something (no-color.org)."""
    out = terminal(tty=tty)
    screen = Screen(out, terminal(), environ)
    screen.data(Painted("yes", "green"))
    screen.table(("A",), [(Painted("b", "red"),)])
    assert ("\x1b[" in out.text()) is coloured
    assert screen.coloured is coloured


def test_data_and_talk_go_their_own_ways(terminal):
    """Data is on standard output, talk on standard error, and hostile text is harmless on both."""
    out, err = terminal(), terminal()
    screen = Screen(out, err, {})
    screen.data("data ", HOSTILE)
    screen.say("talk ", HOSTILE)
    screen.table(("H",), [(HOSTILE,)])
    screen.json({"value": HOSTILE})
    assert out.text().startswith("data evil")
    assert err.text().startswith("talk evil")
    for text in (out.text(), err.text()):
        assert not DANGEROUS.search(text.replace("\n", ""))
    assert out.text().count("\n") == 4


def test_tables_line_up(terminal):
    """Columns are as wide as their widest cell, wide characters count twice, nothing is cut off, no trailing blanks."""
    out = terminal()
    Screen(out, terminal(), {}).table(("NAME", "WHAT"), [("漢字", "x"), ("a", "long enough " * 20)])
    lines = out.text().splitlines()
    assert [width(text[: text.index(word)]) for text, word in zip(lines, ("WHAT", "x", "long"), strict=True)] == [
        6,
        6,
        6,
    ]
    assert all(text == text.rstrip() for text in lines)


def test_what_passes_is_only_for_terminals(terminal):
    """A line that the next one replaces is shown where that can be done, and nowhere else."""
    pipe, screen = terminal(), terminal(tty=True)
    Screen(terminal(), pipe, {}).passing("looking")
    Screen(terminal(), screen, {}).passing("looking")
    assert pipe.text() == ""
    assert "looking" in screen.text()


def test_words_for_people():
    """Durations, times and several lines have a short form."""
    assert [duration(seconds) for seconds in (0.04, 59.9, 61, 3_720)] == ["0.0s", "59.9s", "1m01s", "1h02m"]
    assert stamp(1_767_225_600_000_000) == "2026-01-01 00:00:00Z"
    assert stamp(None) == ""
    assert brief("denied by policy\na.rego:3: no\nb.rego:4: no") == "denied by policy: a.rego:3: no (and 1 more)"
    assert brief("") == ""
