"""Policies, environments and audit: what judges where and why, who holds what, and what the log proves."""

from __future__ import annotations

import csv
import io
import json
import re
from html import unescape

import pytest

from mandamus.kernel.ids import RunId
from mandamus.policy.model import Wanted
from mandamus.web.audit import _cell


def decision(place, run: str) -> str:
    """The page of the decision that denied a run's plan."""
    found = place.house.policy.decisions(place.house.who, RunId(run))
    return f"/policies/decisions/{next(each.id for each in found if each.verdict.violations)}"


def test_a_set_says_where_it_judges(visit, runs):
    """Its versions, and each environment with the level; its text stands there to be read."""
    client = visit("grace")
    assert 'href="/policies/sets/policy"' in client.get("/policies").text
    text = client.get("/policies/sets/policy").text
    for words in (
        'href="/environments/dev"',
        'href="/environments/guarded"',
        "hard-mandatory",
        "nothing may be public",
    ):
        assert words in text
    assert client.get("/policies/sets/none").status_code == 404
    assert client.get("/policies/sets/policy?version=sha256:" + "0" * 64).status_code == 404


def test_a_decision_explains_itself(place, visit, runs):
    """The recorded input is asked again: which rule was true, at which line, and nothing is otherwise than recorded."""
    client, address = visit("ada"), decision(place, runs["denied"])
    assert f'href="{address}/explain"' in client.get(address).text
    text = client.get(f"{address}/explain").text
    assert re.search(r'<span class="tag ok">true</span> <code>deny</code> at <code>rules.rego:3', text)
    assert "gives something else now" not in text


def test_a_back_test_is_started_and_read_on_a_page(place, visit, runs):
    """A version is tried on all that its set decided; the page tells how far it is, and then every kind of flip."""
    client = visit("owner")
    address = "/policies/sets/policy/backtest"
    text = client.get(address).text
    candidate = re.search(r'<option value="(sha256:[0-9a-f]{64})"', text)[1]
    assert client.post(address, data={"candidate": candidate, "days": "5"}).status_code == 422
    assert client.post(address, data={"candidate": "sha256:x", "days": "7"}).status_code == 404
    begun = client.post(address, data={"candidate": candidate, "days": "7", "environment": "dev", "point": ""})
    assert begun.headers["location"] == f"{address}?candidate={candidate}"
    trial = client.app.state.trials.find("policy", candidate)
    while not trial.over:
        client.get(f"{address}?part=1")
    text = client.get(begun.headers["location"]).text
    assert "deny-to-allow" in text
    assert "No decision would have come out otherwise" in text
    found = place.house.policy.page(place.house.who, Wanted(environment="dev"), before=None, limit=200)
    assert re.search(rf"{len(found)} decisions replayed", text)
    assert client.app.state.trials.find("policy", "another") is None


def test_one_back_test_runs_at_a_time(visit):
    """It takes every core: a second one is refused."""
    client = visit("owner")
    address = "/policies/sets/policy/backtest"
    candidate = re.search(r'<option value="(sha256:[0-9a-f]{64})"', client.get(address).text)[1]
    began = client.app.state.trials
    trial = began.find("policy", candidate)
    if trial is None:
        began.start("policy", candidate, lambda _listener: None)
        trial = began.find("policy", candidate)
    while not trial.over:
        client.get("/policies")
    trial.over = False
    answer = client.post(address, data={"candidate": candidate, "days": "7"})
    trial.over = True
    assert (answer.status_code, "runs already" in answer.text) == (409, True)


def test_exemptions_say_who_why_and_until_when(place, visit):
    """On a page of their own and on that of their environment; what has ended is shown on request."""
    house = place.house
    until_us = house.clock.now_us() + 3_600_000_000
    made = house.policy.exemptions.grant(
        house.who, "guarded", "guard", "mandamus.plan.deny", why="<b>moving</b> house", until_us=until_us
    )
    client = visit("grace")
    for path in ("/policies/exemptions", "/environments/guarded"):
        text = client.get(path).text
        assert "&lt;b&gt;moving&lt;/b&gt; house" in text
        assert re.search("in (1 hour|59 minutes)<", text)
    house.policy.exemptions.end(house.who, made.id)
    assert made.id not in client.get("/policies/exemptions").text
    assert "taken back" in client.get("/policies/exemptions?ended=1").text


