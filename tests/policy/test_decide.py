from __future__ import annotations

from decimal import Decimal

from mandamus.kernel import canonical
from mandamus.policy.model import Outcome, Point

RULES = """package mandamus.plan

deny contains "first" if input.x == 1

deny contains {"msg": sprintf("%s is public", [c.name]), "remedy": "set public = false"} if {
	some c in input.changes
	c.public
}

deny contains {
	"msg": "third",
	"meta": {"ticket": 7},
	"severity": "high",
} if {
	input.x == 3
}

warn contains "careful" if input.x == 4

require_approval contains {"group": "platform", "count": 2, "msg": "two of platform"} if input.x == 5

require_approval contains "somebody" if input.x == 6
"""


def test_nothing_fires(decide, publish):
    """Rules that do not fire allow, and the exact document with point and clock is what was judged."""
    digest = publish({"plan.rego": RULES})
    verdict = decide({"x": 0}, [digest])
    assert verdict.outcome is Outcome.ALLOW
    assert verdict.error is None
    assert verdict.input == b'{"now":"2026-01-01T00:00:00.000000Z","point":"plan","x":0}'
    assert verdict.input_digest == canonical.digest(verdict.input)
    assert verdict.sets == (digest,)
    assert verdict.engine.startswith("opa-1.")
    assert verdict.duration_us > 0
    assert verdict.notes == ()


def test_the_rule_that_fired_is_named(decide, publish):
    """Of several deny rules the one that fired is named with its own line, text and remedy."""
    digest = publish({"plan.rego": RULES})
    verdict = decide({"x": 0, "changes": [{"name": "a", "public": False}, {"name": "b", "public": True}]}, [digest])
    assert verdict.outcome is Outcome.DENY
    (violation,) = verdict.violations
    assert (violation.rule, violation.file, violation.line) == ("mandamus.plan.deny", "plan.rego", 5)
    assert violation.msg == "b is public"
    assert violation.remedy == "set public = false"
    assert violation.set == digest
    assert str(violation) == "plan.rego:5: mandamus.plan.deny: b is public (set public = false)"


def test_every_rule_that_fired_is_named(decide, publish):
    """Each violation has the line of its own rule, also when several rules of one name fire in two files."""
    other = 'package mandamus.plan\n\nimport data.lib.names\n\n# why\n\n  deny contains "lib" if names.bad(input.n)\n'
    lib = 'package lib.names\n\nbad(n) if n == "bad"\n'
    digest = publish({"plan.rego": RULES, "more/other.rego": other, "lib.rego": lib})
    verdict = decide({"x": 3, "n": "bad", "changes": [{"name": "b", "public": True}]}, [digest])
    assert [(v.file, v.line, v.msg) for v in verdict.violations] == [
        ("more/other.rego", 7, "lib"),
        ("plan.rego", 5, "b is public"),
        ("plan.rego", 10, "third"),
    ]
    assert verdict.violations[2].meta == {"ticket": 7, "severity": "high"}


def test_lines_survive_rules_that_read_each_other(decide, publish):
    """A rule that reads the deny set sees what it always saw while lines are being found."""
    rules = """package mandamus.plan

deny contains "a" if input.a
deny contains "b" if input.b
warn contains sprintf("%d denied", [count(deny)]) if count(deny) > 1
warn contains "unused"   if   input.never
"""
    verdict = decide({"a": True, "b": True}, [publish({"p.rego": rules})])
    assert [(v.line, v.msg) for v in verdict.violations] == [(3, "a"), (4, "b")]
    assert [(v.line, v.msg) for v in verdict.warnings] == [(5, "2 denied")]


def test_lines_in_odd_but_legal_text(decide, publish):
    """Comments, raw strings, templates, one-line rules and a rule named through its package do not move lines."""
    rules = """package mandamus

# deny contains "comment" if true
text := `
deny contains "raw" if true
`
tpl := $"a {concat(",", ["}", "b"])} deny contains"

plan.deny contains $"one {input.n}" if input.n == 1
plan["deny"] contains "two" if input.n == 2
plan.deny contains x if { x := "three"; input.n == 3 }
plan.deny contains "four" if { input.n == 4 } # deny
"""
    digest = publish({"p.rego": rules})
    found = {n: [(v.line, v.msg) for v in decide({"n": n}, [digest]).violations] for n in (1, 3, 4)}
    assert found == {1: [(9, "one 1")], 3: [(11, "three")], 4: [(12, "four")]}
    assert [v.msg for v in decide({"n": 2}, [digest]).violations] == ["two"]


def test_approvals_are_asked_for(decide, publish):
    """A member of require_approval asks for its group and count; a text asks for one of the environment's own."""
    digest = publish({"plan.rego": RULES})
    verdict = decide({"x": 5}, [digest])
    assert verdict.outcome is Outcome.NEEDS_APPROVAL
    (need,) = verdict.requires
    assert (need.group, need.count, need.msg, need.line) == ("platform", 2, "two of platform", 20)
    (plain,) = decide({"x": 6}, [digest]).requires
    assert (plain.group, plain.count, plain.msg, plain.line) == ("", 1, "somebody", 22)


def test_a_warning_allows(decide, publish):
    """A warning is told and stops nothing."""
    verdict = decide({"x": 4}, [publish({"plan.rego": RULES})])
    assert verdict.outcome is Outcome.ALLOW
    assert [w.msg for w in verdict.warnings] == ["careful"]


