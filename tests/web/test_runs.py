"""The pages of runs: filters and pages of the list, what was printed, and who may look at it."""

from __future__ import annotations

import asyncio
import re
import types

from mandamus.kernel.ids import RunId
from mandamus.web import live
from mandamus.web.door import Visit


def rows(text: str) -> list[str]:
    """The runs that a page lists."""
    return re.findall(r'class="whole" href="/runs/(run_[0-9a-z]{26})"', text)


def decisions(place, run: str) -> int:
    """How often policy was asked about a run."""
    return len(place.house.policy.decisions(place.house.who, RunId(run)))


def test_the_filter_stands_in_the_address(visit, runs):
    """State, environment, project, workflow and requester; the form shows what is chosen."""
    client = visit("grace")
    text = client.get("/runs", params={"state": "waiting", "environment": "dev", "requester": "ada"}).text
    assert runs["waiting"] in rows(text)
    assert runs["denied"] not in rows(text)
    assert "<option selected>waiting</option>" in text
    assert 'value="ada"' in text
    assert rows(client.get("/runs", params={"workflow": "none"}).text) == []
    assert client.get("/runs", params={"state": "none"}).status_code == 422


def test_the_list_goes_on(visit, runs, monkeypatch):
    """Page by page, newest first, nothing twice and nothing left out, with the filter kept."""
    monkeypatch.setattr("mandamus.web.runs.LIMIT", 2)
    client, address, seen = visit("grace"), "/runs?requester=ada", []
    while address:
        text = client.get(address).text
        seen += rows(text)
        found = re.search(r'rel="next" href="([^"]+)"', text)
        address = "/runs" + found[1].replace("&amp;", "&") if found else ""
        assert "requester=ada" in address or not address
    assert seen == sorted(set(seen), reverse=True)
    assert set(runs.values()) <= set(seen)


def test_a_denial_says_rule_line_and_remedy(visit, runs):
    """On the page of the run, at one glance."""
    text = visit("ada").get(f"/runs/{runs['denied']}").text
    for words in ("nothing may be public", "ask again with public=false", "mandamus.plan.deny", "rules.rego:3"):
        assert words in text


def test_a_run_that_is_over_asks_for_no_script(visit, runs):
    """Its page never changes again; that of another follows it by one stream."""
    client = visit("ada")
    assert "htmx" not in re.sub(r"htmx-config", "", client.get(f"/runs/{runs['succeeded']}").text)
    text = client.get(f"/runs/{runs['waiting']}").text
    assert text.count("hx-sse:connect=") == 1


def test_nobody_looks_at_guarded_output_by_the_way(place, visit):
    """Where policy is asked about each look, a run's page shows none; whoever may not look is refused, on record."""
    run = place.run(environment="guarded")
    before = decisions(place, run)
    for user in ("ada", "grace"):
        page = visit(user).get(f"/runs/{run}")
        assert page.status_code == 200
        assert 'class="log"' not in page.text
    assert decisions(place, run) == before
    assert visit("grace").get(f"/runs/{run}/steps/change/log").status_code == 200
    assert decisions(place, run) == before + 1
    refused = visit("ada").get(f"/runs/{run}/steps/change/log")
    assert refused.status_code == 403
    assert "only grace reads what is printed here" in refused.text
    denied = visit("owner").get("/audit", params={"kind": "access.denied", "actor": "ada"})
    assert "run:read_log" in denied.text


def test_a_stream_ends_with_its_session(place, visit, runs, monkeypatch):
    """Whoever is signed out, or is no user any more, is told nothing more."""
    monkeypatch.setattr(live, "CHECK_S", 0.1)
    monkeypatch.setattr(live, "LOOK_S", 0.05)
    client = visit("grace")
    secret = client.cookies["mandamus"]
    request = types.SimpleNamespace(app=client.app, cookies={"mandamus": secret}, query_params={})
    visiting = Visit(request, place.house, place.house.sessions.authenticate(secret), {})

    async def follow() -> list[bytes]:
        parts = []
        async for part in live._parts(visiting, RunId(runs["waiting"])):
            parts.append(part)
            if part.startswith(b":"):
                place.house.sessions.end(secret)
        return parts

    parts = asyncio.run(asyncio.wait_for(follow(), 60))
    assert b"s-waiting" in parts[0]
    assert b"event: end" not in b"".join(parts)


def test_time_and_text_narrow_the_list(place, visit, runs, monkeypatch):
    """Both stand in the address; a search that has not looked at all of it says where to look on."""
    run, client = place.run(reason="Rotate the Certificates"), visit("grace")
    assert rows(client.get("/runs", params={"text": "the certificates"}).text) == [run]
    assert rows(client.get("/runs", params={"text": runs["denied"]}).text) == [runs["denied"]]
    assert rows(client.get("/runs", params={"until": "2020-01-01"}).text) == []
    found = rows(client.get("/runs", params={"since": "2020-01-01", "text": "certificates"}).text)
    assert found == [run]
    assert client.get("/runs", params={"since": "soon"}).status_code == 422
    monkeypatch.setattr("mandamus.runs.store.SCANNED_MAX", 1)
    place.run()
    text = client.get("/runs", params={"text": "the certificates"}).text
    assert rows(text) == []
    assert "there are older ones" in text
    assert "text=the+certificates" in re.search(r'rel="next" href="([^"]+)"', text)[1]
