"""Moments as people write them, and back."""

from __future__ import annotations

import pytest

from mandamus.kernel.clock import moment_us, rfc3339
from mandamus.kernel.errors import Code, MandamusError


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2027-01-31", "2027-01-31T00:00:00.000000Z"),
        ("2027-01-31T18:00", "2027-01-31T18:00:00.000000Z"),
        ("2027-01-31T18:00:00.000001Z", "2027-01-31T18:00:00.000001Z"),
        ("2027-01-31T18:00:00+02:00", "2027-01-31T16:00:00.000000Z"),
        ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
    ],
)
def test_a_moment_is_what_somebody_wrote(text, written):
    """A date alone is its midnight, and a time without a zone is UTC; nothing is rounded."""
    assert rfc3339(moment_us(text)) == written


@pytest.mark.parametrize("text", ["", "yesterday", "2027-13-01", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59-14:00"])
def test_what_is_no_moment_is_refused(text):
    """Also one whose zone leads out of the years there are."""
    with pytest.raises(MandamusError) as refused:
        moment_us(text)
    assert refused.value.code is Code.VALUE_INVALID
    assert "2027-01-31" in refused.value.remedy
