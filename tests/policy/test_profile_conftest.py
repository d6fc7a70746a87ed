"""Conftest policies run as they are: names, namespaces, exceptions and the native document."""

import textwrap

import pytest

from mandamus.kernel.attachment import Attached, Level
from mandamus.kernel.errors import MandamusError
from mandamus.policy.model import Options, Outcome

BUCKET = {
    "address": "aws_s3_bucket.logs",
    "mode": "managed",
    "type": "aws_s3_bucket",
    "name": "logs",
    "change": {"actions": ["create"], "before": None, "after": {"bucket": "logs", "acl": "public-read", "tags": {}}},
}
INSTANCE = {
    "address": "aws_instance.web",
    "mode": "managed",
    "type": "aws_instance",
    "name": "web",
    "change": {
        "actions": ["update"],
        "before": {"instance_type": "t3.small"},
        "after": {"instance_type": "m5.24xlarge", "tags": {"owner": "web"}},
    },
}
PLAN = {"format_version": "1.2", "resource_changes": [BUCKET, INSTANCE], "configuration": {}}

POLICIES = {
    "public_v1": """
        package main

        deny contains msg if {
            some r in input.resource_changes
            r.change.after.acl == "public-read"
            msg := sprintf("%s is public", [r.address])
        }
    """,
    "public_v0": """
        package main

        deny[msg] {
          r := input.resource_changes[_]
          r.change.after.acl == "public-read"
          msg := sprintf("%s is public", [r.address])
        }
    """,
    "violation_object_v0": """
        package main

        violation[{"msg": msg, "details": {"type": r.type}}] {
          r := input.resource_changes[_]
          r.type == "aws_s3_bucket"
          not r.change.after.tags.owner
          msg := sprintf("%s has no owner", [r.address])
        }
    """,
    "suffix_v1": """
        package main

        import rego.v1

        deny_large_instance contains msg if {
            some r in input.resource_changes
            endswith(r.change.after.instance_type, "24xlarge")
            msg := {"msg": "too large", "address": r.address}
        }
    """,
    "helper_v0": """
        package main

        is_public(r) = true { r.change.after.acl == "public-read" }

        blacklist = ["aws_s3_bucket"]

        deny_public[msg] {
          r := input.resource_changes[_]
          r.type == blacklist[_]
          is_public(r)
          msg = concat(" ", [r.address, "is public"])
        }
    """,
    "array_v1": """
        package main

        deny := [msg | some r in input.resource_changes; r.change.after.acl; msg := r.address]
    """,
    "library_v1": """
        package main

        import data.lib.tags

        deny contains msg if {
            some r in input.resource_changes
            not tags.owned(r)
            msg := sprintf("nobody owns %s", [r.address])
        }
    """,
    "format_v1": """
        package main

        deny contains "unknown plan format" if input.format_version == "1.2"
    """,
}
LIBRARY = "package lib.tags\n\nowned(r) if r.change.after.tags.owner\n"


@pytest.fixture
def conftest_set(publish):
    """Publish texts as a conftest set and give its digest."""

    def published(texts, **options):
        files = {f"{name}.rego": textwrap.dedent(text) for name, text in texts.items()}
        return publish(files, Options(profile="conftest", **options))

    return published


def plan_input(plan=PLAN):
    return {"native": {"terraform": plan}, "change_set": {"changes": []}, "run": {}, "environment": {"name": "prod"}}


@pytest.mark.parametrize("name", POLICIES)
def test_policy_denies_and_allows(conftest_set, decide, name):
    """Each policy denies what it is about and lets a harmless plan pass, in Rego v0 and v1."""
    texts = {name: POLICIES[name]} | ({"lib": LIBRARY} if name.startswith("library") else {})
    made = conftest_set(texts)
    denied = decide(plan_input(), [made])
    assert (denied.outcome, denied.error) == (Outcome.DENY, None)
    assert denied.violations[0].file == f"{name}.rego"
    harmless = decide(plan_input({"format_version": "1.1", "resource_changes": []}), [made])
    assert (harmless.outcome, harmless.error) == (Outcome.ALLOW, None)


def test_warning_denies_nothing(conftest_set, decide):
    """`warn` and `warn_*` are recorded and shown, and change nothing."""
    made = conftest_set({"a": 'package main\nwarn contains "old" if true\nwarn_x contains {"msg": "older"} if true\n'})
    verdict = decide(plan_input(), [made])
    assert verdict.outcome is Outcome.ALLOW
    assert sorted(w.msg for w in verdict.warnings) == ["old", "older"]


def test_line_and_keys_of_a_violation(conftest_set, decide):
    """A violation names the rule's own line, and keys beside `msg` are kept as data."""
    text = 'package main\n\ndeny[msg] { input.nothing; msg := "a" }\n\ndeny[{"msg": "b", "meta": 5}] { true }\n'
    verdict = decide(plan_input(), [conftest_set({"a": text})])
    (found,) = verdict.violations
    assert (found.file, found.line, found.msg, found.meta) == ("a.rego", 5, "b", {"meta": 5})


