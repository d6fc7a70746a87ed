"""What is said of an event, to programs and to people."""

from __future__ import annotations

import json

import pytest

from mandamus.audit.kinds import Kind
from mandamus.audit.placed import Place, Placed
from mandamus.notify.message import Messages

WAITS = {"requires": [{"group": "dba", "count": 2, "why": "private words"}, {"group": "", "count": 1}]}


@pytest.fixture
def say(clock):
    """Puts an event into words."""

    def said(kind: str, *, console: str = "", environment: str = "prod", **more):
        leaf = {
            "id": "evt_1",
            "kind": kind,
            "at": 1,
            "who": {"subject": "ada"},
            "what": {"type": "run", "id": "run_1"},
            "project": "ledger",
            "run": "run_1",
            "step": None,
            "why": "private words",
            "outcome": "ok",
            "authority": {"decisions": ["dec_1"], "approvals": []},
            "data": {},
        }
        placed = Placed({**leaf, **more}, environment, Place("log", 1, 1))
        return Messages(lambda: "log", lambda: console, lambda _run, _decision: "nothing may be public", clock).of(
            placed
        )

    return said


def test_an_approver_reads_who_asks_for_what(say):
    """Who asks, for which step, where, and how many of which group have to say yes, with a way to it."""
    made = say("step.waiting", console="https://m.example.com", step="apply", data=WAITS)
    assert made.text == (
        "ada asks for approval of step apply in prod: 2 of dba must say yes. "
        "See https://m.example.com/runs/run_1/steps/apply/decide"
    )
    assert made.body["data"]["groups"] == ["dba"]


def test_who_asked_reads_how_it_ended(say):
    """The state, and where policy denied it what policy says."""
    closed = {"data": {"state": "succeeded"}}
    assert (
        say("run.closed", **closed).text == "The run of ada in prod ended: succeeded. See `mandamus runs show run_1`."
    )
    denied = say("run.closed", outcome="denied", data={"state": "denied"})
    assert denied.text.startswith("The run of ada in prod ended: denied. Policy says: nothing may be public")
    assert denied.body["data"]["why"] == "nothing may be public"
    assert "Policy denied" in say("run.denied", outcome="denied").text


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_words(say, kind):
    """One or two sentences and a way; never what a person wrote, and always what is an event of which standard."""
    made = say(kind.text, data=WAITS if kind is Kind.STEP_WAITING else {})
    assert 20 < len(made.text) < 400
    assert "ada" in made.text or kind.text in {"step.moved", "breakglass.used"}
    assert "private words" not in json.dumps(made.to_json())
    assert made.body["type"] == f"mandamus.{kind.text}"
    assert made.body["data"]["text"] == made.text


def test_links_lead_to_pages_of_the_console(say):
    """Of a run its page, of an environment the list, of anything else its events."""
    console = "https://m.example.com/"
    assert say("run.closed", console=console).body["data"]["link"] == "https://m.example.com/runs/run_1"
    environment = {"run": None, "what": {"type": "environment", "id": "prod"}}
    assert say("environment.applied", console=console, **environment).body["data"]["link"].endswith("/environments")
    token = {"run": None, "what": {"type": "token", "id": "tok_1"}}
    assert say("token.created", console=console, **token).body["data"]["link"].endswith("/audit?kind=token.created")
    assert say("run.closed").body["data"]["link"] is None
