"""HCP Terraform policies run as they are: queries, levels, `input.plan` and `input.run`."""

import textwrap

import pytest

from mandamus.kernel.attachment import Attached, Level
from mandamus.kernel.errors import MandamusError
from mandamus.policy import hcl
from mandamus.policy.model import Options, Outcome, Query

HCP = Options(profile="hcp")
RULE = {
    "address": "aws_security_group_rule.ssh",
    "type": "aws_security_group_rule",
    "name": "ssh",
    "mode": "managed",
    "change": {"actions": ["create"], "after": {"type": "ingress", "from_port": 22, "cidr_blocks": ["0.0.0.0/0"]}},
}
DATABASE = {
    "address": "aws_db_instance.ledger",
    "type": "aws_db_instance",
    "name": "ledger",
    "mode": "managed",
    "change": {"actions": ["delete"], "before": {"storage_encrypted": False}, "after": None},
}
PLAN = {"resource_changes": [RULE, DATABASE], "terraform_version": "1.9.0"}
RUN = {
    "id": "run_1",
    "workflow": "network",
    "environment": "prod",
    "requester": {"user": "ada", "groups": ["platform"]},
    "inputs": {"region": "us-east-1"},
    "plan_only": False,
    "project": None,
    "reason": "open ssh",
}
ENVIRONMENT = {"name": "prod", "protected": True, "vars": {"labels": "critical, network"}}

POLICIES = {
    "public_ingress": """
        package terraform.policies.public_ingress

        import input.plan as tfplan

        deny[msg] {
          r := tfplan.resource_changes[_]
          r.type == "aws_security_group_rule"
          r.change.after.cidr_blocks[_] == "0.0.0.0/0"
          msg := sprintf("%v is open to the world", [r.address])
        }
    """,
    "no_delete": """
        package terraform.policies.no_delete

        import rego.v1

        deny contains msg if {
            some r in input.plan.resource_changes
            "delete" in r.change.actions
            msg := sprintf("%s would be deleted", [r.address])
        }
    """,
    "objects": """
        package terraform.policies.objects

        deny contains {"address": r.address, "actions": r.change.actions} if {
            some r in input.plan.resource_changes
            r.change.actions != ["no-op"]
        }
    """,
    "array": """
        package terraform.policies.array

        deny := [r.address | some r in input.plan.resource_changes]
    """,
    "workspace": """
        package terraform.policies.workspace

        deny contains "a production workspace cannot be changed by this policy" if {
            endswith(input.run.workspace.name, "-prod")
            "critical" in input.run.workspace.tags
        }
    """,
    "region": """
        package terraform.policies.region

        allowed = {"eu-central-1"}

        deny[msg] {
          region := input.run.variables.region.value
          not allowed[region]
          msg := sprintf("%v is no region of ours", [region])
        }
    """,
    "message": """
        package terraform.policies.message

        deny contains "say which ticket" if not regex.match(`[A-Z]+-[0-9]+`, input.run.message)
    """,
    "creator": """
        package terraform.policies.creator

        deny[{"message": "ada may not", "reason": "rule 7"}] {
          input.run.created_by.username == "ada"
        }
    """,
}
HARMLESS = {
    "change_set": {"changes": []},
    "native": {"terraform": {"resource_changes": []}},
    "run": {**RUN, "environment": "test", "inputs": {}, "reason": "OPS-1", "requester": {"user": "grace"}},
    "environment": {"name": "test", "vars": {}},
}


def plan_input(plan=PLAN):
    native = {} if plan is None else {"terraform": plan}
    changes = [
        {"address": "POST /rules", "type": "http", "name": "rules", "action": "create", "after": {"open": True}},
        {"address": "DELETE /users", "type": "http", "name": "users", "action": "delete", "after": None},
    ]
    return {"native": native, "change_set": {"changes": changes}, "run": RUN, "environment": ENVIRONMENT}


def dedented(texts):
    return {f"{name}.rego": textwrap.dedent(text) for name, text in texts.items()}


def listed(*names, level="mandatory"):
    blocks = [
        f'policy "{name}" {{\n  query = "data.terraform.policies.{name}.deny"\n  enforcement_level = "{level}"\n}}\n'
        for name in names
    ]
    return "\n".join(blocks)


@pytest.mark.parametrize("name", POLICIES)
def test_policy_denies_and_allows(publish, decide, name):
    """Each policy denies what it is about and lets a harmless run pass, in Rego v0 and v1."""
    made = publish({**dedented({name: POLICIES[name]}), "policies.hcl": listed(name)}, HCP)
    denied = decide(plan_input(), [made])
    assert (denied.outcome, denied.error) == (Outcome.DENY, None)
    assert (denied.violations[0].file, denied.violations[0].line > 1) == (f"{name}.rego", True)
    harmless = decide(HARMLESS, [made])
    assert (harmless.outcome, harmless.error) == (Outcome.ALLOW, None)


