"""Scalr policies run as they are: one file is one policy, `input.tfplan`, `input.tfrun` and its levels."""

import textwrap

import pytest

from mandamus.kernel.attachment import Attached, Level
from mandamus.kernel.errors import MandamusError
from mandamus.policy.model import Options, Outcome

SCALR = Options(profile="scalr")
BUCKET = {
    "address": "aws_s3_bucket.logs",
    "type": "aws_s3_bucket",
    "name": "logs",
    "mode": "managed",
    "provider_name": "registry.terraform.io/hashicorp/aws",
    "change": {"actions": ["create"], "before": None, "after": {"acl": "public-read", "tags": None}},
}
PLAN = {
    "terraform_version": "1.5.7",
    "resource_changes": [BUCKET],
    "configuration": {"root_module": {"module_calls": {"vpc": {"source": "terraform-aws-modules/vpc/aws"}}}},
}
RUN = {
    "id": "run_1",
    "workflow": "storage",
    "environment": "prod",
    "requester": {"user": "ada", "groups": ["platform"]},
    "inputs": {"branch": "feature"},
    "plan_only": False,
    "reason": "logs",
}

POLICIES = {
    "enforce_s3_private": """
        package terraform

        import input.tfplan as tfplan

        array_contains(arr, elem) { arr[_] = elem }

        deny[reason] {
          r = tfplan.resource_changes[_]
          r.type == "aws_s3_bucket"
          array_contains(["public-read", "public-read-write"], r.change.after.acl)
          reason := sprintf("%-40s :: is public", [r.address])
        }
    """,
    "required_tags": """
        package terraform

        import input.tfplan as tfplan

        required_tags = ["owner"]

        array_contains(arr, elem) { arr[_] = elem }

        get_tags(r) = tags { tags := r.change.after.tags; is_object(tags) } else = {} { true }

        deny[reason] {
          r := tfplan.resource_changes[_]
          array_contains(["create", "update"], r.change.actions[_])
          tag := required_tags[_]
          not get_tags(r)[tag]
          reason := sprintf("%s: no tag %q", [r.address, tag])
        }
    """,
    "workspace_name": """
        package terraform

        import input.tfrun as tfrun

        deny["workspaces of production need the prefix live-"] {
          endswith(tfrun.workspace.name, "-prod")
          not startswith(tfrun.workspace.name, "live-")
        }
    """,
    "allowed_provider": """
        package terraform

        deny contains msg if {
            some r in input.tfplan.resource_changes
            not r.provider_name in {"registry.terraform.io/hashicorp/google"}
            msg := concat(" ", [r.address, "is of another provider"])
        }
    """,
    "user": """
        package terraform

        import rego.v1

        deny contains "ada may not start runs" if input.tfrun.created_by.username == "ada"
    """,
    "modules": """
        package terraform

        deny[reason] {
          some name
          call := input.tfplan.configuration.root_module.module_calls[name]
          not call.version_constraint
          reason := sprintf("%s is not pinned", [name])
        }
    """,
    "main_only": """
        package terraform

        deny["apply from main alone"] {
          input.tfrun.is_dry == false
          input.tfrun.vcs.branch != "main"
        }
    """,
    "helpers": """
        package terraform

        import data.simple_rules

        deny[reason] {
          simple_rules.is_false(input.tfrun.workspace.auto_apply)
          simple_rules.not_empty(input.tfplan.resource_changes)
          reason := "nothing may change"
        }
    """,
}
FUNCTIONS = "package simple_rules\n\nis_false(x) { x == false }\n\nnot_empty(x) { count(x) > 0 }\n"
HARMLESS = {
    "native": {"terraform": {"resource_changes": [], "configuration": {}}},
    "change_set": {"changes": []},
    "run": {**RUN, "environment": "test", "requester": {"user": "grace"}, "inputs": {"branch": "main"}},
    "environment": {"name": "test", "vars": {}},
}


def plan_input(plan=PLAN):
    return {
        "native": {"terraform": plan},
        "change_set": {"changes": []},
        "run": RUN,
        "environment": {"name": "prod", "vars": {}},
    }


def text(name):
    return textwrap.dedent(POLICIES[name])


def listed(**levels):
    return "".join(f'policy "{n}" {{\n  enabled = true\n  enforcement_level = "{v}"\n}}\n' for n, v in levels.items())


@pytest.mark.parametrize("name", POLICIES)
def test_policy_denies_and_allows(publish, decide, name):
    """Each policy denies what it is about and lets a harmless run pass, in Rego v0 and v1."""
    files = {f"{name}.rego": text(name), "scalr-policy.hcl": 'version = "v1"\n' + listed(**{name: "hard-mandatory"})}
    made = publish({**files, "functions/simple_rules.rego": FUNCTIONS}, SCALR)
    denied = decide(plan_input(), [made])
    assert (denied.outcome, denied.error) == (Outcome.DENY, None)
    (found,) = denied.violations
    assert (found.rule, found.file) == (f"terraform.{name}.deny", f"{name}.rego")
    assert text(name).split("\n")[found.line - 1].startswith("deny")
    harmless = decide(HARMLESS, [made])
    assert (harmless.outcome, harmless.error) == (Outcome.ALLOW, None)


