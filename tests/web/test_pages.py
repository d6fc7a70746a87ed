"""Every page against everybody who should not see it, and what every page has in common."""

from __future__ import annotations

import os
import re

import pytest
from starlette.routing import Route

from mandamus.kernel.access import MEMBER, Permission
from mandamus.kernel.errors import Code, MandamusError
from mandamus.serving.hub import Hub
from mandamus.serving.routes import check_routes, permission_of
from mandamus.web.app import build
from mandamus.web.door import PUBLIC


def paths(app, runs) -> list[tuple[str, str, Permission]]:
    """Method, path with examples in it, and permission of every page that is not public."""
    examples = {"run": runs["waiting"], "step": "change", "decision": "dec_01m89tq850e2cvgwyfb9428ekw"}
    examples |= {"project": "storage", "file": "workflows/deploy.yaml", "token": "tok_01m89tq850e2cvgwyfb9428ekw"}
    examples |= {"session": "ses_01m89tq850e2cvgwyfb9428ekw", "name": "none"}
    examples |= {"set": "policy", "environment": "dev"}
    audit = app.state.house.audit
    audit.flush()
    examples["index"] = str(audit.events(runs["waiting"])[0].index)
    found = []
    for route in app.routes:
        if isinstance(route, Route) and route.path not in PUBLIC:
            path = re.sub(r"{(\w+)(?::path)?}", lambda m: examples[m[1]], route.path)
            found += [(method, path, permission_of(route)) for method in sorted(route.methods - {"HEAD"})]
    return found


@pytest.fixture
def narrow(place, monkeypatch):
    """Lets whoever visits have these permissions only."""

    def to(permissions):
        whole = place.house.identity.active

        def less(_self, name):
            found = whole(name)
            return found and type(found)(**{**vars(found), "permissions": found.permissions & permissions})

        monkeypatch.setattr(type(place.house.identity), "active", less)

    return to


def test_nobody_sees_a_page_without_a_session(visit, runs):
    """Each page x {no session, a forged one, one that was ended}: on to the sign-in page, and nothing is done."""
    ended = visit("ada")
    secret = ended.cookies["mandamus"]
    assert ended.post("/sign-out", data={"x": ""}).headers["location"] == "/sign-in"
    shown = [None, "", "x", "A" * 43, secret, secret[:-1] + "A"]
    for each in shown:
        client = visit(None)
        if each:
            client.cookies.set("mandamus", each)
        for method, path, _ in paths(client.app, runs):
            answer = client.request(method, path, **({"data": {}} if method == "POST" else {}))
            where = answer.headers.get("location", "").partition("?then=")[0]
            assert (answer.status_code, where) == (303, "/sign-in"), (method, path, each)


def test_nobody_uses_a_page_they_may_not(visit, runs, narrow):
    """Each page without its permission is 403, by one who has all others; the refusal is recorded."""
    client = visit("ada")
    for method, path, permission in paths(client.app, runs):
        if path.endswith("/live") or path == "/sign-out":
            continue
        narrow(MEMBER - {permission})
        answer = client.request(method, path, **({"data": {}} if method == "POST" else {}))
        assert answer.status_code == 403, (method, path, answer.text)
        assert f"may not {permission.value}" in answer.text


def test_a_member_may_open_every_page(visit, runs):
    """No page fails, and none says 403 to a member, but those of what members may not."""
    client = visit("grace")
    for method, path, permission in paths(client.app, runs):
        if method == "GET" and not path.endswith("/live"):
            answer = client.get(path)
            wanted = 404 if re.search("dec_|tok_|ses_|/evidence$|^/sign-in/again$", path) else 200
            wanted = 422 if path == "/runs/bulk" else wanted if permission in MEMBER else 403
            assert answer.status_code in {wanted, 409}, (path, answer.text)


def test_an_undeclared_page_keeps_the_console_from_starting(place):
    """A page without a permission, or a public one whose path is not named, is a fault of ours."""
    app = build(place.house, Hub(place.house), os.urandom, secure=False)
    app.routes.append(Route("/more", lambda _request: None))
    with pytest.raises(MandamusError) as raised:
        check_routes(app, PUBLIC)
    assert raised.value.code is Code.INTERNAL


@pytest.mark.parametrize("path", ["//", "/runs/", "/RUNS", "/runs%2f", "/static/console.css/", "/static/none.js", "/x"])
def test_tricks_with_paths_find_nothing(visit, path):
    """Only the exact path of a page is the page."""
    assert visit(None).get(path).status_code in {303, 404}


def test_every_page_forbids_what_it_does_not_need(visit, runs):
    """Scripts by nonce only, a new one each time; no frame, no base, no other host; Trusted Types."""
    client = visit("grace")
    nonces = set()
    for path in ("/", f"/runs/{runs['waiting']}", "/sign-in", "/none"):
        answer = client.get(path)
        policy = answer.headers["content-security-policy"]
        nonce = re.search(r"script-src 'nonce-([^']+)'", policy)[1]
        nonces.add(nonce)
        for part in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "require-trusted-types-for"):
            assert part in policy
        assert "unsafe" not in policy
        assert set(re.findall(r'<script nonce="([^"]*)"', answer.text)) == {nonce}
        assert not re.search(r"<style|style=|\son\w+=|javascript:|https?://(?!testserver/)", answer.text)
        assert (answer.headers["cache-control"], answer.headers["x-content-type-options"]) == ("no-store", "nosniff")
    assert len(nonces) == 4


def test_every_page_has_a_title_of_its_own(visit, runs):
    """Two tabs are never called the same."""
    client = visit("grace")
    found = [
        path for _, path, _ in paths(client.app, runs) if not re.search(r"live|evidence|log.txt|proof|verify", path)
    ]
    answers = [(path, client.get(path)) for path in set(found)]
    texts = {path: each.text for path, each in answers if each.status_code == 200 and "<title>" in each.text}
    titles = {path: re.search(r"<title>\s*(.*?)\s*</title>", text, re.DOTALL)[1] for path, text in texts.items()}
    assert len(titles) > 20
    assert len(set(titles.values())) == len(titles), titles


def test_files_are_kept_under_their_own_address(visit):
    """Style and scripts may be cached for ever, since their address changes with them."""
    client = visit(None)
    page = client.get("/sign-in").text
    for address in re.findall(r'(?:src|href)="(/static/[^"]+)"', page):
        assert "?v=" in address
        answer = client.get(address)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]


def test_times_say_utc(visit, runs):
    """A time is told as people say it, and exactly for whoever asks."""
    text = visit("grace").get(f"/runs/{runs['waiting']}").text
    assert re.search(r'<time datetime="\d{4}-\d\d-\d\dT[\d:.]+Z" title="\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC">', text)


def test_a_run_page_is_small(visit, runs):
    """At most 150 KB on the first load, with style and scripts."""
    client = visit("grace")
    page = client.get(f"/runs/{runs['waiting']}")
    files = [client.get(each) for each in set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text))]
    assert sum(len(each.content) for each in (page, *files)) < 150 * 1024
