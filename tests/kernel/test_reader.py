"""The reader: typed values, every problem at once, and the nearest known name."""

from __future__ import annotations

from decimal import Decimal

import pytest

from mandamus.kernel.document import Node, parse
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.reader import Reader, did_you_mean, duration_s, suggest


def node(text: str) -> Node:
    return parse(f"a: {text}\n".encode(), "f").fields["a"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("2m", 120), ("1h30m", 5400), ("7d", 604_800), ("1d2h3m4s", 93_784), ("0s", 0), ("366d", 31_622_400)],
)
def test_durations_are_read_in_seconds(text, seconds):
    """A duration is numbers with units, largest first."""
    assert duration_s(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "2", "m", "2 m", "2x", "-2m", "1.5h", "30m1h", "2m2m", "367d", "9" * 40 + "s", "2M"]
)
def test_what_is_no_duration_is_refused(text):
    """Nothing is guessed: no bare numbers, no fractions, no unknown units, nothing over 366 days."""
    with pytest.raises(ValueError, match="duration"):
        duration_s(text)


def test_names_near_a_known_one_are_suggested():
    """A typing error gets the nearest name, a stranger gets none."""
    assert suggest("nedds", ["needs", "if"]) == "needs"
    assert suggest("zzz", ["needs", "if"]) is None
    assert suggest("tokens", ["to"], nearness=0.4) == "to"
    assert suggest("tokens", ["to"]) is None
    assert did_you_mean("nedds", ["needs"], "no") == "did you mean `needs`?"
    assert did_you_mean("zzz", ["needs"], "use needs") == "use needs"


def test_every_problem_is_raised_in_the_files_order():
    """Reading goes on after a problem; the error lists them by line."""
    root = parse(b"b: x\na: [1]\nc: 2\n", "f")
    reader = Reader()
    fields = reader.table(root, "it", ("a", "b", "d"), required=("d",))
    reader.integer(fields["b"], "b", minimum=0, maximum=9)
    reader.text(fields["a"], "a")
    with pytest.raises(MandamusError) as caught:
        reader.raise_for(Code.DOCUMENT_INVALID, "mend it")
    assert [line.split(" ")[0] for line in caught.value.message.splitlines()] == [
        "f:1:1:",
        "f:1:4:",
        "f:2:4:",
        "f:3:1:",
    ]


def test_values_have_their_types():
    """A good value is given and nothing is noted."""
    reader = Reader()
    assert reader.integer(node("3"), "x", minimum=0, maximum=9) == 3
    assert reader.number(node("1.5"), "x") == Decimal("1.5")
    assert reader.boolean(node("true"), "x") is True
    assert reader.text(node("no"), "x") == "no"
    assert reader.texts(node("[a, b]"), "x") == ("a", "b")
    assert reader.choice(node("b"), "x", ("a", "b"), default="a") == "b"
    assert reader.duration_s(node("2m"), "x") == 120
    assert reader.problems == []


@pytest.mark.parametrize(
    ("read", "text", "code"),
    [
        (lambda r, n: r.integer(n, "x", minimum=0, maximum=9), "true", "wrong-type"),
        (lambda r, n: r.integer(n, "x", minimum=0, maximum=9), "10", "wrong-value"),
        (lambda r, n: r.integer(n, "x", minimum=0, maximum=9), "1.0", "wrong-type"),
        (lambda r, n: r.boolean(n, "x"), "no", "wrong-type"),
        (lambda r, n: r.boolean(n, "x"), "${{ a }}", "wrong-type"),
        (lambda r, n: r.text(n, "x"), "12", "wrong-type"),
        (lambda r, n: r.text(n, "x"), '""', "wrong-value"),
        (lambda r, n: r.text(n, "x", late=False), "${{ a }}", "expression-refused"),
        (lambda r, n: r.text(n, "x"), "x" * (1024 * 1024 + 1), "limit"),
        (lambda r, n: r.choice(n, "x", ("a", "b"), default="a"), "c", "wrong-value"),
        (lambda r, n: r.sequence(n, "x"), "a", "wrong-type"),
        (lambda r, n: r.mapping(n, "x"), "[a]", "wrong-type"),
        (lambda r, n: r.duration_s(n, "x"), "90", "wrong-type"),
        (lambda r, n: r.duration_s(n, "x"), "0s", "wrong-value"),
        (lambda r, n: r.number(n, "x"), "a", "wrong-type"),
    ],
)
def test_wrong_values_are_noted_and_reading_goes_on(read, text, code):
    """One problem, at the value, with a remedy; never an exception."""
    reader = Reader()
    read(reader, node(text))
    assert [(p.line, p.col, p.code) for p in reader.problems] == [(1, 4, code)]
    assert reader.problems[0].remedy


def test_a_late_value_is_let_through_where_it_is_allowed():
    """Where a run fills the value in, its type is not known yet."""
    reader = Reader()
    late = node('"${{ inputs.n }}"')
    assert reader.integer(late, "x", minimum=0, maximum=9, default=4, late=True) == 4
    assert reader.boolean(late, "x", default=True, late=True) is True
    assert reader.number(late, "x", late=True) == 0
    assert reader.problems == []
