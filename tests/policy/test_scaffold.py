"""The policy that ``mandamus init`` writes: it compiles, and says what its comments promise."""

from __future__ import annotations

import pytest

from mandamus.catalog import scaffold
from mandamus.policy.model import Outcome


@pytest.fixture
def rules(tmp_path, policy, sqlite_database, who):
    """The published set of a new project."""
    scaffold.write(tmp_path, scaffold.files("ada", terraform=True))
    folder = tmp_path / "policies" / "base"
    assert policy.problems(policy.read(folder)) == []
    with sqlite_database.begin("publish") as tx:
        return policy.publish(tx, who, policy.read(folder)).digest


def plan(*, protected: bool, executor: str = "terraform", **change: object) -> dict[str, object]:
    made = {"address": "terraform_data.bucket", "destructive": False, "after": {"input": {"public": False}}, **change}
    return {
        "environment": {"name": "prod", "protected": protected},
        "step": {"name": "bucket", "executor": executor},
        "change_set": {"changes": [made]},
    }


def test_a_public_bucket_is_denied_everywhere(decide, rules):
    """With the line of the rule and the remedy a newcomer will see first."""
    verdict = decide(plan(protected=False, after={"input": {"public": True}}), [rules], protected=False)
    assert verdict.outcome is Outcome.DENY
    (violation,) = verdict.violations
    assert (violation.file, violation.msg, violation.remedy) == (
        "plan.rego",
        "terraform_data.bucket is public",
        "set public: false",
    )
    assert scaffold.files("x")["policies/base/plan.rego"].splitlines()[violation.line - 1].startswith("deny contains")


def test_nothing_is_destroyed_where_it_matters(decide, rules):
    """In a protected environment a destructive change is denied, elsewhere it is not."""
    assert decide(plan(protected=True, destructive=True), [rules]).outcome is Outcome.DENY
    assert decide(plan(protected=False, destructive=True), [rules], protected=False).outcome is Outcome.ALLOW


def test_others_look_at_infrastructure(decide, rules):
    """A protected environment asks one of its own approvers for a terraform step, and nobody for a script."""
    verdict = decide(plan(protected=True), [rules])
    assert verdict.outcome is Outcome.NEEDS_APPROVAL
    assert [(need.group, need.count) for need in verdict.requires] == [("", 1)]
    assert decide(plan(protected=True, executor="script"), [rules]).outcome is Outcome.ALLOW
