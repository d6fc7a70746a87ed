"""What forms do: sign in, decide, cancel; and from where they are taken."""

from __future__ import annotations

import os
import re

import pytest
from starlette.testclient import TestClient

from mandamus.identity import sign_in_store
from mandamus.identity.attempts import Attempts, Rate
from mandamus.identity.sign_in import SignIn
from mandamus.serving.hub import Hub
from mandamus.web.app import build

HOSTILE = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://testserver.evil.example"},
    {"Origin": "https://testserver"},
    {"Origin": "http://testserver:81"},
    {"Origin": "http://testserver", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "http://testserver", "Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {},
]


def decide(client, run, **fields):
    """Post the form of a waiting step as the page has it, with these fields changed."""
    path = f"/runs/{run}/steps/change/decide"
    found = re.search(r'name="binding" value="([^"]+)"', client.get(path).text)
    data = {"binding": found[1] if found else "sha256:" + "0" * 64, "verdict": "approve", "reason": "", **fields}
    return client.post(path, data=data)


@pytest.mark.parametrize("headers", HOSTILE)
def test_forms_of_other_pages_are_refused(visit, runs, headers):
    """403, whatever the form, also with a good session; only this console's own pages may post."""
    client = visit("grace")
    del client.headers["origin"]
    for path in (f"/runs/{runs['waiting']}/steps/change/decide", "/audit/verify", "/sign-out", "/sign-in"):
        assert client.post(path, data={}, headers=headers).status_code == 403
    assert client.get("/").status_code == 200


