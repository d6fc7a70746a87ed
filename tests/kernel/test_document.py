"""Documents: YAML 1.2 scalars, exact places, and everything that is refused."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mandamus.kernel.document import BYTES_MAX, Kind, Node, parse, scalar
from mandamus.kernel.errors import Code, MandamusError


def findings(data: bytes | str) -> list[str]:
    """What parsing refuses, as ``line:col: code``."""
    raw = data.encode() if isinstance(data, str) else data
    with pytest.raises(MandamusError) as caught:
        parse(raw, "w.yaml")
    assert caught.value.code is Code.DOCUMENT_INVALID
    assert caught.value.remedy
    problems = caught.value.context["problems"]
    assert isinstance(problems, list)
    assert all(p["file"] == "w.yaml" and p["message"] and p["remedy"] for p in problems)
    return [f"{p['line']}:{p['col']}: {p['code']}" for p in problems]


SCALARS = {
    "no": "no",
    "yes": "yes",
    "on": "on",
    "off": "off",
    "y": "y",
    "Yes": "Yes",
    "012": 12,
    "0o17": 15,
    "0o18": "0o18",
    "0x1F": 31,
    "0xg": "0xg",
    "0b11": "0b11",
    "1_000": "1_000",
    "1:30": "1:30",
    "190:20:30": "190:20:30",
    "12": 12,
    "-12": -12,
    "+12": 12,
    "--1": "--1",
    "1.50": Decimal("1.50"),
    "1.": Decimal("1."),
    ".5": Decimal("0.5"),
    ".": ".",
    "1e3": Decimal("1e3"),
    "1.5E-3": Decimal("0.0015"),
    "1e": "1e",
    "e3": "e3",
    "true": True,
    "True": True,
    "TRUE": True,
    "tRUE": "tRUE",
    "false": False,
    "False": False,
    "FALSE": False,
    "null": None,
    "Null": None,
    "NULL": None,
    "nULL": "nULL",
    "~": None,
    "": None,
    "2026-01-31": "2026-01-31",
    "2026-01-31T00:00:00Z": "2026-01-31T00:00:00Z",
    "1.2.3": "1.2.3",
    "10.0.0.0/8": "10.0.0.0/8",
    "=": "=",
    "-": "-",
    "+": "+",
    "inf": "inf",
    "nan": "nan",
    "..inf": "..inf",
}


@pytest.mark.parametrize(("text", "value"), SCALARS.items())
def test_scalars_follow_the_core_schema_of_yaml_1_2(text, value):
    """A plain scalar is what YAML 1.2.2 section 10.3.2 says, value and type."""
    made = scalar(text)
    assert made == value
    assert type(made) is type(value)


@pytest.mark.parametrize(
    "text", [".inf", "-.INF", "+.Inf", ".nan", ".NaN", "9" * 65, "1e401", "1e-401", "0x" + "f" * 80]
)
def test_numbers_json_cannot_hold_are_refused(text):
    """Infinity, NaN and numbers out of all proportion are no values."""
    assert findings(f"a: {text}\n") == ["1:4: wrong-value"]
    assert parse(f"a: '{text}'".encode(), "w").fields["a"].value == text


def test_quoted_scalars_stay_text():
    """Quotes and block scalars make a string, whatever stands in them."""
    node = parse(b"a: '12'\nb: \"true\"\nc: |\n  no\nd: >-\n  ~\n", "w")
    assert node.plain() == {"a": "12", "b": "true", "c": "no\n", "d": "~"}


REFUSED = {
    "": ["1:1: syntax"],
    "# only a comment\n": ["1:1: syntax"],
    "a: &x 1\n": ["1:4: refused-yaml"],
    "a: &x 1\nb: *x\n": ["1:4: refused-yaml", "2:4: refused-yaml"],
    "a: &x [*x]\n": ["1:4: refused-yaml", "1:8: refused-yaml"],
    "? &k a\n: 1\n": ["1:3: refused-yaml"],
    "a: 1\nb: 2\na: 3\n": ["3:1: duplicate-key"],
    "{a: 1, a: 2, a: 3}\n": ["1:8: duplicate-key", "1:14: duplicate-key"],
    "a: {b: 1, 'b': 2}\n": ["1:11: duplicate-key"],
    "<<: {a: 1}\n": ["1:1: refused-yaml"],
    "a:\n  <<: [{b: 1}]\n": ["2:3: refused-yaml"],
    "a: !!str 1\n": ["1:4: refused-yaml"],
    "a: !local x\n": ["1:4: refused-yaml"],
    "a: ! x\n": ["1:4: refused-yaml"],
    "!!map {a: 1}\n": ["1:1: refused-yaml"],
    "!!python/object/apply:os.system [id]\n": ["1:1: refused-yaml"],
    "%YAML 1.1\n---\na: 1\n": ["1:1: refused-yaml"],
    "%TAG ! tag:x,2026:\n---\na: 1\n": ["1:1: refused-yaml"],
    "a: 1\n---\nb: 2\n": ["2:1: refused-yaml"],
    "a: 1\n...\n---\nb: 2\n": ["3:1: refused-yaml"],
    "a:\n\tb: 1\n": ["2:1: syntax"],
    "a:\n  b: 1\n\tc: 1\n": ["3:1: syntax"],
    "a:\n  - b\n \t- c\n": ["3:2: syntax"],
    "{a: 1\n\tb: 2}\n": ["2:1: syntax"],
    "a: b: c\n": ["1:5: syntax"],
    "a: 'x\n": ["2:1: syntax"],
    "a: [1, 2\n": ["2:1: syntax"],
    "a: @x\n": ["1:4: syntax"],
    "1: x\n": ["1:1: wrong-type"],
    "true: x\n": ["1:1: wrong-type"],
    "~: x\n": ["1:1: wrong-type"],
    "a: {? : 1}\n": ["1:7: wrong-type"],
    "? [a]\n: 1\n": ["1:3: syntax"],
    "? {a: 1}\n: 1\n": ["1:3: syntax"],
    "a: x\x00y\n": ["1:5: hidden-character"],
    "a: 1\nb: \x1b[31m\n": ["2:4: hidden-character"],
    "a: 1\nb: \u202etxt\n": ["2:4: hidden-character"],
    "a: 1\u2028b: 2\n": ["1:5: hidden-character"],
    "a: 1\x85b: 2\n": ["1:5: hidden-character"],
    "a: x\ufeffy\n": ["1:5: hidden-character"],
    "\x00": ["1:1: hidden-character"],
}


@pytest.mark.parametrize(("text", "expected"), REFUSED.items())
def test_refusals_name_their_place(text, expected):
    """Each thing we do not accept is refused with the line and column where it stands."""
    assert findings(text) == expected


@pytest.mark.parametrize(
    ("data", "place"),
    [(b"\xff", "1:1"), (b"a: 1\nb: \xc3\x28\n", "2:4"), (b"\xfe\xffa\x00", "1:1"), (b"a: \xed\xa0\x80", "1:4")],
)
def test_bytes_that_are_not_utf8_are_refused(data, place):
    """UTF-16, latin-1 and encoded surrogates are refused at the first bad byte."""
    assert findings(data) == [f"{place}: syntax"]


DEEP = {
    "flow lists": b"[" * 100_000,
    "flow maps": b"{a: " * 100_000,
    "block lists": b"- " * 100_000,
    "question marks": b"? " * 100_000,
    "block maps": b"".join(b" " * i + b"a:\n" for i in range(1_500)),
    "closed flow lists": b"[" * 60_000 + b"]" * 60_000,
    "one over": b"[" * 51 + b"]" * 51,
}


@pytest.mark.parametrize("name", DEEP)
def test_depth_is_refused_without_recursion(name):
    """Nesting over 50 levels is an error at once, however deep it goes."""
    found = findings(DEEP[name])
    assert len(found) == 1
    assert found[0].endswith(("limit", "syntax"))


def test_depth_of_fifty_is_accepted():
    """The limit itself is allowed."""
    node = parse(b"[" * 50 + b"]" * 50, "w")
    assert node.kind is Kind.LIST


def test_size_and_node_count_are_bounded():
    """A 10 MB scalar and a document of more than 200,000 values are refused."""
    assert findings(b"a: " + b"x" * 10_000_000) == ["1:1: limit"]
    assert findings(b"[" + b"1," * 200_001 + b"]") == ["1:400000: limit"]
    assert len(parse(b"a: " + b"x" * (BYTES_MAX - 3), "w").fields["a"].value) == BYTES_MAX - 3


def test_problems_are_listed_at_once_and_bounded():
    """A hundred problems are shown, not a hundred thousand."""
    text = "".join(f"k{i}: &a{i} x\n" for i in range(500))
    assert len(findings(text)) == 100


def test_byte_order_mark_and_windows_line_ends_are_accepted():
    """A mark of UTF-8 and CRLF change neither values nor places."""
    node = parse(b"\xef\xbb\xbfa: 1\r\nb:\r\n  c: x\r\n", "w")
    assert node.plain() == {"a": 1, "b": {"c": "x"}}
    assert str(node.fields["b"].fields["c"].at) == "w:3:6"
    assert str(node.key_at("b")) == "w:2:1"
    assert (node.line, node.col) == (1, 1)


def test_columns_count_code_points():
    """A column is what an editor shows, also after letters beyond ASCII."""
    assert findings("ä: 1\nüñ𝄞: {b: &x 1}\n") == ["2:10: refused-yaml"]


def test_shapes_have_words():
    """A node can say what it is in a user's words."""
    node = parse(b"{a: 1, b: x, c: 1.5, d: true, e: , f: [], g: {}}", "w")
    shapes = [child.shape for child in node.fields.values()]
    assert shapes == ["integer", "string", "number", "boolean", "null", "list", "map"]


