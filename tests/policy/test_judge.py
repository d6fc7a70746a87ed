"""What members mean, without an engine: the exact edges of what a rule may give."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mandamus.kernel.attachment import Attached, Level
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import ExemptionId
from mandamus.policy import bundle, judge
from mandamus.policy.judge import APPROVALS_MAX, depth_exceeds
from mandamus.policy.model import NO_SET, RULE, Entry, Exemption, Point, Requirement, Said, Violation
from mandamus.policy.service import understood

PLACE = ("p.rego", 7)
HARD = Attached(NO_SET)


def said(point="plan", **found):
    return [Said(rule, f"mandamus.{point}.{rule}", member) for rule, members in found.items() for member in members]


def judged(attached=HARD, point=Point.PLAN, spare=lambda _violation: "", **found):
    return judge.judge(point, said(point.value, **found), attached, lambda _rule, _member: PLACE, spare)


def refused(**found) -> str:
    with pytest.raises(MandamusError) as caught:
        judged(**found)
    assert caught.value.code is Code.POLICY_UNAVAILABLE
    assert caught.value.context["fault"] == "shape_invalid"
    return caught.value.message


def test_a_requirement_has_its_defaults():
    """Without a group it is the environment's own approvers, without a count one, and the text says whom it is for."""
    (bare,) = judged(require_approval=[{}]).requires
    assert bare == Requirement("", 1, "approval by the approvers", "mandamus.plan.require_approval", *PLACE, NO_SET)
    (named,) = judged(require_approval=[{"group": "sec"}]).requires
    assert (named.group, named.count, named.msg) == ("sec", 1, "approval by sec")
    (text,) = judged(require_approval=["look at it"]).requires
    assert (text.group, text.count, text.msg) == ("", 1, "look at it")


def test_a_requirement_may_have_every_key():
    """All the words of the reference, and no other: a misspelt one would ask for less than was meant."""
    member = {"group": "sec", "count": 3, "msg": "why", "remedy": "ask early", "meta": {"ticket": 7}, "notify": "ops"}
    (need,) = judged(require_approval=[member]).requires
    assert (need.group, need.count, need.msg) == ("sec", 3, "why")
    for key in member:
        misspelt = {**member, f"{key}s": 1}
        assert refused(require_approval=[misspelt]).endswith(f"has the unknown key `{key}s`")


def test_a_member_may_say_who_is_told():
    """A name or several, of each rule; a set that is only tried tells nobody."""
    members = {
        "deny": [{"msg": "no", "notify": "alarms"}],
        "warn": [{"msg": "look", "notify": ["ops", "chat"]}, "a text"],
        "require_approval": [{"group": "sec", "notify": "sec-chat"}],
    }
    assert judged(**members).notify == ["alarms", "ops", "chat", "sec-chat"]
    assert judged(replace(HARD, level=Level.SHADOW), **members).notify == []


@pytest.mark.parametrize("notify", [7, None, "", "No", ["ok", 7], {"a": 1}, ["a"] * 21])
def test_who_is_told_is_a_name(notify):
    """What can be no subscription is a mistake, and a mistake is a no."""
    assert "has a `notify` that is" in refused(warn=[{"msg": "look", "notify": notify}])


@pytest.mark.parametrize("count", [1, 2, APPROVALS_MAX])
def test_counts_within_the_limits_are_taken(count):
    """One to a hundred, both included."""
    assert APPROVALS_MAX == 100
    assert judged(require_approval=[{"count": count}]).requires[0].count == count