def test_a_page_that_says_where_it_is_from_may_post(visit):
    """Sec-Fetch-Site alone is enough, for browsers that leave Origin out."""
    client = visit("grace")
    del client.headers["origin"]
    assert client.post("/sign-out", data={"x": ""}, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 303


def test_only_forms_are_taken(visit):
    """What a script of another page could send without asking, such as plain text, is no form."""
    client = visit("grace")
    assert client.post("/sign-out", content="x", headers={"Content-Type": "text/plain"}).status_code == 400
    assert client.post("/sign-out", json={}).status_code == 400
    many = "&".join(f"f{each}=" for each in range(301))
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert client.post("/sign-out", content=many, headers=headers).status_code == 400
    assert client.post("/sign-out", content="x" * 1_100_000, headers=headers).status_code == 413


def test_looking_at_a_link_does_not_use_it(place, visit):
    """A mail scanner that opens it takes nothing away; the second sign-in with it fails."""
    client = visit(None)
    link = place.house.sessions.link(place.house.who, "ada")
    for _ in range(2):
        assert f'value="{link}"' in client.get("/sign-in", params={"link": link}).text
    assert client.post("/sign-in", data={"link": link}).headers["location"] == "/"
    assert client.get("/").status_code == 200
    again = visit(None).post("/sign-in", data={"link": link})
    assert again.status_code == 401
    assert "set-cookie" not in again.headers


def test_the_cookie_is_bound(place, visit):
    """HttpOnly, Strict, the whole path; with TLS also secure and bound to the host by its name."""
    for secure, url, start in (
        (False, "http://testserver", "mandamus="),
        (True, "https://testserver", "__Host-mandamus="),
    ):
        app = build(place.house, Hub(place.house), os.urandom, secure=secure)
        client = TestClient(app, base_url=url, headers={"Origin": url}, follow_redirects=False)
        answer = client.post("/sign-in", data={"link": place.house.sessions.link(place.house.who)})
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith(start)
        for part in ("HttpOnly", "Path=/", "SameSite=strict"):
            assert part in cookie
        assert ("Secure" in cookie) is secure
        assert "Domain" not in cookie
        assert client.get("/").status_code == 200


def test_guessing_links_is_slow(visit):
    """After a few wrong links from one address it has to wait."""
    client = visit(None)
    limits = client.app.state.limits
    found = [client.post("/sign-in", data={"link": "A" * 43}).status_code for _ in range(15)]
    limits._left.clear()
    assert found[0] == 401
    assert found[-1] == 429


def test_nobody_approves_what_they_made(place, visit):
    """The page has no form for the maker and says why; a form sent all the same is refused, and says why."""
    run = place.run(asked=True)
    page = visit("ada").get(f"/runs/{run}/steps/change/decide").text
    assert "you asked for this change, and nobody approves what they made" in page
    assert 'name="verdict"' not in page
    binding = re.search(r"sha256:[0-9a-f]{64}", page)[0]
    answer = decide(visit("ada"), run, binding=binding)
    assert answer.status_code == 403
    assert "nobody approves what they made" in answer.text
    owner = visit("owner").get(f"/runs/{run}/steps/change/decide").text
    assert "you made part of what this change is judged by" in owner


def test_a_yes_is_bound_to_what_was_shown(place, visit):
    """A form for anything else than what waits now is refused; the right one is taken, and once."""
    run, grace = place.run(asked=True), visit("grace")
    moved = decide(grace, run, binding="sha256:" + "0" * 64)
    assert moved.status_code == 403
    assert decide(grace, run, binding="x").status_code == 422
    assert decide(grace, run, verdict="maybe").status_code == 422
    assert run in grace.get("/approvals").text
    taken = decide(grace, run, reason="as agreed")
    assert (taken.status_code, taken.headers["location"]) == (303, f"/runs/{run}")
    assert "as agreed" in grace.get(f"/runs/{run}").text
    assert run not in grace.get("/approvals").text
    assert decide(grace, run).status_code == 403


def test_a_no_ends_it(place, visit):
    """With the reason for everybody to read."""
    run, grace = place.run(asked=True), visit("grace")
    assert decide(grace, run, verdict="reject", reason="not in June").status_code == 303
    place.house.drive(run, lambda _notice: None)
    text = grace.get(f"/runs/{run}").text
    assert "not in June" in text
    assert "s-rejected" in text


def test_a_run_is_cancelled_and_tried_again(place, visit):
    """Each by a page that says what it means, and a form with a reason."""
    run, ada = place.run(asked=True), visit("ada")
    assert "What was applied stays applied" in ada.get(f"/runs/{run}/cancel").text
    assert ada.post(f"/runs/{run}/cancel", data={"reason": "wrong day"}).status_code == 303
    place.house.drive(run, lambda _notice: None)
    assert "s-cancelled" in ada.get(f"/runs/{run}").text
    assert ada.post(f"/runs/{run}/retry", data={"reason": "right day"}).status_code == 303


def test_nothing_is_done_by_looking(visit, runs):
    """The paths of forms that have no page of their own answer a GET with 405."""
    client = visit("grace")
    assert client.get("/sign-out").status_code == 405
    assert client.get("/").status_code == 200


def test_many_addresses_of_one_customer_are_one(visit):
    """A network of IPv6 has 2^64 addresses, and guessing from each of them is as slow as from one."""
    app = visit(None).app
    clients = [
        TestClient(app, headers={"Origin": "http://testserver"}, client=(f"2001:db8::{n}", 1)) for n in range(15)
    ]
    found = [client.post("/sign-in", data={"link": "A" * 43}).status_code for client in clients]
    app.state.limits._left.clear()
    assert (found[0], found[-1]) == (401, 429)


def test_what_brings_a_sign_in_back_is_counted(place):
    """What no sign-in of this browser ended with is a failure, and whoever has too many of them waits."""
    database, clock = place.house.rooms.db, place.house.clock
    app = build(place.house, Hub(place.house), os.urandom, secure=False)
    app.state.attempts = Attempts(database, clock, {"callback": Rate(3, 0.001)})
    with database.begin("test") as tx:
        sign_in_store.put_declared(tx.conn, SignIn("https://id.example", "mandamus", "https://here.example"))
    try:
        client = TestClient(app, client=("192.0.2.77", 1))
        found = [client.get("/sign-in/callback?state=x&code=y").status_code for _ in range(4)]
    finally:
        with database.begin("test") as tx:
            sign_in_store.put_declared(tx.conn, None)
    assert found == [401, 401, 401, 429]