LOCATED = [
    ("a: plain ${{ x }}\n", "1:10"),
    ("a: 'it''s ${{ x }}'\n", "1:11"),
    ('a: "x\\ty\\u0041 ${{ x }}"\n', "1:16"),
    ("a: |\n  one\n  two ${{ x }}\n", "3:7"),
    ("a: >-\n  one\n\n   two ${{ x }}\n", "4:8"),
    ("a:\n  folded plain\n  over ${{ x }}\n", "3:8"),
    ('a: "over\\\n   lines ${{ x }}"\n', "2:10"),
    ("a: |2-\n    x ${{ x }}\n", "2:7"),
    ("- - ä ${{ x }}\n", "1:7"),
]


@pytest.mark.parametrize(("text", "place"), LOCATED)
def test_a_place_inside_a_scalar_is_found_in_the_file(text, place):
    """An offset in a string leads back to line and column through quoting, folding and escapes."""
    node = next(parse(text.encode(), "w").scalars())
    assert str(node.locate(node.value.index("$"))) == f"w:{place}"


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda t: t.encode("utf-8", "surrogatepass"))))
def test_any_bytes_give_a_tree_or_our_error(data):
    """Nothing but our own error ever comes out, and no scalar is a float."""
    node, error = _try(data)
    assert error is None or error.code is Code.DOCUMENT_INVALID
    if node is not None:
        _walk(node)


