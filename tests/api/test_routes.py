"""Every route against everybody who should not come in; and what every answer has in common."""

from __future__ import annotations

import re

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Route

from mandamus.api.app import build
from mandamus.api.door import PUBLIC
from mandamus.kernel.access import MEMBER, Permission
from mandamus.kernel.errors import Code, MandamusError
from mandamus.serving.routes import check_routes, permission_of

EXAMPLES = {
    "run": "run_01m89tq850e2cvgwyfb9428ekw",
    "decision": "dec_01m89tq850e2cvgwyfb9428ekw",
    "session": "ses_01m89tq850e2cvgwyfb9428ekw",
    "user": "nobody",
    "token": "tok_01m89tq850e2cvgwyfb9428ekw",
    "exemption": "exm_01m89tq850e2cvgwyfb9428ekw",
    "step": "change",
    "resource": "scu_01m89tq850e2cvgwyfb9428ekw",
    "subscription": "deploys",
    "environment": "dev",
    "name": "policy",
    "project": "storage",
    "workflow": "workflows/deploy.yaml",
    "index": "0",
}
FORGED = "mdm_" + "A" * 43 + "000000"


def routes(app: FastAPI) -> list[tuple[str, str, APIRoute]]:
    """Method, path with examples in it, and the route itself; the public ones not."""
    found = []
    for route in app.routes:
        if isinstance(route, APIRoute) and route.path not in PUBLIC:
            path = re.sub(r"{(\w+)(?::path)?}", lambda m: EXAMPLES[m[1]], route.path)
            found += [(method, path, route) for method in sorted(route.methods)]
    return found


def test_nobody_comes_in_without_a_good_token(app_client, place):
    """Each route x {none, another scheme, malformed, unknown, wrong checksum, revoked}: 401, in the same words."""
    house = place.open()
    revoked = house.tokens.create(house.who, "revoked")
    house.tokens.revoke(house.who, revoked.token.id)
    house.close()
    good = place.secrets["ada"]
    shown = ["", f"Basic {good}", "Bearer", "Bearer x", f"Bearer {FORGED}", f"Bearer {good[:-1]}0", f"Bearer {good}x"]
    shown.append(f"Bearer {revoked.secret}")
    words = set()
    for method, path, _ in routes(app_client.app):
        for each in shown:
            answer = app_client.request(method, path, headers={"Authorization": each} if each else {})
            assert answer.status_code == 401, (method, path, each, answer.text)
            assert answer.headers["www-authenticate"] == "Bearer"
            words.add(answer.json()["detail"])
    assert len(words) == 2


def test_nobody_uses_a_route_they_may_not(app_client, place):
    """Each route as a member and as a narrowed token: 403 exactly where the permission is not theirs, and recorded."""
    for user, allowed in (("ada", MEMBER), ("reader", {Permission.RUN_READ, Permission.SYSTEM_READ})):
        headers = {"Authorization": f"Bearer {place.secrets[user]}"}
        for method, path, route in routes(app_client.app):
            if "stream" in path or path.endswith("/events"):
                continue
            answer = app_client.request(method, path, headers=headers)
            refused = answer.status_code == 403 and answer.json()["code"] == "forbidden"
            assert refused == (permission_of(route) not in allowed), (user, method, path, answer.text)
            assert answer.status_code < 500, (user, method, path, answer.text)


def test_a_refusal_inside_of_a_verb_is_an_event_too(app_client, place):
    """Whoever may use a route and not all of it: what was refused further in stands in the log as well."""
    headers = {"Authorization": f"Bearer {place.secrets['ada']}"}
    more = app_client.post("/api/v1/tokens", json={"name": "more", "permissions": ["policy:write"]}, headers=headers)
    assert (more.status_code, more.json()["code"]) == (403, "forbidden")
    owner = {"Authorization": f"Bearer {place.secrets['owner']}"}
    found = app_client.get("/api/v1/audit/events", params={"kind": "access.denied", "actor": "ada"}, headers=owner)
    assert "policy:write" in {each["leaf"]["data"]["permission"] for each in found.json()["items"]}


def test_a_refusal_is_an_event(app_client, place):
    """Who asked for what they may not do stands in the log."""
    app_client.get("/api/v1/tokens", headers={"Authorization": f"Bearer {place.secrets['reader']}"})
    headers = {"Authorization": f"Bearer {place.secrets['owner']}"}
    found = app_client.get("/api/v1/audit/events", params={"kind": "access.denied", "actor": "joan"}, headers=headers)
    assert found.json()["items"][0]["leaf"]["data"]["permission"] == "token:write"