EXCEPTED = """
    package main

    deny_public[msg] {
      input.resource_changes[_].change.after.acl == "public-read"
      msg := "public"
    }

    violation_size[msg] {
      input.resource_changes[_].change.after.instance_type == "m5.24xlarge"
      msg := "large"
    }

    exception[rules] {
      input.resource_changes[_].name == "logs"
      rules := ["public"]
    }
"""


def test_exception_excepts_by_suffix(conftest_set, decide):
    """An exception spares the rules it names without their prefix, where it applies, and no other."""
    made = conftest_set({"a": EXCEPTED})
    assert [v.msg for v in decide(plan_input(), [made]).violations] == ["large"]
    other = {**PLAN, "resource_changes": [{**BUCKET, "name": "other"}]}
    assert [v.msg for v in decide(plan_input(other), [made]).violations] == ["public"]


def test_exception_for_the_bare_rule(conftest_set, decide):
    """The empty text in an exception is about the rules that have no suffix."""
    text = 'package main\ndeny contains "a" if true\ndeny_b contains "b" if true\nexception contains [""] if true\n'
    assert [v.msg for v in decide(plan_input(), [conftest_set({"a": text})]).violations] == ["b"]


def test_namespaces(conftest_set, decide):
    """`main` is asked unless namespaces are named; `*` asks all."""
    texts = {
        "a": 'package main\ndeny contains "main" if true\n',
        "b": 'package team.storage\ndeny contains "storage" if true\n',
    }
    assert [v.msg for v in decide(plan_input(), [conftest_set(texts)]).violations] == ["main"]
    named = conftest_set(texts, namespaces=("team.storage",))
    assert [v.msg for v in decide(plan_input(), [named]).violations] == ["storage"]
    every = conftest_set(texts, namespaces=("*",))
    assert sorted(v.msg for v in decide(plan_input(), [every]).violations) == ["main", "storage"]


def test_no_rule_that_is_asked(conftest_set):
    """A set in which no namespace has a rule to ask is not published."""
    with pytest.raises(MandamusError, match="decision point"):
        conftest_set({"a": 'package other\ndeny contains "x" if true\n'})
    with pytest.raises(MandamusError, match="decision point"):
        conftest_set({"a": 'package main\ndenied contains "x" if true\ndeny(x) := x\n'})


@pytest.mark.parametrize(
    "rule",
    [
        "deny := true",
        'deny := "text"',
        "deny contains 7 if true",
        'deny contains {"message": "x"} if true',
        'deny contains "" if true',
        "deny := null",
        'deny := {"a": "b"}',
        'deny["x"] := "y" if true',
    ],
)
def test_unknown_shape_is_a_deny(conftest_set, decide, rule):
    """What conftest would pass over in silence is trouble here, never an allow."""
    verdict = decide(plan_input(), [conftest_set({"a": f"package main\n\n{rule}\n"})])
    assert verdict.outcome is Outcome.DENY
    assert "shape_invalid" in verdict.error


@pytest.mark.parametrize("rule", ["deny := false", 'deny := ["x"] if input.nothing', "deny := []", "deny := {}"])
def test_rule_that_says_nothing_passes(conftest_set, decide, rule):
    """A complete rule that is false, empty or undefined says nothing."""
    made = conftest_set({"a": f'package main\n\n{rule}\n\ndeny_b contains "b" if input.never\n'})
    assert decide(plan_input(), [made]).outcome is Outcome.ALLOW


def test_other_tools_show_their_own_document(conftest_set, decide):
    """Without a native plan the change set is the input; without either nobody is let through."""
    made = conftest_set({"a": "package main\ndeny contains c.address if { some c in input.changes }\n"})
    document = {"native": {}, "change_set": {"changes": [{"address": "POST /users"}]}}
    assert [v.msg for v in decide(document, [made]).violations] == ["POST /users"]
    http = {"native": {"http": {"changes": [{"address": "its own"}]}}, "change_set": {"changes": []}}
    assert [v.msg for v in decide(http, [made]).violations] == ["its own"]
    assert "undefined" in decide({"native": {}}, [made]).error


def test_recorded_clock(conftest_set, decide):
    """`time.now_ns` is the recorded clock for rules and for exceptions."""
    text = """
        package main
        deny_a contains sprintf("%d", [time.now_ns()]) if true
        deny_b contains "b" if true
        exception contains ["b"] if time.now_ns() == 1767225600000000000
    """
    verdict = decide(plan_input(), [conftest_set({"a": text})])
    assert [v.msg for v in verdict.violations] == ["1767225600000000000"]


def test_set_that_is_tried_out_binds_nobody(conftest_set, decide):
    """A foreign set can be attached as a shadow like any other."""
    made = conftest_set({"a": POLICIES["public_v1"]})
    verdict = decide(plan_input(), [Attached(made, level=Level.SHADOW)], protected=False)
    assert verdict.outcome is Outcome.ALLOW
    assert [v.msg for v in verdict.spared] == ["aws_s3_bucket.logs is public"]
