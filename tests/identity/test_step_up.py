"""What somebody's sign-in has to be for their yes to count."""

from __future__ import annotations

import pytest

from mandamus.identity.sign_in import StepUp
from mandamus.kernel.access import SignedIn

NOW_S = 1_800_000_000


@pytest.mark.parametrize(
    ("at_s", "counts"),
    [(NOW_S, True), (NOW_S - 300, True), (NOW_S - 301, False), (NOW_S + 60, True), (NOW_S + 61, False)],
)
def test_a_sign_in_is_as_fresh_as_is_asked_for(at_s, counts):
    """Neither older, nor of a moment that has not come: that one would be fresh until then."""
    found = SignedIn(at_s * 1_000_000)
    assert (StepUp(300).missing(found, NOW_S * 1_000_000) == "") is counts


def test_a_class_is_one_of_those_asked_for():
    """And whoever did not sign in by the provider has none."""
    asked = StepUp(acr=("gold",))
    assert asked.missing(SignedIn(NOW_S * 1_000_000, "gold"), NOW_S * 1_000_000) == ""
    assert asked.missing(SignedIn(NOW_S * 1_000_000, "tin"), NOW_S * 1_000_000)
    assert asked.missing(None, NOW_S * 1_000_000)
