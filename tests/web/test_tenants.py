"""Two projects in one home: no page, form, stream, search or file shows anything of the other one; and the roles."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from starlette.routing import Route
from starlette.testclient import TestClient

from mandamus.identity.grants import BUILT_IN, VIEWER
from mandamus.kernel.access import AUDITOR, Area, Grant, Subject
from mandamus.serving.hub import Hub
from mandamus.serving.routes import permission_of
from mandamus.web.app import build
from mandamus.web.catalog import shelves
from mandamus.web.door import PUBLIC, Visit

ORIGIN = "http://testserver"
STRANGERS = ("tom", "tess")
FORM = {"binding": "sha256:" + "0" * 64, "verdict": "approve", "reason": "seen", "outcome": "failed", "attempt": "1"}
ASKING = ["", "run=RUN"]
ASKING_FURTHER = ["text=opalfruit", "project=storage", "requester=ada", "actor=ada", "q=opalfruit", "part=1"]
ENDING = {"/sign-out", "/settings/sessions/end-all"}
"""What ends the very session it is asked with."""

As = Callable[[str | None], TestClient]


@pytest.fixture(scope="module")
def enter(tenants) -> As:
    """A browser of somebody who is signed in, or of nobody."""
    app = build(tenants.house, Hub(tenants.house), os.urandom, secure=False)

    def make(user: str | None) -> TestClient:
        app.state.limits._left.clear()
        client = TestClient(app, headers={"Origin": ORIGIN}, follow_redirects=False, raise_server_exceptions=False)
        if user is not None:
            link = tenants.house.sessions.link(tenants.house.who, user)
            assert client.post("/sign-in", data={"link": link}).status_code == 303
        return client

    return make


def routes(client: TestClient) -> list[tuple[str, Route]]:
    """Method and route of every page and form that is not for anybody."""
    client.app.state.limits._left.clear()
    return [
        (method, route)
        for route in client.app.routes
        if isinstance(route, Route) and route.path not in PUBLIC
        for method in sorted(route.methods - {"HEAD"})
    ]


def ask(client: TestClient, method: str, path: str):
    """Open a page, or send a form."""
    return client.get(path) if method == "GET" else client.post(path, data=FORM)


def test_whatever_is_named_is_not_there(tenants, enter):
    """Each page and form that takes an id, with one of the other project's: as with an id that nobody has."""
    asked = set()
    for user in STRANGERS:
        client = enter(user)
        for method, route in routes(client):
            if not tenants.names_theirs(route.path):
                continue
            answers = [
                ask(client, method, tenants.filled(route.path, ids)) for ids in (tenants.theirs, tenants.nobodys)
            ]
            codes = {each.status_code for each in answers}
            assert codes in ({404}, {403}), (user, method, route.path, codes)
            found = [mark for mark in tenants.marks if mark in answers[0].text and mark not in str(answers[0].url)]
            assert not found, (user, method, route.path, found)
            asked.add((method, route.path))
    assert len(asked) >= 20


@pytest.mark.parametrize("asking", [*ASKING, *(pytest.param(each, marks=pytest.mark.slow) for each in ASKING_FURTHER)])
def test_whatever_is_listed_or_searched_holds_nothing_of_it(tenants, enter, asking):
    """Each page without an id, asked in different ways: no id and no word of the other project stands on it."""
    for user in STRANGERS:
        client = enter(user)
        for method, route in routes(client):
            if method != "GET" or "{" in route.path:
                continue
            client.app.state.limits._left.clear()
            answer = client.get(f"{route.path}?{asking}".replace("RUN", tenants.theirs["run"]))
            assert answer.status_code < 500, (user, route.path, asking)
            found = [mark for mark in tenants.marks if mark in answer.text and mark not in str(answer.url)]
            assert not found, (user, route.path, asking, found)


def test_those_whose_it_is_find_it(tenants, enter):
    """Else nothing of the above would say anything."""
    ada = enter("ada")
    for path in ("/runs/{run}", "/policies/decisions/{decision}", "/audit/{index}"):
        assert ada.get(tenants.filled(path, tenants.theirs)).status_code == 200, path
    assert "opalfruit" in ada.get("/runs").text


def test_who_may_what_where_is_told_to_nobody_who_is_held_to_a_project(tenants, enter):
    """The pages of people and of grants name no project of others; whoever works there finds it on both."""
    for path in ("/settings/people", "/settings/roles"):
        for user in STRANGERS:
            answer = enter(user).get(path)
            assert answer.status_code == 200, (user, path)
            assert "storage" not in answer.text, (user, path)
        assert "storage" in enter("ada").get(path).text, path


def test_whoever_reads_workflows_in_some_projects_has_the_shelves_of_those(tenants):
    """Also when they know of further ones: an auditor of all who runs things in one has a catalog and a search."""
    grants = (Grant("auditor", AUDITOR), Grant("viewer", VIEWER, Area(frozenset({"billing"}))))
    who = Subject("rita", "test", permissions=AUDITOR | VIEWER, grants=grants)
    found = shelves(Visit(None, tenants.house, who, {}))
    assert [(shelf.project, len(shelf.workflows)) for shelf in found] == [("billing", 1)]


def test_nobody_comes_in_without_a_session(tenants, enter):
    """Each page and form x {no cookie, a forged one, one that has ended}: the way in, and nothing else."""
    ended = enter("ada")
    kept = dict(ended.cookies)
    assert ended.post("/sign-out", data={"sent": "1"}).status_code == 303
    for cookies in ({}, {"mandamus": "A" * 43}, kept):
        client = enter(None)
        client.cookies.update(cookies)
        for method, route in routes(client):
            answer = ask(client, method, tenants.filled(route.path, tenants.theirs))
            assert answer.status_code == 303, (cookies, method, route.path)
            assert answer.headers["location"].startswith("/sign-in"), (method, route.path)
            assert not [mark for mark in tenants.marks if mark in answer.text]


@pytest.mark.parametrize("role", BUILT_IN)
def test_each_role_uses_what_it_may(tenants, enter, role):
    """Each page and form as each role: 403 exactly where the role does not give the route's permission."""
    client = enter(role)
    for method, route in routes(client):
        if route.path in ENDING or route.path == "/audit/verify":
            continue
        answer = ask(client, method, tenants.filled(route.path, tenants.nobodys))
        wanted = permission_of(route)
        refused = answer.status_code == 403 and f"{role} may not {wanted.value}" in answer.text
        assert refused == (wanted not in BUILT_IN[role]), (method, route.path, answer.status_code)
        assert answer.status_code < 500, (method, route.path, answer.text)


@pytest.mark.parametrize(
    "path",
    [
        "//",
        "//runs",
        "/runs/",
        "/RUNS",
        "/runs%2f",
        "/runs/%2e%2e/audit",
        "/runs;x=1",
        "/%72uns/",
        "/audit//1",
        "/runs%00",
    ],
)
def test_tricks_with_paths_find_nothing(enter, path):
    """Only the exact path of a page is the page, for whoever is signed in and for whoever is not."""
    for user in ("member", None):
        assert enter(user).get(f"{ORIGIN}{path}").status_code == 404, (user, path)
