"""What is found before publishing: paths that no input has, where they stand, and rules that cannot fire."""

from __future__ import annotations

import pytest

from mandamus.policy import bundle, check, profiles
from mandamus.policy.model import Options

PLAN = "package mandamus.plan\n\n"


@pytest.fixture(scope="module", autouse=True)
def any_input():
    """These tests are about the real inputs."""


@pytest.fixture
def told(write, pool):
    """Problems or warnings of a set as ``line:col code message-or-remedy``; a text is a module of the point plan."""

    def checked(files, options=None, *, warnings=False):
        files = {"a.rego": PLAN + files} if isinstance(files, str) else files
        options = options or Options()
        tree = bundle.read(write(files), options, profiles.find(options.profile).suffixes)
        found = check.check(tree, pool)
        return found.warnings if warnings else found.problems

    return checked


UNKNOWN = {
    "a misspelt key": (
        'deny contains "x" if input.changeset.changes[_].destructive',
        "3:22 `input.changeset` (did you mean `input.change_set.changes[_].destructive`?)",
    ),
    "in brackets": (
        'deny contains "x" if input["run"]["reson"] == ""',
        "3:22 `input.run.reson` (did you mean `input.run.reason`?)",
    ),
    "of another point": (
        'deny contains "x" if count(input.approvals) > 1',
        "3:28 `input.approvals` (it is given at apply, approval)",
    ),
    "an iteration forgotten": (
        'deny contains "x" if input.change_set.changes.address == "a"',
        "3:22 `input.change_set.changes.address` (did you mean `input.change_set.changes[_].address`?)",
    ),
    "below a text": (
        'deny contains "x" if input.run.id.number',
        "3:22 `input.run.id.number` (`input.run.id` has nothing beneath it)",
    ),
    "some in": (
        'deny contains "x" if {\n\tsome c in input.change_set.changes\n\tc.adress == "a"\n}',
        "5:2 `input.change_set.changes[_].adress` (did you mean `input.change_set.changes[_].address`?)",
    ),
    "some key, value in": (
        'deny contains "x" if {\n\tsome i, c in input.change_set.changes\n\ti > 1\n\tc.adress == "a"\n}',
        "6:2 `input.change_set.changes[_].adress` (did you mean `input.change_set.changes[_].address`?)",
    ),
    "every": (
        'deny contains "x" if {\n\tevery c in input.change_set.changes { c.adress == "a" }\n}',
        "4:40 `input.change_set.changes[_].adress` (did you mean `input.change_set.changes[_].address`?)",
    ),
    "an alias": (
        "deny contains who.nam if who := input.run.requester",
        "3:15 `input.run.requester.nam` (`input.run.requester` has user, authn, groups)",
    ),
    "an alias by unification": (
        'deny contains "x" if {\n\tinput.run.requester = who\n\twho.usr\n}',
        "5:2 `input.run.requester.usr` (did you mean `input.run.requester.user`?)",
    ),
    "an alias of an alias": (
        'deny contains "x" if {\n\trun := input.run\n\twho := run.requester\n\twho.usr\n}',
        "6:2 `input.run.requester.usr` (did you mean `input.run.requester.user`?)",
    ),
    "an index": (
        'deny contains "x" if {\n\tc := input.change_set.changes[i]\n\tinput.change_set.drift[i].typ == c.type\n}',
        "5:2 `input.change_set.drift[_].typ` (did you mean `input.change_set.drift[_].type`?)",
    ),
    "a comprehension": (
        'deny contains "x" if count([c | some c in input.change_set.changes; c.actions]) > 1',
        "3:69 `input.change_set.changes[_].actions` (did you mean `input.change_set.changes[_].action`?)",
    ),
    "a negation": (
        'deny contains "x" if not input.environment.protectd',
        "3:26 `input.environment.protectd` (did you mean `input.environment.protected`?)",
    ),
    "a template": (
        'deny contains $"{input.run.resn}" if input.point',
        "3:18 `input.run.resn` (did you mean `input.run.reason`?)",
    ),
    "an argument": (
        'deny contains "x" if startswith(input.run.work_flow, "a")',
        "3:33 `input.run.work_flow` (did you mean `input.run.workflow`?)",
    ),
    "else": (
        'deny contains x if x := word\n\nword := "a" if input.run.reason == "" else := input.run.resn',
        "5:47 `input.run.resn` (did you mean `input.run.reason`?)",
    ),
    "object.get": (
        'deny contains "x" if {\n\tinput.run.id\n\tobject.get(input.run, ["requestor", "user"], "") == ""\n}',
        "5:13 `input.run.requestor` (did you mean `input.run.requester.user`?)",
    ),
    "an import": (
        'import input.change_set as planned\n\ndeny contains "x" if planned.chnges',
        "5:22 `input.change_set.chnges` (did you mean `input.change_set.changes`?)",
    ),
    "what is imported": (
        'import input.changeset\n\ndeny contains "x" if changeset.a',
        "3:8 `input.changeset` (did you mean `input.change_set`?)",
    ),
    "the right one of two rules": (
        (
            'deny contains "x" if {\n\tsome c in [{"adress": 1}]\n\tc.adress\n}\n\n'
            'deny contains "x" if {\n\tsome c in input.change_set.changes\n\tc.adress\n}'
        ),
        "10:2 `input.change_set.changes[_].adress` (did you mean `input.change_set.changes[_].address`?)",
    ),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_a_path_that_no_input_has_is_found(told, case):
    """It is refused with the place of its mention and what was meant, however the rule comes by it."""
    rules, expected = UNKNOWN[case]
    found = [f"{p.line}:{p.col} {p.message.removesuffix(' is in no input')} ({p.remedy})" for p in told(rules)]
    assert found == [expected]


KNOWN = {
    "what people decide": "input.run.inputs.a.b\n\tinput.environment.vars.c\n\tinput.native.act.x",
    "attributes": "some c in input.change_set.changes\n\tc.after.tags.owner\n\tc.before[_].x\n\tc.scope.region",
    "a key that is computed": 'k := "never"\n\tinput[k]\n\tinput.run[k].x',
    "a run that may be missing": "input.run.requester.groups[_]",
    "a shadow": "c := input.run\n\tcount([c | some c in data.things; c.anything]) > 1",
    "declared again": "x := input.run\n\tcount([1 | some x; data.things[x]; x.y]) > 1",
    "an argument": "f({})",
    "another input": 'g with input as {"never": 1}',
    "a part of another input": "input.run.never with input.run as {}",
    "an object of one's own": 'run := {"never": 1}\n\trun.never',
    "a default": 'x := object.get(input.run, "reason", {"never": 1})\n\tx.never',
    "a text": 'x := "input.never"\n\tx == "input.never"',
}


@pytest.mark.parametrize("case", KNOWN)
def test_what_cannot_be_known_is_not_judged(told, case):
    """No alarm for open parts, computed keys, arguments, shadows and other inputs."""
    rules = f'deny contains "x" if {{\n\t{KNOWN[case]}\n}}\n\nf(x) if x.never\n\ng if h\n\nh if input.never\n'
    rules = rules if case == "another input" else rules.replace("h if input.never", "h if input.run")
    assert [str(p) for p in told(rules)] == []


def test_a_helper_may_read_what_any_point_has(told):
    """A package of its own is held against all points together; tests are not checked at all."""
    helper = "package lib\n\nx if input.approvals\n\ny if input.who.user\n\nz if input.change_set.nothing\n"
    test = 'package lib_test\n\nimport data.lib\n\ntest_x if not lib.x with input as {"approval": input.never}\n'
    found = told({"a.rego": PLAN + 'deny contains "x" if data.lib.x', "lib.rego": helper, "lib_test.rego": test})
    assert [(p.line, p.message) for p in found] == [(7, "`input.change_set.nothing` is in no input")]


def test_older_rego_is_checked_alike(told):
    """A v0 module's finding stands where its author wrote it."""
    found = told('deny[msg] {\n\tc := input.change_set.changes[_]\n\tc.adress\n\tmsg := "x"\n}')
    assert [(p.code, p.line, p.col) for p in found] == [("input_unknown", 5, 2)]


def test_a_foreign_profile_is_warned(told):
    """There a path that the profile's document has not at its top is a warning, and what lies deeper is not judged."""
    rules = 'package terraform\n\ndeny["x"] {\n\tinput.tfpan.x\n\tinput.tfplan.never\n}\n'
    options = Options(profile="scalr")
    assert told({"a.rego": rules}, options) == ()
    assert [(p.code, p.line, p.col, p.remedy) for p in told({"a.rego": rules}, options, warnings=True)] == [
        ("input_unknown", 4, 2, "did you mean `input.tfplan.x`?")
    ]
    anything = 'package main\n\ndeny["x"] {\n\tinput.never\n}\n'
    assert told({"a.rego": anything}, Options(profile="conftest"), warnings=True) == ()


SILENT = [
    'deny contains "x" if false',
    'deny contains "x" if {\n\tinput.run.id\n\t1 == 2\n}',
    'deny contains "x" if "a" != "a"',
    'deny contains "x" if 2 < 1',
    'deny contains "x" if not true',
    "deny contains x if some x in []",
    "deny := set()",
    'warn contains "x" if false\n\ndeny contains "x" if false',
    'deny contains "x" if false\n\ndeny contains "y" if 1 > 2',
]


@pytest.mark.parametrize("rules", SILENT)
def test_a_set_that_can_never_fire_is_refused(told, rules):
    """Constantly false bodies, nothing to iterate over and empty results: each rule is named with its line."""
    found = told(rules)
    assert {p.code for p in found} == {"rule_never_fires"}
    assert [p.line for p in found] == [
        n for n, line in enumerate((PLAN + rules).split("\n"), 1) if line[:4] in ("deny", "warn")
    ]


FIRES = [
    'deny contains "x"',
    'deny contains "x" if true',
    'deny contains "x" if not false',
    'deny contains "x" if 1 != 2',
    'deny contains "x" if null',
    'deny contains "x" if input.run.inputs.x == 1',
    'deny contains "x" if count([1 | false]) == 0',
    'deny contains "x" if {\n\tx := 1\n\tx == 1\n}',
    'deny contains "x" if false\n\ndeny contains "y" if input.run.id',
]


@pytest.mark.parametrize("rules", FIRES)
def test_a_set_that_can_fire_is_taken(told, rules):
    """There is no false alarm, and one rule that can fire is enough."""
    assert told(rules) == ()


def test_one_rule_of_several_that_cannot_fire_is_a_warning(told):
    """The set is published, and its author is told."""
    rules = 'deny contains "x" if input.run.id\n\nwarn contains "y" if false'
    assert told(rules) == ()
    assert [(p.code, p.line) for p in told(rules, warnings=True)] == [("rule_never_fires", 5)]


TEMPLATE = """apiVersion: templates.gatekeeper.sh/v1
kind: ConstraintTemplate
metadata:
  name: k
spec:
  crd:
    spec:
      names:
        kind: K
  targets:
    - target: admission.k8s.gatekeeper.sh
      rego: |
        package k

        violation[{"msg": "x"}] { false }
---
apiVersion: constraints.gatekeeper.sh/v1beta1
kind: K
metadata:
  name: ours
"""


def test_foreign_sets_that_can_never_fire_are_refused(told):
    """In every profile; an `else` that can still give something counts."""
    silent = "package main\n\ndeny[x] {\n\tfalse\n\tx := 1\n}\n"
    options = Options(profile="conftest")
    assert [p.code for p in told({"a.rego": silent}, options)] == ["rule_never_fires"]
    complete = 'package spacelift\n\ndeny["x"] { 1 == 2 }\n\nwarn = set()\n'
    assert [p.code for p in told({"a.rego": complete}, Options(profile="spacelift"))] == ["rule_never_fires"] * 2
    found = told({"a.yaml": TEMPLATE}, Options(profile="gatekeeper"))
    assert [(p.code, p.line) for p in found] == [("rule_never_fires", 15)]
    default = "package terraform\n\ndefault deny := false\n"
    assert [p.code for p in told({"a.rego": default}, Options(profile="scalr"))] == ["rule_never_fires"]
    other = (
        'package terraform\n\ndefault deny := false\n\ndeny := false if { false } else := {"x"} if input.tfrun.is_dry\n'
    )
    assert told({"a.rego": other}, Options(profile="scalr")) == ()
