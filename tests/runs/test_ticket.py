"""The ticket that people act on: in the log, in the run, before policy, and in the evidence."""

from __future__ import annotations

from mandamus.evidence.brief import brief
from mandamus.evidence.page import render
from mandamus.kernel import canonical
from mandamus.runs.lifecycle import RunState
from mandamus.runs.model import Request

WANTED = """package mandamus.trigger

deny contains "name a ticket" if input.run.ticket == ""
"""
ASK = """package mandamus.plan

require_approval contains {"group": "platform", "count": 1, "msg": "look"}
"""
ANSWERED = """package mandamus.approval

deny contains "name a ticket" if input.approval.ticket == ""
"""


def test_a_policy_demands_a_ticket_and_evidence_shows_it(stage, tmp_path):
    """Who names none is denied; what is named is in the run, in its events and in the page of its bundle."""
    stage.policy(WANTED)
    (stage.project / "policy" / "more.rego").write_text(ASK)
    (stage.project / "policy" / "answers.rego").write_text(ANSWERED)
    stage.apply()
    stage.workflow("one: {act: {value: v}}")
    assert stage.ask().state is RunState.DENIED
    ada, grace = stage.house("ada", ticket="CHG-1234"), stage.house("grace", ticket="CHG-77")
    run = stage.drive(ada, ada.runs.request(ada.who, stage.project, Request("workflows/w.yaml", "dev", {})).id)
    assert (run.state, run.ticket) == (RunState.WAITING, "CHG-1234")
    grace.runs.approve(grace.who, run.id, reason="as agreed")
    assert stage.drive(grace, run.id).state is RunState.SUCCEEDED
    grace.audit.flush()
    leaves = [canonical.loads(leaf.bytes) for leaf in grace.audit.events(run.id)]
    named = {leaf["kind"]: leaf["data"]["ticket"] for leaf in leaves if "ticket" in leaf["data"]}
    assert (named["run.requested"], named["approval.recorded"]) == ("CHG-1234", "CHG-77")
    bundle = tmp_path / "bundle.zip"
    grace.evidence.export(grace.who, run.id, bundle)
    report, told = brief(bundle, grace.audit.vkey)
    assert report.ok
    shown = render(told)
    assert b"CHG-1234" in shown
    assert b"CHG-77" in shown
