"""Two projects in one home: whatever is asked at whichever route, nothing of the other one is there."""

from __future__ import annotations

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from mandamus.api.app import build
from mandamus.api.door import PUBLIC
from mandamus.identity.grants import BUILT_IN
from mandamus.kernel.access import Permission
from mandamus.serving.hub import Hub
from mandamus.serving.routes import permission_of

STRANGERS = ("tom", "tess")
BODIES = {
    "approve": {"binding": "sha256:" + "0" * 64, "reason": "yes"},
    "reject": {"binding": "sha256:" + "0" * 64, "reason": "no"},
    "cancel": {},
    "retry": {},
    "settle": {"outcome": "failed", "reason": "seen"},
    "end": {"reason": "over"},
}
ASKING = ["", "run=RUN"]
ASKING_FURTHER = ["text=opalfruit", "project=storage", "requester=ada", "actor=ada", "q=opalfruit", "limit=200"]
ENDING = {"/api/v1/me/end-access"}
"""What ends the very token it is asked with."""


@pytest.fixture(scope="module")
def client(tenants) -> TestClient:
    """The API of the home with two projects."""
    app = build(tenants.house, "test", Hub(tenants.house))
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def secrets(tenants) -> dict[str, str]:
    """A token of each user."""
    house = tenants.house
    return {
        user: house.tokens.create(house.identity.active(user), "a test").secret
        for user in (*STRANGERS, "ada", *BUILT_IN)
    }


def routes(client: TestClient) -> list[tuple[str, APIRoute]]:
    """Method and route of everything that is not for anybody; buckets of earlier requests are full again."""
    client.app.state.limits._left.clear()
    return [
        (method, route)
        for route in client.app.routes
        if isinstance(route, APIRoute) and route.path not in PUBLIC
        for method in sorted(route.methods)
    ]


def test_whatever_is_named_is_not_there(tenants, client, secrets):
    """Each route that takes an id, with one of the other project's: in the words of an id that nobody has."""
    asked = set()
    for user in STRANGERS:
        for method, route in routes(client):
            if not tenants.names_theirs(route.path):
                continue
            body = None if method in {"GET", "DELETE"} else BODIES[route.path.rpartition("/")[2]]
            said = set()
            for ids in (tenants.theirs, tenants.nobodys):
                headers = {"Authorization": f"Bearer {secrets[user]}"}
                answer = client.request(method, tenants.filled(route.path, ids), json=body, headers=headers)
                refused = answer.json()["code"] == "forbidden"
                assert answer.status_code == (403 if refused else 404), (user, method, route.path, answer.text)
                named = [value for name, value in ids.items() if f"{{{name}}}" in route.path]
                text = answer.json()["detail"]
                for value in named:
                    text = text.replace(value, "ID")
                said.add((answer.status_code, text))
            assert len(said) == 1, (user, method, route.path, said)
            asked.add((method, route.path))
    assert len(asked) >= 15


@pytest.mark.parametrize("asking", [*ASKING, *(pytest.param(each, marks=pytest.mark.slow) for each in ASKING_FURTHER)])
def test_whatever_is_listed_or_searched_holds_nothing_of_it(tenants, client, secrets, asking):
    """Each route without an id, asked in different ways: no id and no word of the other project is in any answer."""
    for user in STRANGERS:
        headers = {"Authorization": f"Bearer {secrets[user]}"}
        for method, route in routes(client):
            if method != "GET" or "{" in route.path:
                continue
            client.app.state.limits._left.clear()
            answer = client.get(f"{route.path}?{asking}".replace("RUN", tenants.theirs["run"]), headers=headers)
            assert answer.status_code < 500, (user, route.path, asking, answer.text)
            found = [mark for mark in tenants.marks if mark in answer.text and mark not in str(answer.url)]
            assert not found, (user, route.path, asking, found)


def test_those_whose_it_is_find_it(tenants, client, secrets):
    """Else nothing of the above would say anything."""
    headers = {"Authorization": f"Bearer {secrets['ada']}"}
    for path in ("/api/v1/runs/{run}", "/api/v1/policy/decisions/{decision}", "/api/v1/audit/events/{index}"):
        assert client.get(tenants.filled(path, tenants.theirs), headers=headers).status_code == 200, path
    assert "opalfruit" in client.get("/api/v1/runs", headers=headers).text
    (lock,) = client.get("/api/v1/environments/dev/locks", headers=headers).json()["items"]
    assert (lock["name"], lock["run"], lock["step"]) == ("figfruit", tenants.theirs["run"], "change")


def test_who_holds_a_state_is_told_of_runs_that_one_may_read(tenants, client, secrets):
    """The name of a state of another project's run, and the run, are not there for whoever sees the environment."""
    headers = {"Authorization": f"Bearer {secrets['tom']}"}
    assert client.get("/api/v1/environments/dev", headers=headers).status_code == 200
    assert client.get("/api/v1/environments/dev/locks", headers=headers).json()["items"] == []


@pytest.mark.parametrize("role", BUILT_IN)
def test_each_role_uses_what_it_may(tenants, client, secrets, role):
    """Each route as each role: 403 exactly where the role does not give the route's permission."""
    headers = {"Authorization": f"Bearer {secrets[role]}"}
    for method, route in routes(client):
        if route.path in ENDING or route.path.endswith(("/events", "/stream", "/audit/verify")):
            continue
        answer = client.request(method, tenants.filled(route.path, tenants.nobodys), headers=headers)
        wanted = permission_of(route)
        said = "" if answer.status_code != 403 else answer.json().get("detail", "")
        assert (said == f"{role} may not {wanted.value}") == (wanted not in BUILT_IN[role]), (method, route.path, said)
        assert answer.status_code < 500, (method, route.path, answer.text)


def test_every_permission_of_a_route_is_one_of_a_role():
    """Each role has some and lacks some, so that the matrix has both kinds of cells."""
    for role, permissions in BUILT_IN.items():
        assert permissions, role
        assert set(Permission) - permissions, role
