"""What events say of a change of configuration."""

from __future__ import annotations

from mandamus.audit.difference import CHANGES_MAX, differences
from mandamus.audit.kinds import Kind
from mandamus.kernel import canonical


def test_only_what_differs_is_told() -> None:
    """Fields that are as they were are left out; nested ones and named elements have a path of their own."""
    before = {
        "protected": False,
        "pool": {"network": False, "sandbox": "required"},
        "policies": [{"name": "p", "set": "a"}],
    }
    after = {"protected": True, "pool": {"network": False, "sandbox": "none"}, "policies": [{"name": "p", "set": "b"}]}
    assert differences(before, after) == [
        {"field": "policies.p.set", "before": "a", "after": "b"},
        {"field": "pool.sandbox", "before": "required", "after": "none"},
        {"field": "protected", "before": False, "after": True},
    ]
    assert differences(before, before) == []


def test_a_beginning_and_an_end_are_null() -> None:
    """What was not there, and what is no longer there, is null."""
    assert differences(None, {"a": 1}) == [{"field": "a", "before": None, "after": 1}]
    assert differences({"a": 1}, {}) == [{"field": "a", "before": 1, "after": None}]


def test_what_may_be_private_is_a_digest() -> None:
    """Variables, lists and long texts stand there by digest only."""
    told = differences({}, {"vars": {"region": "south"}, "hosts": ["a"], "text": "x" * 500}, digested=("vars",))
    assert [(each["field"], each["after"]) for each in told] == [
        ("hosts", canonical.digest_of(["a"])),
        ("text", canonical.digest_of("x" * 500)),
        ("vars.region", canonical.digest_of("south")),
    ]


def test_what_it_gives_fits_a_leaf() -> None:
    """Any number of changes, of whatever value, has the form that events take."""
    odd = {"line": "a\nb", "empty": [], "bad\nname": 1, **{f"n{number}": number for number in range(500)}}
    told = differences({}, odd)
    assert len(told) == CHANGES_MAX
    assert Kind.ENVIRONMENT_APPLIED.checks["changes"](told)
