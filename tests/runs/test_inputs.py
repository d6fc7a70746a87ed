"""What policy is really given at each decision point is what the published schema says."""

from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator

from mandamus.policy import schema
from mandamus.policy.model import Point
from mandamus.policy.service import Policy

RULES = {
    "plan": 'require_approval contains {"group": "platform", "count": 1, "msg": "look"}',
    "trigger": 'warn contains "asked" if input.run.workflow',
    "step": 'warn contains "asked" if input.step.attempt',
    "apply": 'warn contains "asked" if input.plan.binding',
    "approval": 'deny contains "grace is on holiday" if input.approval.by == "grace"',
    "access": 'deny contains "nobody cancels" if input.action == "run:cancel"',
}


@pytest.fixture
def given(stage, monkeypatch):
    """The inputs of all real decisions of a governed run with a refused approver and a refused cancel."""
    found = []
    decide = Policy.decide

    def noting(self, *args, **options):
        verdict = decide(self, *args, **options)
        found.append(json.loads(verdict.input))
        return verdict

    monkeypatch.setattr(Policy, "decide", noting)
    for point, rule in RULES.items():
        (stage.project / "policy" / f"{point}.rego").write_text(f"package mandamus.{point}\n\n{rule}\n")
    (stage.project / "policy" / "rules.rego").unlink()
    stage.apply()
    stage.workflow("one: {act: {value: 1}}")
    run = stage.ask()
    house = stage.house("ada")
    for refused in (lambda: stage.decide("grace", run), lambda: house.runs.cancel(house.who, run.id)):
        with pytest.raises(Exception, match=r"holiday|nobody cancels"):
            refused()
    stage.decide("joan", run)
    return found


def test_every_input_has_the_form_of_its_point(given):
    """Inputs of all six points are valid: with and without a run, with and without approvals."""
    assert {each["point"] for each in given} == set(Point)
    assert {each["run"] is None for each in given if each["point"] == "access"} == {True, False}
    assert any(each["approvals"] for each in given if each["point"] == "apply")
    for each in given:
        validator = Draft202012Validator(schema.of_point(each["point"]))
        assert [error.message for error in validator.iter_errors(each)] == []


def test_what_is_no_input_is_told(given):
    """The schemas are tight: a field more or less anywhere that the platform decides is not valid."""
    for each in given:
        validator = Draft202012Validator(schema.of_point(each["point"]))
        for where in (each, each["environment"], each.get("step"), each["run"], each.get("approval")):
            if where:
                where["unheard_of"] = 1
                assert not validator.is_valid(each)
                del where["unheard_of"]
        for name in list(each):
            assert not validator.is_valid({key: value for key, value in each.items() if key != name})
