"""Somebody who has a grant in one environment, at every route; and what ends at once ends everywhere."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from mandamus.api.app import RECHECK_S, build
from mandamus.bootstrap.house import House
from mandamus.identity.grants import OPERATOR, Granted, To
from mandamus.kernel.access import Permission
from mandamus.serving.hub import Hub
from mandamus.serving.routes import permission_of
from mandamus.web import live
from mandamus.web.app import build as build_web

RUNS = "/api/v1/runs"
ASK = {"project": "storage", "workflow": "workflows/deploy.yaml", "inputs": {"asked": True}}


def of(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


@pytest.fixture(scope="module")
def hidden(app_client, place) -> dict[str, str]:
    """A run in dev, and one in the environment that Pam has no grant in; with a decision of it."""
    ada = of(place.secrets["ada"])
    made = {}
    for environment in ("dev", "guarded"):
        answer = app_client.post(RUNS, json={**ASK, "environment": environment}, headers=ada)
        assert answer.status_code == 201, answer.text
        made[environment] = answer.json()["id"]
    found = app_client.get("/api/v1/policy/decisions", params={"run": made["guarded"]}, headers=ada).json()["items"]
    return {**made, "decision": found[0]["id"]}


def test_what_lies_elsewhere_is_not_there(app_client, place, hidden):
    """Each route that takes a run is 404 for one of another environment, in the words of a run that nobody has."""
    pam, unknown, asked = of(place.secrets["pam"]), "run_01m89tq850e2cvgwyfb9428ekw", 0
    bodies = {"settle": {"outcome": "failed", "reason": "seen"}}
    for route in app_client.app.routes:
        if not isinstance(route, APIRoute) or "{run}" not in route.path:
            continue
        for method in route.methods:
            words = set()
            for run in (hidden["guarded"], unknown):
                path = route.path.format(run=run, step="change")
                body = None if method == "GET" else bodies.get(path.rpartition("/")[2], {"reason": ""})
                answer = app_client.request(method, path, json=body, headers=pam)
                allowed = permission_of(route) in OPERATOR
                assert answer.status_code == (404 if allowed else 403), (method, path, answer.text)
                words.add(answer.json()["detail"].replace(run, ""))
            assert len(words) == 1, words
            asked += 1
    assert asked >= 10


def test_what_lies_elsewhere_is_not_found_by_other_names(app_client, place, hidden):
    """Neither its decisions, nor its environment; and nothing that is said names it."""
    pam = of(place.secrets["pam"])
    for path in (f"/api/v1/policy/decisions/{hidden['decision']}", "/api/v1/environments/guarded"):
        assert app_client.get(path, headers=pam).status_code == 404, path
    asked = app_client.post(RUNS, json={**ASK, "environment": "guarded"}, headers=pam)
    assert (asked.status_code, "guarded" in asked.json()["remedy"]) == (404, False)
    assert app_client.get(f"{RUNS}/{hidden['dev']}", headers=pam).status_code == 200


def test_what_may_be_seen_and_not_done_is_forbidden(app_client, place, hidden):
    """Pam knows the run in dev and may not decide on it: 403, since there is nothing to hide."""
    body = {"binding": "sha256:" + "0" * 64, "reason": "yes"}
    answer = app_client.post(f"{RUNS}/{hidden['dev']}/approve", json=body, headers=of(place.secrets["pam"]))
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_lists_searches_and_counts_hold_nothing_of_elsewhere(app_client, place, hidden):
    """Nor do they say by a short page or a cursor that there is more."""
    pam = of(place.secrets["pam"])

    def items(path: str, **params: Any) -> list[dict[str, Any]]:
        answer = app_client.get(path, params=params, headers=pam)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["items"]
        return found

    runs = items(RUNS, limit=200)
    assert {each["environment"] for each in runs} == {"dev"}
    assert hidden["dev"] in {each["id"] for each in runs}
    assert items(RUNS, environment="guarded") == []
    page = app_client.get(RUNS, params={"environment": "guarded", "limit": 1}, headers=pam).json()
    assert page["next"] is None
    assert {each["environment"] for each in items("/api/v1/policy/decisions", limit=200)} == {"dev"}
    assert items("/api/v1/policy/decisions", run=hidden["guarded"]) == []
    assert [each["name"] for each in items("/api/v1/environments")] == ["dev"]
    events = items("/api/v1/audit/events", limit=200)
    assert hidden["dev"] in {each["leaf"]["run"] for each in events}
    assert hidden["guarded"] not in json.dumps(events)
    assert items("/api/v1/audit/events", run=hidden["guarded"]) == []


def test_a_program_asks_and_never_decides(app_client, place, hidden):
    """A service account with the right to decide is refused all the same; and its owner made what it asks for."""
    house = place.open()
    with house.rooms.db.begin("test") as tx:
        house.granting.apply(tx, house.who, [], [Granted("ci-decides", "approver", To.USER, "ci")])
    secret = house.tokens.create(house.who, "ci", account="ci").secret
    run = app_client.post(RUNS, json={**ASK, "environment": "dev"}, headers=of(secret)).json()
    assert {"ci", "ada", house.who.user} <= set(run["makers"])
    body = {"binding": "sha256:" + "0" * 64, "reason": "yes"}
    answer = app_client.post(f"{RUNS}/{hidden['dev']}/approve", json=body, headers=of(secret))
    assert answer.status_code == 403, answer.text
    assert app_client.get("/api/v1/inbox", headers=of(secret)).json()["items"] == []
    house.close()


def test_the_review_is_a_document_and_a_table(app_client, place):
    """For an auditor, not for a member; the table is a download, and both tell of the grant."""
    rita = of(place.secrets["rita"])
    document = app_client.get("/api/v1/access/review", headers=rita).json()
    (grant,) = (each for each in document["permissions"] if each["through"] == "grant pam-in-dev")
    assert (grant["user"], grant["role"], grant["environments"]) == ("pam", "operator", ["dev"])
    answer = app_client.get("/api/v1/access/review.csv", headers=rita)
    assert answer.headers["content-disposition"] == 'attachment; filename="access-review.csv"'
    assert answer.headers["content-type"].startswith("text/csv")
    assert "pam" in {row["user"] for row in csv.DictReader(io.StringIO(answer.text))}
    assert app_client.get("/api/v1/access/review", headers=of(place.secrets["ada"])).status_code == 403


def test_roles_and_grants_are_told(app_client, place):
    """Those built in too, each with its permissions."""
    ada = of(place.secrets["ada"])
    roles = {each["name"]: each for each in app_client.get("/api/v1/roles", headers=ada).json()["items"]}
    assert roles["viewer"]["built_in"]
    assert "run:read" in roles["viewer"]["permissions"]
    grants = app_client.get("/api/v1/grants", headers=ada).json()["items"]
    assert {"pam-in-dev", "ci-in-dev"} <= {each["name"] for each in grants}


Ends = Callable[[House, str], object]


def _grant(house: House, user: str, *, active: bool) -> None:
    with house.rooms.db.begin("test") as tx:
        house.granting.apply(tx, house.who, [], [Granted(f"of-{user}", "viewer", To.USER, user, active=active)])


@pytest.fixture(scope="module")
def opened(place) -> Iterator[tuple[House, TestClient, TestClient]]:
    """A house with both doors, which ask again more often than a server does, so that nobody waits for it."""
    house = place.open()
    hub = Hub(house)
    api = TestClient(build(house, "test", hub, recheck_s=0.2), raise_server_exceptions=False)
    yield (
        house,
        api,
        TestClient(build_web(house, hub, os.urandom, secure=False), headers={"Origin": "http://testserver"}),
    )
    house.close()


@pytest.mark.parametrize("what", ["everything", "grant"])
def test_streams_and_pages_end_with_the_right_to_them(opened, hidden, followed, monkeypatch, what):
    """When all of somebody is ended at once, and when their grant ends: token, session, stream and page of a run.

    A server asks again within a minute; here it asks more often.
    """
    assert max(live.CHECK_S, RECHECK_S) < 60
    monkeypatch.setattr(live, "CHECK_S", 0.2)
    house, api, console = opened
    user = f"visitor-{what}"
    (like,) = (each for each in house.identity.users(house.who) if each.name == "pam")
    with house.rooms.db.begin("test") as tx:
        house.identity.apply(tx, house.who, [type(like)(user, role=like.role)], [])
    _grant(house, user, active=True)
    run = hidden["dev"]

    def end() -> None:
        if what == "grant":
            _grant(house, user, active=False)
        else:
            house.kill_switch.end_all(house.who, user)

    def subject() -> Any:
        return house.identity.active(user)

    shown = of(house.tokens.create(subject(), "mine").secret)
    answer = followed(api.app, lambda: api.get(f"{RUNS}/{run}/events", headers=shown), end)
    assert answer.text.count("event: stopped") == 1
    assert api.get(f"{RUNS}/{run}", headers=shown).status_code in {401, 403}
    _grant(house, user, active=True)
    link = house.sessions.link(subject())
    assert console.post("/sign-in", data={"link": link}, follow_redirects=False).status_code == 303
    assert console.get(f"/runs/{run}").status_code == 200
    answer = followed(console.app, lambda: console.get(f"/runs/{run}/live"), end)
    assert "event: end" not in answer.text
    assert console.get(f"/runs/{run}", follow_redirects=False).status_code != 200


def test_a_narrow_token_reads_no_more_than_its_place(place, app_client, hidden):
    """What a token leaves out is out, and what its user has in one place it has in no other."""
    house = place.open("pam")
    narrow = house.tokens.create(house.who, "narrow", permissions=[Permission.RUN_READ]).secret
    house.close()
    assert app_client.get(f"{RUNS}/{hidden['dev']}", headers=of(narrow)).status_code == 200
    assert app_client.get(f"{RUNS}/{hidden['guarded']}", headers=of(narrow)).status_code == 404
    assert app_client.post(f"{RUNS}/{hidden['dev']}/cancel", json={}, headers=of(narrow)).status_code == 403