@pytest.mark.parametrize(
    "path",
    [
        "//healthz",
        "/healthz/",
        "/HEALTHZ",
        "/healthz%2f",
        "/healthz/..",
        "/api/v1//runs",
        "/API/v1/runs",
        "/api/v1/runs/",
        "/version.json",
        "/readyz;x=1",
        "/api/v1/me%00",
        "/api/v1/../healthz/x",
    ],
)
def test_tricks_with_paths_find_nothing(app_client, path):
    """Only the exact path of a route is the route."""
    assert app_client.get(path).status_code in {401, 404}


def test_an_undeclared_route_keeps_the_server_from_starting(app_client):
    """A route without a permission, or a public one whose path is not named, is a fault of ours."""
    app = build(app_client.app.state.house, "test", app_client.app.state.hub)
    app.routes.append(Route("/more", lambda _request: None))
    with pytest.raises(MandamusError) as raised:
        check_routes(app, PUBLIC)
    assert raised.value.code is Code.INTERNAL


def test_every_answer_has_the_headers(app_client, place):
    """Also of errors: nothing is cached, framed, sniffed or run."""
    for path in ("/healthz", "/api/v1/me", "/nothing"):
        answer = app_client.get(path)
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_errors_are_problems(app_client, place):
    """RFC 9457, with code and remedy, and without what was sent."""
    headers = {"Authorization": f"Bearer {place.secrets['ada']}"}
    missing = app_client.get(f"/api/v1/runs/{EXAMPLES['run']}", headers=headers)
    assert missing.headers["content-type"] == "application/problem+json"
    said = missing.json()
    assert (said["status"], said["code"], said["type"]) == (404, "not_found", "urn:mandamus:error:not_found")
    assert said["remedy"]
    wrong = app_client.post("/api/v1/runs", json={"secret": "hunter2-hunter2"}, headers=headers)
    assert (wrong.status_code, wrong.json()["code"]) == (422, "value_invalid")
    assert "hunter2" not in wrong.text
    assert app_client.request("PATCH", "/api/v1/runs", headers=headers).json()["code"] == "method_not_allowed"
    assert app_client.get("/none").json()["code"] == "not_found"


def test_a_body_that_is_too_long_is_not_read(app_client, place):
    """413 before anything of it is parsed, also when its length is not said."""
    headers = {"Authorization": f"Bearer {place.secrets['ada']}", "Content-Type": "application/json"}

    def parts():
        for _ in range(40):
            yield b" " * 65_536

    for body in (b" " * 1_100_000, parts()):
        answer = app_client.post("/api/v1/runs", content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_the_contract_has_a_page_that_needs_nobody_else(app_client, place):
    """OpenAPI 3.1; each operation says what it needs; the page names no other host and has no script."""
    headers = {"Authorization": f"Bearer {place.secrets['reader']}"}
    contract = app_client.get("/api/openapi.json", headers=headers).json()
    assert contract["openapi"].startswith("3.1")
    named = {path: methods.values() for path, methods in contract["paths"].items() if path not in PUBLIC}
    assert all("x-permission" in said for methods in named.values() for said in methods if said["tags"] != ["system"])
    page = app_client.get("/api/docs", headers=headers).text
    assert "POST /api/v1/runs" in page
    assert "<script" not in page
    assert not re.search(r"(src|href)=.?https?:", page)


def test_a_caller_who_asks_too_much_is_told_to_wait(app_client, place, monkeypatch):
    """429 with the time to wait; others are not held up."""
    limits = app_client.app.state.limits
    monkeypatch.setattr(limits, "_burst", 3.0)
    monkeypatch.setattr(limits, "_per_second", 0.001)
    limits._left.clear()
    reader, ada = ({"Authorization": f"Bearer {place.secrets[user]}"} for user in ("reader", "ada"))
    answers = [app_client.get("/api/v1/me", headers=reader) for _ in range(5)]
    assert [each.status_code for each in answers] == [200, 200, 200, 429, 429]
    assert answers[-1].json()["retryable"]
    assert int(answers[-1].headers["retry-after"]) > 0
    assert app_client.get("/api/v1/me", headers=ada).status_code == 200
    limits._left.clear()