@pytest.mark.parametrize("count", [0, -1, APPROVALS_MAX + 1, True, False, "1", None, [1], 1.0])
def test_other_counts_are_refused(count):
    """Neither none nor more than anyone has, and nothing that only looks like a number."""
    assert "has a `count` that is no whole number from 1 to 100" in refused(require_approval=[{"count": count}])


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"deny": [""]}, "needs the message as a text"),
        ({"deny": [{}]}, "needs `msg` as a text"),
        ({"deny": [{"msg": 7}]}, "needs `msg` as a text"),
        ({"deny": [{"msg": ["a"]}]}, "needs `msg` as a text"),
        ({"deny": [{"msg": ""}]}, "needs `msg` as a text"),
        ({"deny": [{"msg": "a", "remedy": ""}]}, "needs `remedy` as a text"),
        ({"deny": [{"msg": "a", "meta": []}]}, "has a `meta` that is no object"),
        ({"deny": [7]}, "is neither a string nor an object"),
        ({"warn": [None]}, "a member of mandamus.plan.warn is neither"),
        ({"require_approval": [""]}, "needs the message as a text"),
        ({"require_approval": [{"group": ""}]}, "needs `group` as a text"),
        ({"require_approval": [{"msg": ""}]}, "needs `msg` as a text"),
        ({"require_approval": [7]}, "is neither a string nor an object"),
    ],
)
def test_a_member_of_another_form_is_named(found, words):
    """What is wrong is said with the rule's file and line."""
    message = refused(**found)
    assert words in message
    assert message.startswith("p.rego:7: ")


def test_violations_come_in_the_order_of_their_places():
    """By file, then line, then text, whatever the order of OPA's set; and warnings apart from them."""
    places = {"c": ("b.rego", 1), "b": ("a.rego", 2), "a": ("a.rego", 2), "d": ("a.rego", 1)}
    members = said("step", deny=list("cbad"), warn=["d"])
    found = judge.judge(Point.STEP, members, HARD, lambda _rule, member: places[str(member)], lambda _violation: "")
    assert [violation.msg for violation in found.violations] == ["d", "a", "b", "c"]
    assert found.warnings == [Violation("mandamus.step.warn", "d", "a.rego", 1)]
    assert found.requires == []


def test_a_text_and_an_object_with_only_a_text_say_the_same():
    """The short form is for what needs no remedy."""
    (plain,), (short,) = judged(deny=["no"]).violations, judged(deny=[{"msg": "no"}]).violations
    assert plain == short == Violation("mandamus.plan.deny", "no", *PLACE)


def test_what_a_policy_adds_is_kept():
    """Keys of its own and those under ``meta`` come back together; ``meta`` wins."""
    (violation,) = judged(
        deny=[{"msg": "m", "remedy": "r", "severity": "low", "meta": {"severity": "high", "n": 1}}]
    ).violations
    assert violation == Violation(
        "mandamus.plan.deny", "m", *PLACE, remedy="r", meta={"severity": "high", "n": 1}, set=NO_SET
    )


ENTRY = Entry("plan", "mandamus.plan.deny", f"v := {RULE}", "deny")


def bundled():
    return bundle.unpack(bundle.pack({"p.rego": "package mandamus.plan"}, [ENTRY]))


def test_members_are_those_of_defined_sets():
    """A rule that the set has and that gives nothing is trouble, not silence."""
    assert understood(bundled(), [ENTRY], {"mandamus.plan.deny": [["set", ["a"]]]}) == [
        Said("deny", "mandamus.plan.deny", "a")
    ]
    with pytest.raises(MandamusError) as caught:
        understood(bundled(), [ENTRY], {"mandamus.plan.deny": []})
    assert caught.value.context["fault"] == "undefined"
    assert caught.value.message == "data.mandamus.plan.deny is undefined"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([["array", []]], "data.mandamus.plan.deny is of type array, not a set"),
        ([["set", {}]], "data.mandamus.plan.deny is of type set, not a set"),
        ([["set", []], ["set", []]], "data.mandamus.plan.deny is of type set, not a set"),
        ([[7, []]], "data.mandamus.plan.deny is of type 7, not a set"),
        ([["set"]], "does not say what mandamus.plan.deny is"),
        (["set"], "does not say what mandamus.plan.deny is"),
        (None, "does not say what mandamus.plan.deny is"),
        ({}, "does not say what mandamus.plan.deny is"),
    ],
)
def test_a_value_of_another_form_is_refused(value, words):
    """Only one type and one value, and only a set."""
    with pytest.raises(MandamusError) as caught:
        understood(bundled(), [ENTRY], {"mandamus.plan.deny": value})
    assert caught.value.context["fault"] == "shape_invalid"
    assert words in caught.value.message


