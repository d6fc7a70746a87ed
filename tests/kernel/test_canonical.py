"""Canonical JSON: one form per value, numbers kept as they came, everything else refused."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mandamus.kernel import canonical
from mandamus.kernel.errors import Code, MandamusError

scalars = st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    scalars | st.decimals(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=20,
)


@given(values)
def test_a_value_survives_a_round_trip(value):
    """What is written reads back as the same bytes."""
    data = canonical.dumps(value)
    assert canonical.dumps(canonical.loads(data)) == data


@given(st.dictionaries(st.text(st.characters(max_codepoint=127)), st.integers(-(2**53), 2**53)))
def test_ascii_keys_and_safe_integers_equal_rfc_8785(value):
    """For ASCII keys and integers up to 2**53 the form is RFC 8785: sorted keys, no white space, UTF-8."""
    assert (
        canonical.dumps(value) == json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    )


@pytest.mark.parametrize("text", ["1.10", "1E+2", "123456789012345678901234567890", "0.1", "-0.0"])
def test_numbers_keep_their_text(text: str):
    """A number is never rounded: its text comes back as it was."""
    assert canonical.dumps(canonical.loads(text.encode())) == text.encode()


def test_keys_are_sorted_by_code_point():
    """Order is by code point, whatever the order of insertion, also beside a Decimal."""
    assert canonical.dumps({"b": 1, "a": Decimal("1.5"), "B": None}) == b'{"B":null,"a":1.5,"b":1}'


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        float("nan"),
        {"a": [1.0]},
        {1: "x"},
        b"bytes",
        {"a": {1, 2}},
        "\ud800",
        Decimal("NaN"),
        [Decimal(1), "\ud800"],
    ],
)
def test_what_has_no_canonical_form_is_refused(value):
    """Floats, other keys than strings, foreign types and lone surrogates are `value_invalid`."""
    with pytest.raises(MandamusError) as caught:
        canonical.dumps(value)
    assert caught.value.code is Code.VALUE_INVALID


@pytest.mark.parametrize(
    "data", [b'{"a":1,"a":2}', b"[NaN]", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b"", b"Infinity"]
)
def test_bad_json_is_refused_without_a_traceback(data: bytes):
    """Duplicate keys, NaN, bad UTF-8 and bottomless nesting are `value_invalid`, never a crash."""
    with pytest.raises(MandamusError) as caught:
        canonical.loads(data)
    assert caught.value.code is Code.VALUE_INVALID
