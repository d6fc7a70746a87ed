"""Inputs: typed and bounded where they are given, from text or from JSON, with every problem at once."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mandamus.catalog import inputs
from mandamus.catalog.inputs import InputSpec, InputType
from mandamus.kernel import canonical
from mandamus.kernel.document import Position
from mandamus.kernel.errors import Code, MandamusError

AT = Position("w.yaml", 3, 5)


def spec(kind: str, **more: Any) -> InputSpec:
    return InputSpec(name="x", type=InputType(kind), at=AT, **more)


def bound(one: InputSpec, value: object) -> Any:
    return inputs.bind([one], {"x": value}, "w.yaml")["x"]


def refused(specs: list[InputSpec], values: dict[str, object]) -> list[str]:
    """The messages of the one error."""
    with pytest.raises(MandamusError) as caught:
        inputs.bind(specs, values, "w.yaml")
    assert caught.value.code is Code.INPUT_INVALID
    problems = caught.value.context["problems"]
    assert isinstance(problems, list)
    assert all(each["file"] == "w.yaml" and each["remedy"] for each in problems)
    return [f"{each['line']}:{each['col']}: {each['message']}" for each in problems]


TYPED = [
    ("string", "12", "12"),
    ("string", "", ""),
    ("string", "a\nb\t'\"$(id)`", "a\nb\t'\"$(id)`"),
    ("boolean", "true", True),
    ("boolean", False, False),
    ("integer", "12", 12),
    ("integer", "-0", 0),
    ("integer", "+7", 7),
    ("integer", 2**63 - 1, 2**63 - 1),
    ("number", "1.50", Decimal("1.50")),
    ("number", "12", 12),
    ("number", "1e3", Decimal("1e3")),
    ("number", Decimal("0.1"), Decimal("0.1")),
    ("number", 0.1, Decimal("0.1")),
    ("list", '["a", 1]', ["a", 1]),
    ("list", [], []),
    ("map", '{"a": {"b": 1.5}}', {"a": {"b": Decimal("1.5")}}),
]


@pytest.mark.parametrize(("kind", "value", "expected"), TYPED)
def test_text_and_json_are_read_as_the_declared_type(kind, value, expected):
    """A command line gives text, an API gives JSON; both end as the same typed value."""
    made = bound(spec(kind), value)
    assert made == expected
    assert type(made) is type(expected)


WRONG = [
    ("string", 12),
    ("string", None),
    ("string", True),
    ("string", "a\0b"),
    ("string", "\ud800"),
    ("string", "x" * 4097),
    ("boolean", "yes"),
    ("boolean", "True"),
    ("boolean", 1),
    ("boolean", None),
    ("integer", "1.0"),
    ("integer", "1e3"),
    ("integer", 1.5),
    ("integer", True),
    ("integer", "12x"),
    ("integer", ""),
    ("integer", " 12"),
    ("integer", "1_000"),
    ("integer", "١٢"),
    ("integer", "0x10"),
    ("integer", 2**63),
    ("integer", 10**5000),
    ("integer", "9" * 65),
    ("number", "NaN"),
    ("number", "Infinity"),
    ("number", float("inf")),
    ("number", Decimal("NaN")),
    ("number", "1e401"),
    ("number", Decimal("1e-401")),
    ("number", Decimal("0." + "1" * 65)),
    ("number", ".5"),
    ("number", "1_0.5"),
    ("list", "a,b"),
    ("list", "{}"),
    ("list", {"a": 1}),
    ("list", '["\ud800"]'),
    ("list", "[" * 100_000),
    ("list", ["x" * 65_536]),
    ("list", [1.5]),
    ("map", "[]"),
    ("map", '{"a": 1, "a": 2}'),
    ("map", {1: 2}),
]


@pytest.mark.parametrize(("kind", "value"), WRONG, ids=range(len(WRONG)))
def test_what_is_not_of_the_type_is_refused(kind, value):
    """Nothing is guessed: one problem at the declaration, with what would fit, and no huge text in it."""
    (line,) = refused([spec(kind)], {"x": value})
    assert line.startswith("3:5: the input `x` ")
    assert len(line) < 300


def test_every_problem_is_told_at_once():
    """A missing input, an unknown one with the nearest name, and a wrong value stand in one error."""
    specs = [
        InputSpec("name", InputType.STRING, Position("w.yaml", 3, 3)),
        InputSpec("count", InputType.INTEGER, Position("w.yaml", 4, 3)),
    ]
    with pytest.raises(MandamusError) as caught:
        inputs.bind(specs, {"nam": "a", "count": "many"}, "w.yaml")
    lines = caught.value.message.splitlines()
    assert len(lines) == 3
    assert "there is no input `nam` (did you mean `name`?)" in lines[0]
    assert "the input `name` is required (give it with --input name=...)" in lines[1]
    assert "w.yaml:4:3: wrong-value: the input `count` is an integer, not `many`" in lines[2]


def test_what_is_not_given_takes_its_default():
    """A default is used, an optional input without one is null, false and 0 count as given."""
    specs = [
        InputSpec("a", InputType.BOOLEAN, AT, required=False, default=True),
        InputSpec("b", InputType.STRING, AT, required=False),
        InputSpec("c", InputType.INTEGER, AT, required=False, default=7),
    ]
    assert inputs.bind(specs, {}, "w") == {"a": True, "b": None, "c": 7}
    assert inputs.bind(specs, {"a": False, "c": 0}, "w") == {"a": False, "b": None, "c": 0}


def test_a_choice_is_one_of_its_values():
    """An enum refuses everything else and names what there is."""
    one = spec("string", enum=("dev", "prod"))
    assert bound(one, "dev") == "dev"
    with pytest.raises(MandamusError, match="choose from dev, prod"):
        bound(one, "Dev")
    assert bound(spec("integer", enum=(1, 2)), "2") == 2
    with pytest.raises(MandamusError, match="cannot be `3`"):
        bound(spec("integer", enum=(1, 2)), 3)


def test_a_pattern_is_searched_and_its_end_is_the_end():
    """Without anchors a pattern may match anywhere; ``$`` does not let a line end slip by, as Python's would."""
    assert bound(spec("string", pattern="b"), "abc") == "abc"
    named = spec("string", pattern="^[a-z0-9-]{3,40}$")
    assert bound(named, "my-bucket") == "my-bucket"
    for bad in ("ab", "My", "my-bucket\n", "x" * 41, "a b c"):
        (line,) = refused([named], {"x": bad})
        assert "does not match its pattern" in line


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (r"(a)\1", "backreferences are not supported"),
        (r"a(?=b)", "look-around"),
        (r"(?<!a)b", "look-around"),
        (r"(", "unclosed group"),
        (r"[z-a]", "invalid character class range"),
        (r"(?:(?:a{1000}){1000}){1000}", ""),
        ("a" * 513, "over 512 characters"),
    ],
)
def test_patterns_that_cannot_be_kept_are_refused(pattern, why):
    """Only RE2's syntax, only what compiles small: the reason is said in a few words."""
    fault = inputs.pattern_fault(pattern)
    assert fault
    assert why in fault
    assert len(fault) < 200


SLOW = ["(a+)+$", "(a|a)*$", "(a|aa)+$", "([a-zA-Z]+)*$", "(.*a){20}$", "^(([a-z])+.)+[A-Z]([a-z])+$"]


@pytest.mark.parametrize("pattern", SLOW)
def test_patterns_that_explode_elsewhere_are_linear_here(pattern):
    """What takes a backtracking engine for ever on 30 characters takes no time on 4,000."""
    begun = time.process_time()
    inputs.matches(pattern, "a" * 4_000 + "!")
    assert time.process_time() - begun < 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(list(InputType)), JSON)
def test_any_value_is_taken_as_canonical_json_or_refused(kind, value):
    """Whatever is given, the outcome is a value with a canonical form or our own error."""
    try:
        made = bound(spec(kind), value)
    except MandamusError as error:
        code = error.code
    else:
        canonical.dumps(made)
        code = Code.INPUT_INVALID
    assert code is Code.INPUT_INVALID


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=50))
def test_text_arrives_as_it_was_given(text):
    """No character is escaped, trimmed or read as something else; only NUL and surrogates cannot be given."""
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        refused([spec("string")], {"x": text})
    else:
        assert bound(spec("string"), text) == text