def test_levels_of_policies(publish, decide):
    """An advisory policy warns; a mandatory one is as strict as the set is attached, and can be overridden then."""
    files = {
        **dedented({name: POLICIES[name] for name in ("public_ingress", "no_delete")}),
        "policies.hcl": listed("public_ingress", level="advisory") + listed("no_delete"),
    }
    made = publish(files, HCP)
    verdict = decide(plan_input(), [made])
    assert [w.rule for w in verdict.warnings] == ["terraform.policies.public_ingress.deny"]
    assert [(v.rule, v.level) for v in verdict.violations] == [("terraform.policies.no_delete.deny", Level.HARD)]
    soft = decide(plan_input(), [Attached(made, level=Level.SOFT, override={"leads": 2})])
    assert (soft.outcome, [(r.group, r.count, r.override) for r in soft.requires]) == (
        Outcome.NEEDS_APPROVAL,
        [("leads", 2, True)],
    )
    shadow = decide(plan_input(), [Attached(made, level=Level.SHADOW)], protected=False)
    assert shadow.outcome is Outcome.ALLOW


def test_queries_of_the_platform(publish, decide):
    """Queries can be named in the platform file instead; the same rule at two levels is as strict as the stricter."""
    query = 'data.terraform.policies["no_delete"].deny'
    queries = (Query("advice", query, Level.ADVISORY), Query("rule", query, None), Query("late", query, Level.SHADOW))
    made = publish(dedented({"a": POLICIES["no_delete"]}), Options(profile="hcp", queries=queries))
    assert decide(plan_input(), [made]).outcome is Outcome.DENY


def test_members_without_message_are_shown(publish, decide):
    """An object without a message is shown as JSON and kept as data."""
    made = publish({**dedented({"objects": POLICIES["objects"]}), "policies.hcl": listed("objects")}, HCP)
    found = decide(plan_input({"resource_changes": [RULE]}), [made]).violations
    assert [(v.msg, v.address, v.meta) for v in found] == [
        (
            '{"actions":["create"],"address":"aws_security_group_rule.ssh"}',
            "aws_security_group_rule.ssh",
            {"actions": ["create"]},
        )
    ]


def test_other_tools_are_seen_as_a_plan(publish, decide):
    """What another tool would change has the shape of a plan, so that a policy sees it; without both it is a deny."""
    made = publish({**dedented({"a": POLICIES["no_delete"]}), "policies.hcl": listed("no_delete")}, HCP)
    assert [v.msg for v in decide(plan_input(None), [made]).violations] == ["DELETE /users would be deleted"]
    bare = decide({"run": RUN, "environment": ENVIRONMENT}, [made])
    assert "undefined" in bare.error


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ('deny := ["x"] if input.never', "undefined"),
        ("deny := true", "shape_invalid"),
        ('deny := "text"', "shape_invalid"),
        ('deny := {"a": 1}', "shape_invalid"),
        ("deny contains 1 / count(input.plan.resource_changes) if true", "eval_error"),
    ],
)
def test_unknown_answers_are_denies(publish, decide, rule, fault):
    """A query must give a collection: an undefined or other result is trouble."""
    text = f"package terraform.policies.a\n\n{rule}\n"
    made = publish({"a.rego": text, "policies.hcl": listed("a")}, HCP)
    verdict = decide(plan_input({"resource_changes": []}), [made])
    assert verdict.outcome is Outcome.DENY
    assert fault in verdict.error


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('policy "a" {\n  query = "data.other.deny"\n}\n', "policies.hcl:1:1: query_unknown"),
        ('policy "a" {\n  query = "data.x[_]"\n}\n', "policies.hcl:2:1: query_invalid"),
        ('policy "a" {\n}\n', "policies.hcl:1:1: query_invalid: the policy has no query"),
        ('policy "a" {\n  query = "data.a.deny"\n  enforcement_level = "hard"\n}\n', "policies.hcl:3:1: level_unknown"),
        ('policy "a" {\n  query = upper("x")\n}\n', "policies.hcl:2:1: hcl_invalid"),
        ("", "decision point"),
    ],
)
def test_file_that_says_nothing_right(publish, text, told):
    """What is wrong in `policies.hcl` stops the publishing, with its line."""
    with pytest.raises(MandamusError) as raised:
        publish({"a.rego": "package a\n\ndeny contains 1 if false\n", "policies.hcl": text}, HCP)
    assert told in raised.value.message


def test_reader_of_hcl():
    """Attributes, lists, labels and comments of HCL are read; all else is refused with its line."""
    text = """
        # one
        version = "v1" // two
        /* three
           four */
        numbers = [1, 2.5, -3,
                   ]
        policy "a" b { on = true }
        policy c {
          text = "say \\"no\\" for $${x}"
        }
    """
    read = hcl.parse(text)
    assert read.values == {"version": "v1", "numbers": [1, 2.5, -3]}
    assert [(b.labels, b.line, dict(b.values)) for b in read.blocks] == [
        (("a", "b"), 8, {"on": True}),
        (("c",), 9, {"text": 'say "no" for $${x}'}),
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1\na = 2\n", 2),
        ("a {\n", 2),
        ("}\n", 1),
        ('a = "${x}"\n', 1),
        ("a = <<EOT\nx\nEOT\n", 1),
        ("a = 1 2\n", 1),
        ("a = [1 2]\n", 1),
        ("a\n", 1),
        ("= 1\n", 1),
        ('a = "\\x"\n', 1),
        ("\na = f(x)\n", 2),
    ],
)
def test_reader_of_hcl_refuses(text, line):
    """What the reader does not understand it refuses, and never guesses."""
    with pytest.raises(hcl.HclError) as raised:
        hcl.parse(text)
    assert raised.value.line == line