_MARKS = ["a", ": ", "\n", "  ", "- ", "[", "]", "{", "}", ",", "&x ", "*x", "!t ", "'", '"', ">", "|", "#", "? ", "\t"]
_WORDS = ["---\n", "1", "no", "<<", "%", "\\", "${{ ", " }}", "\r\n", "é", "~", "...", "@", "`", "0o7"]
PIECES = st.sampled_from(_MARKS + _WORDS)


@settings(max_examples=500, deadline=None)
@given(st.lists(PIECES, max_size=40).map("".join))
def test_any_mix_of_yaml_gives_a_tree_or_our_error(text):
    """The same for text that looks like YAML, with places that lie inside the file."""
    node, error = _try(text.encode())
    if node is not None:
        _walk(node)
        return
    assert error is not None
    problems = error.context["problems"]
    assert isinstance(problems, list)
    assert all(1 <= p["line"] <= text.count("\n") + 2 and p["col"] >= 1 for p in problems)


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), st.sampled_from(["'", '"', "|"]))
def test_every_visible_character_is_located_exactly(text, style):
    """In any quoting, the place given for a character holds that character, or its escape."""
    written = _written(text, style)
    root, _ = _try(written.encode())
    if root is None:
        return
    node = root.fields["a"]
    lines = written.split("\n")
    for offset, char in enumerate(node.value):
        if char.isspace():
            continue
        at = node.locate(offset)
        there = lines[at.line - 1][at.col - 1 :]
        assert there[:1] in (char, "\\") or (char == "'" and there.startswith("''"))


def _written(text: str, style: str) -> str:
    if style == "'":
        return "a: '" + text.replace("'", "''") + "'\n"
    if style == '"':
        return 'a: "' + text.replace("\\", "\\\\").replace('"', '\\"').replace("e", "\\u0065") + '"\n'
    return "a: |\n" + "".join(f"  {line}\n" for line in text.split("\n"))


def _try(data: bytes) -> tuple[Node | None, MandamusError | None]:
    try:
        return parse(data, "w"), None
    except MandamusError as error:
        return None, error


def _walk(node: Node) -> None:
    for found in node.scalars():
        assert found.value is None or isinstance(found.value, (str, bool, int, Decimal))
        if isinstance(found.value, str):
            found.locate(len(found.value))