def test_an_environment_says_who_holds_its_states(place, visit, runs):
    """And what was deployed last by whom, how it is protected, and what steps are given, but no secret."""
    client, states = visit("grace"), place.house.rooms.states
    text = client.get("/environments/dev").text
    for words in (
        "No step holds a state",
        f'href="/runs/{place.run()}"',
        "3600 seconds",
        "required",
        "mandamus env show",
    ):
        assert words in (text if "run_" not in words else client.get("/environments/dev").text)
    assert re.search(r'last deployed: <a href="/runs/run_\w+">deploy</a> by <strong>ada</strong>', text)
    with place.house.rooms.db.begin("test") as tx:
        states.acquire(tx, "dev", "network", runs["waiting"], "change")
    text = client.get("/environments/dev").text
    assert re.search(rf'<a class="whole" href="/runs/{runs["waiting"]}"><span class="name">network', text)
    with place.house.rooms.db.begin("test") as tx:
        states.release(tx, "dev", "network", runs["waiting"], "change")
    assert client.get("/environments/none").status_code == 404


def test_what_is_found_in_the_log_can_be_kept(place, visit, runs):
    """As whole leaves or as a table, as an attachment, with the filters of the address; each download is an event."""
    client = visit("owner")
    asked = {"run": runs["denied"], "since": "2020-01-01"}
    page = client.get("/audit", params=asked).text
    link = unescape(re.search(r'href="(/audit/export\?[^"]*format=ndjson)"', page)[1])
    answer = client.get(link)
    found = [json.loads(line) for line in answer.text.splitlines()]
    assert {each["leaf"]["run"] for each in found} == {runs["denied"]}
    assert [each["index"] for each in found] == sorted((each["index"] for each in found), reverse=True)
    assert answer.headers["content-disposition"] == 'attachment; filename="audit.ndjson"'
    table = list(csv.DictReader(io.StringIO(client.get(link.replace("ndjson", "csv")).text)))
    assert [int(row["index"]) for row in table] == [each["index"] for each in found]
    assert "run.denied" in {row["kind"] for row in table} or "step.finished" in {row["kind"] for row in table}
    told = client.get("/audit", params={"kind": "audit.read", "text": ""}).text
    assert runs["denied"] in told or "log" in told
    assert client.get("/audit/export", params={"format": "exe"}).status_code == 422
    assert client.get("/audit", params={"since": "yesterday"}).status_code == 422
    assert client.get("/audit", params={"until": "2020-01-01"}).text.count('class="row"') == 0


def test_an_export_says_when_it_is_a_part(visit, monkeypatch):
    """More than fits is not passed over in silence."""
    monkeypatch.setattr("mandamus.web.audit.EXPORT_MAX", 5)
    monkeypatch.setattr("mandamus.web.audit.LIMIT_MAX", 3)
    answer = visit("owner").get("/audit/export")
    assert 'filename="audit-part.ndjson"' in answer.headers["content-disposition"]
    assert len(answer.text.splitlines()) == 6


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_cell_is_no_formula(text):
    """Whatever somebody wrote as a reason."""
    assert _cell(text) == f"'{text}"
    assert _cell("plain = text") == "plain = text"


def test_the_log_says_how_it_stands(place, visit):
    """The newest checkpoint is on the page and can be kept; who has seen it outside is told, or that nobody has."""
    client = visit("owner")
    text = client.get("/audit").text
    assert re.search(r"newest checkpoint</th><td>\d+ leaves, signed <time", text)
    assert "none has cosigned it lately" in text
    note = client.get("/audit/checkpoint")
    assert note.text.splitlines()[0] == place.house.audit.origin
    assert note.headers["content-disposition"].startswith("attachment")