OWNERS = {"security": 2}


def test_an_advisory_set_only_warns():
    """Its no is a warning, and so is what it would ask people for."""
    found = judged(Attached(NO_SET, "a", Level.ADVISORY), deny=["no"], require_approval=[{"group": "x"}])
    assert [v.msg for v in found.warnings] == ["approval by x", "no"]
    assert (found.violations, found.requires) == ([], [])


def test_a_shadow_set_changes_nothing():
    """What it says is kept and is neither a no, nor a warning, nor a question."""
    found = judged(Attached(NO_SET, "a", Level.SHADOW), deny=["no"], warn=["hm"], require_approval=[{}])
    assert {v.msg for v in found.spared} == {"no", "hm", "approval by the approvers"}
    assert (found.violations, found.warnings, found.requires) == ([], [], [])


@pytest.mark.parametrize("point", list(Point))
def test_a_soft_mandatory_no_asks_its_owners_where_a_plan_can_be_bound(point):
    """Elsewhere, and without owners, it is a plain no."""
    found = judged(Attached(NO_SET, "a", Level.SOFT, OWNERS), point, deny=["no"])
    if point in (Point.STEP, Point.PLAN, Point.APPLY):
        (asked,) = found.requires
        assert (asked.group, asked.count, asked.override) == ("security", 2, True)
        assert asked.msg == f"override of mandamus.{point}.deny: no"
        assert ([v.msg for v in found.spared], found.violations) == (["no"], [])
    else:
        assert ([v.msg for v in found.violations], found.requires) == (["no"], [])
    alone = judged(Attached(NO_SET, "a", Level.SOFT), point, deny=["no"])
    assert ([v.msg for v in alone.violations], alone.requires) == (["no"], [])


def test_an_exempted_no_is_spared_at_every_level():
    """The exemption's id stands with it; warnings need none."""
    for level in Level:
        found = judged(Attached(NO_SET, "a", level, OWNERS), spare=lambda _v: "exm_1", deny=["no"], warn=["hm"])
        assert [(v.msg, v.exemption) for v in found.spared if v.msg == "no"] == [("no", "exm_1")]
        assert (found.violations, found.requires) == ([], [])


def test_an_exemption_is_about_one_rule_and_address():
    """Another set, rule or address is not spared, nor is a violation that names no address."""
    one = Exemption(ExemptionId("exm_1"), "prod", "a", "r.deny", "x", "ada", "why", 0, 10)
    violation = Violation("r.deny", "no", "p.rego", 1, address="x")
    assert one.spares("a", violation)
    assert not one.spares("b", violation)
    assert not one.spares("a", replace(violation, rule="r.warn"))
    assert not one.spares("a", replace(violation, address=""))
    assert replace(one, address="").spares("a", replace(violation, address=""))
    assert (one.active(9), one.active(10), replace(one, ended_us=5).active(6)) == (True, False, False)


@pytest.mark.parametrize(
    ("document", "depth"),
    [
        (b"1", 0),
        (b"[]", 1),
        (b'{"a":[]}', 2),
        (b"[[],[],[[]]]", 3),
        (b'{"a":"[[[[{{{{"}', 1),
        (b'{"\\"[[":["\\\\",{"]]":[]}]}', 4),
        (b"[" * 9 + b"]" * 9, 9),
    ],
)
def test_depth_is_counted_outside_strings(document, depth):
    """Brackets in texts do not count, nor do escaped quotes end them."""
    assert not depth_exceeds(document, depth)
    assert not depth_exceeds(document, depth + 1)
    if depth:
        assert depth_exceeds(document, depth - 1)