def test_sets_add_up(decide, publish):
    """Every set is asked: one deny denies, needs of all sets add up, an allow of one takes nothing away."""
    plan = publish({"plan.rego": RULES})
    second = publish({"p.rego": 'package mandamus.plan\nrequire_approval contains {"group": "sec"} if input.x == 5\n'})
    allows = publish({"p.rego": 'package mandamus.plan\ndeny contains "no" if input.never\n'})
    both = decide({"x": 5}, [plan, second, allows])
    assert both.outcome is Outcome.NEEDS_APPROVAL
    assert [(r.group, r.count) for r in both.requires] == [("platform", 2), ("sec", 1)]
    denied = decide({"x": 1}, [allows, second, plan])
    assert denied.outcome is Outcome.DENY
    assert denied.sets == (allows, second, plan)


def test_each_point_has_its_own_package(decide, publish):
    """A set is asked only what the point's package says."""
    rules = {f"{p}.rego": f'package mandamus.{p}\ndeny contains "{p}" if input.x\n' for p in Point}
    digest = publish(rules)
    for point in Point:
        verdict = decide({"x": True}, [digest], point)
        assert [v.msg for v in verdict.violations] == [point.value]
        assert verdict.violations[0].file == f"{point}.rego"


def test_a_point_without_rules_is_noted(decide, publish):
    """When no set defines the point, it is allowed even under protection, and the record says why."""
    verdict = decide({}, [publish({"plan.rego": RULES})], Point.APPLY)
    assert verdict.outcome is Outcome.ALLOW
    assert verdict.notes == ("no rule for this point: no set that binds has one for apply",)


def test_a_protected_environment_judges_every_plan(decide, publish):
    """Sets that say nothing about plans are no policy on changes: under protection that is a deny, elsewhere a note."""
    trigger = publish({"p.rego": 'package mandamus.trigger\n\ndeny contains "no" if input.never\n'})
    held = decide({}, [trigger])
    assert (held.outcome, held.error.partition(": ")[0]) == (Outcome.DENY, "no_policy")
    assert "package mandamus.plan" in held.error
    assert decide({}, [trigger], protected=False).outcome is Outcome.ALLOW
    assert decide({}, [trigger], Point.TRIGGER).outcome is Outcome.ALLOW
    assert decide({}, [trigger, publish({"plan.rego": RULES})]).outcome is Outcome.ALLOW


def test_an_unprotected_environment_needs_no_policy(decide):
    """Without sets an unprotected environment is allowed with a note, a protected one is denied."""
    free = decide({}, [], protected=False)
    assert (free.outcome, free.error) == (Outcome.ALLOW, None)
    assert free.notes == ("no policy set: the environment is not protected",)
    for point in Point:
        held = decide({}, [], point)
        assert held.outcome is Outcome.DENY
        assert held.error.startswith("no_policy: a protected environment has no policy set")


def test_values_stay_exact(decide, publish):
    """Integers beyond 2**53, fractions and NULs reach the rule and the record without loss."""
    rules = """package mandamus.plan
deny contains {"msg": "exact", "meta": {"n": input.n + 1, "f": input.f, "s": input.s}} if {
	input.n > 9007199254740992
	input.s == "a\\u0000b"
	input.s != "a"
}
"""
    digest = publish({"p.rego": rules})
    document = {"n": 123456789012345678901234567890, "f": Decimal("1.10"), "s": "a\0b"}
    (violation,) = decide(document, [digest]).violations
    assert violation.meta == {"n": 123456789012345678901234567891, "f": Decimal("1.10"), "s": "a\0b"}
    assert str(violation.meta["f"]) == "1.10"
    assert decide({**document, "s": "a"}, [digest]).outcome is Outcome.ALLOW


def test_point_and_clock_are_not_the_callers(decide, publish):
    """A document cannot say which point it is or what time it is: the decision does."""
    rules = """package mandamus.plan
deny contains input.now if input.point == "plan"
deny contains "parsed" if time.parse_rfc3339_ns(input.now) == 1767225600000000000
"""
    verdict = decide({"point": "apply", "now": "1999-01-01T00:00:00Z"}, [publish({"p.rego": rules})])
    assert [v.msg for v in verdict.violations] == ["2026-01-01T00:00:00.000000Z", "parsed"]


def test_data_files_are_read(decide, publish):
    """`data.json` stands at the path of its folder, as in OPA."""
    files = {
        "data.json": '{"limits": {"max": 3}}',
        "regions/data.json": '{"allowed": ["eu-1"]}',
        "p.rego": "package mandamus.plan\n"
        'deny contains "many" if input.n > data.limits.max\n'
        'deny contains "where" if not input.region in data.regions.allowed\n',
    }
    digest = publish(files)
    assert decide({"n": 3, "region": "eu-1"}, [digest]).outcome is Outcome.ALLOW
    assert [v.msg for v in decide({"n": 4, "region": "us-1"}, [digest]).violations] == ["many", "where"]


def test_the_clock_is_the_recorded_one(decide, publish):
    """`time.now_ns` is the moment that stands in the input, in every rule of the set, so a replay is the same."""
    digest = publish(
        {
            "p.rego": 'package mandamus.plan\n\nimport data.lib\n\ndeny contains sprintf("%d", [lib.now]) if lib.now\n',
            "lib.rego": "package lib\n\nnow := time.now_ns()\n",
        }
    )
    verdict = decide({}, [digest])
    assert [violation.msg for violation in verdict.violations] == [str(verdict.at_us * 1000)]