def test_policies_do_not_meet(publish, decide):
    """Files of one package are evaluated one by one, so that helpers of the same name can differ."""
    files = {
        "a.rego": 'package terraform\n\nlimit = 1\n\ndeny["a"] { limit == 1; data.terraform.limit == 1 }\n',
        "b.rego": 'package terraform\n\nlimit = 2\n\ndeny["b"] { limit == 2 }\n',
        "deep/b.rego": 'package terraform\n\nlimit = 3\n\ndeny["c"] { limit == 3 }\n',
    }
    verdict = decide(plan_input(), [publish(files, SCALR)])
    assert [(v.rule, v.msg) for v in verdict.violations] == [
        ("terraform.a.deny", "a"),
        ("terraform.b.deny", "b"),
        ("terraform.deep_b.deny", "c"),
    ]


def test_levels_of_policies(publish, decide):
    """A policy binds as its file says, never stricter than the set is attached; a switched off one is not asked."""
    files = {name: f'package terraform\n\ndeny["{name}"] {{ true }}\n' for name in ("a.rego", "b.rego", "c.rego")}
    files["d.rego"] = 'package terraform\n\ndeny["d.rego"] { true }\n'
    files["e.rego"] = 'package terraform\n\ndeny["e.rego"] { true }\n'
    levels = listed(a="advisory", b="soft-mandatory", c="hard-mandatory") + 'policy "d" {\n  enabled = false\n}\n'
    made = publish({**files, "scalr-policy.hcl": levels}, SCALR)
    verdict = decide(plan_input(), [Attached(made, override={"leads": 1})])
    assert [w.msg for w in verdict.warnings] == ["a.rego"]
    assert [v.msg for v in verdict.spared] == ["b.rego"]
    assert [v.msg for v in verdict.violations] == ["c.rego", "e.rego"]
    shadow = decide(plan_input(), [Attached(made, level=Level.SHADOW)], protected=False)
    assert shadow.outcome is Outcome.ALLOW


def test_nearest_file_says(publish, decide):
    """A folder's own file says how strictly its policies bind, before one above it."""
    files = {
        "x/a.rego": 'package terraform\n\ndeny["a"] { true }\n',
        "x/scalr-policy.hcl": listed(a="advisory"),
        "scalr-policy.hcl": listed(a="hard-mandatory"),
    }
    assert decide(plan_input(), [publish(files, SCALR)]).outcome is Outcome.ALLOW


def test_its_tests_are_no_policies(publish, decide):
    """Scalr's own tests lie beside the policies and are not evaluated."""
    tests = 'package terraform\n\ntest_it { count(deny) == 1 with input as {} }\n\ndeny["test"] { true }\n'
    files = {"a.rego": 'package terraform\n\ndeny["a"] { true }\n', "a_test.rego": tests, "b.test.rego": tests}
    assert [v.msg for v in decide(plan_input(), [publish(files, SCALR)]).violations] == ["a"]


@pytest.mark.parametrize("rule", ["deny = true { true }", 'deny = "a" { true }', 'deny = ["a"] { input.never }'])
def test_unknown_answers_are_denies(publish, decide, rule):
    """A policy that gives no collection is trouble."""
    verdict = decide(plan_input(), [publish({"a.rego": f"package terraform\n\n{rule}\n"}, SCALR)])
    assert verdict.outcome is Outcome.DENY
    assert "shape_invalid" in verdict.error or "undefined" in verdict.error


@pytest.mark.parametrize(
    ("levels", "told"),
    [
        ('policy "other" {\n}\n', "scalr-policy.hcl:1:1: policy_unknown"),
        ('policy "a" {\n  enforcement_level = "hard"\n}\n', "scalr-policy.hcl:2:1: level_unknown"),
        ('policy "a" {\n  enabled = "no"\n}\n', "scalr-policy.hcl:2:1: hcl_invalid"),
        ('policy "a" {\n', "scalr-policy.hcl:2:1: hcl_invalid"),
        ('policy "a" {\n  enabled = false\n}\n', "decision point"),
    ],
)
def test_file_that_says_nothing_right(publish, levels, told):
    """What is wrong in `scalr-policy.hcl` stops the publishing, with its line."""
    with pytest.raises(MandamusError) as raised:
        publish({"a.rego": 'package terraform\n\ndeny["a"] { true }\n', "scalr-policy.hcl": levels}, SCALR)
    assert told in raised.value.message
