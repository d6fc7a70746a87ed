"""Output as lines of a page: escaped, coloured by classes, named by their offset."""

from __future__ import annotations

import pytest

from mandamus.web.terminal import LINES_MAX, lines


def shown(data: bytes) -> list[str]:
    """The markup of each line."""
    return [str(line.html) for line in lines(data, 0)]


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"plain", ["plain"]),
        (b"<b>&", ["&lt;b&gt;&amp;"]),
        (b"\x1b[31mred\x1b[0m not", ['<span class="ansi-red">red</span> not']),
        (b"\x1b[1;92mbright", ['<span class="ansi-green ansi-bold">bright</span>']),
        (b"\x1b[41mground\x1b[49m", ['<span class="ansi-on-red">ground</span>']),
        (b"\x1b[32mon\nand on\x1b[m", ['<span class="ansi-green">on</span>', '<span class="ansi-green">and on</span>']),
        (b"\x1b[38;5;196mmany\x1b[38;2;1;2;3mcolours", ["manycolours"]),
        (b"\x1b[38;5;1;31mafter", ['<span class="ansi-red">after</span>']),
        (b"\x1b]8;;javascript:alert(1)\x07link\x1b]8;;\x07", ["link"]),
        (b"\x1b[2J\x1b[Hgone", ["gone"]),
        (b"\x1b[8mhidden", ["hidden"]),
        (b"\x1b[31\xe9<script>", ["31\ufffd&lt;script&gt;"]),
        (b"a\r\nb\rc", ["a", "b\nc"]),
        (b"\xff\xfe", ["\ufffd\ufffd"]),
        (b"\x1b[" + b"9" * 3000 + b"mx", ["x"]),
        (b"\x1b[1m\x1b[4m\x1b[22mline", ['<span class="ansi-underline">line</span>']),
    ],
)
def test_a_line_is_text_and_colours(data, wanted):
    """Colours are classes, text is escaped, everything else is gone."""
    assert shown(data) == wanted


def test_lines_are_named_by_their_offset():
    """The name of a line stays the same however much of the output is shown."""
    data = b"one\ntwo\nthree\n"
    assert [line.at for line in lines(data, 0)] == [0, 4, 8]
    assert [(line.at, str(line.html)) for line in lines(data[2:], 2)] == [(4, "two"), (8, "three")]


def test_only_the_last_lines_are_shown():
    """However much was printed."""
    found = lines(b"".join(b"%d\n" % each for each in range(10_000)), 0)
    assert len(found) == LINES_MAX
    assert str(found[-1].html) == "9999"
