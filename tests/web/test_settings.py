"""Settings: one's own tokens and sessions, people and roles, the review, notifications, and the server."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from mandamus.notify.model import Answer, Delivery, Standing, State

PAGES = ("/settings", "/settings/tokens", "/settings/sessions", "/settings/people", "/settings/roles")
PAGES += ("/settings/notifications", "/settings/server")


def make(client, **fields):
    """Post the form for a token as its page has it, with these fields."""
    page = client.get("/settings/tokens").text
    key = re.search(r'name="key" value="([^"]+)"', page)[1]
    return client.post("/settings/tokens", data={"key": key, "name": "deploys", "days": "3", **fields})


def test_each_page_of_settings_leads_to_the_others(visit):
    """And says which one it is; what somebody may not see is not named to them."""
    client = visit("owner")
    assert "/settings/notifications" not in visit("grace").get("/settings").text
    for path in PAGES:
        page = client.get(path).text
        for other in PAGES:
            assert f'href="{other}"' in page, (path, other)
        assert f'<a href="{path}" aria-current="page">' in page


def test_the_first_page_says_who_one_is_and_what_one_may(visit):
    """Every permission with the places where one has it."""
    page = visit("grace").get("/settings").text
    assert "one-time link of another, unverified" in page
    assert re.search(r"<code>run:request</code></th><td>everywhere", page)
    assert "identity:write" not in page


def test_a_token_is_made_shown_once_and_ended(visit, place):
    """The secret works, stands on no other page, and nothing of it is left once the token is ended."""
    client = visit("ada")
    made = make(client, **{"may.run:read": "1"})
    secret = re.search(r"mdm_[0-9A-Za-z]{49}", made.text)[0]
    assert {each.value for each in place.house.tokens.authenticate(secret).permissions} == {"run:read"}
    page = client.get("/settings/tokens").text
    assert secret not in page
    end = re.search(r'href="(/settings/tokens/tok_\w+/revoke)"', page)[1]
    assert "cannot be taken back" in client.get(end).text
    assert client.post(end, data={"x": ""}).headers["location"] == "/settings/tokens"
    with pytest.raises(Exception, match="this token is not good here"):
        place.house.tokens.authenticate(secret)


def test_a_token_form_that_is_sent_twice_makes_one(visit, place):
    """The second answer has no secret, and says why."""
    client = visit("ada")
    page = client.get("/settings/tokens").text
    data = {"key": re.search(r'name="key" value="([^"]+)"', page)[1], "name": "only once", "days": "3"}
    first, second = (client.post("/settings/tokens", data=data) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 409)
    assert "mdm_" not in second.text
    assert second.text.count('<span class="name">only once</span>') == 1


@pytest.mark.parametrize("fields", [{"days": "91"}, {"days": "x"}, {"name": " "}, {"name": "x" * 101}, {"key": ""}])
def test_a_token_that_cannot_be_is_refused(visit, fields):
    """With what would do, and what was typed."""
    answer = make(visit("ada"), **fields)
    assert answer.status_code == 422
    assert "mdm_" not in answer.text


def test_nobody_sees_or_ends_what_another_comes_in_with(visit, place):
    """Tokens and sessions of somebody else are not there, for the owner's own pages neither."""
    token = place.house.tokens.create(place.house.identity.active("ada"), "of ada").token.id
    session = place.house.kill_switch.sessions(place.house.identity.active("ada"))[0].id if visit("ada") else ""
    for user in ("grace", "owner"):
        client = visit(user)
        assert token not in client.get("/settings/tokens").text
        assert session not in client.get("/settings/sessions").text
        for path in (f"/settings/tokens/{token}/revoke", f"/settings/sessions/{session}/end"):
            assert client.get(path).status_code == 404
            assert client.post(path, data={"x": ""}).status_code == 404
    assert visit("ada").get(f"/settings/sessions/{session}/end").status_code == 200


def test_a_session_is_ended_from_another(visit):
    """It lets nobody in from the next page on; the one that ended it goes on."""
    first = visit("ada")
    second = visit("ada")
    newest = re.search(r'href="(/settings/sessions/ses_\w+/end)"', second.get("/settings/sessions").text)[1]
    other = re.findall(r'href="(/settings/sessions/ses_\w+/end)"', second.get("/settings/sessions").text)[1]
    assert other != newest
    assert "you are signed out" in second.get(other).text
    assert second.post(other, data={"x": ""}).status_code == 303
    assert first.get("/").status_code == 303
    assert second.get("/").status_code == 200


def test_everything_is_ended_at_once(visit, place):
    """Sessions and tokens alike, this session too."""
    client = visit("ada")
    secret = re.search(r"mdm_[0-9A-Za-z]{49}", make(client).text)[0]
    assert "every token" in client.get("/settings/sessions/end-all").text
    assert client.post("/settings/sessions/end-all", data={"x": ""}).headers["location"] == "/sign-in"
    assert client.get("/").status_code == 303
    with pytest.raises(Exception, match="this token is not good here"):
        place.house.tokens.authenticate(secret)


def test_people_groups_and_roles_are_shown_without_addresses(visit, place):
    """Who is in which group with which role; the filter stands in the address."""
    client = visit("grace")
    page = client.get("/settings/people").text
    assert re.search(r'<th scope="row">ada', page)
    assert "platform" in page
    assert not re.search(r"[\w.]+@example\.com", page)
    assert "Nobody fits" in client.get("/settings/people", params={"text": "<b>none"}).text
    roles = client.get("/settings/roles").text
    assert 'approver <span class="tag">built in</span>' in roles
    assert "/settings/access-review" not in roles
    assert "/settings/access-review" in visit("owner").get("/settings/roles").text


def test_the_access_review_is_read_and_downloaded(visit, place):
    """As a page, a table and a document; each reading of it is an event."""
    owner = visit("owner")
    page = owner.get("/settings/access-review").text
    assert "Who may approve what" in page
    table = owner.get("/settings/access-review.csv")
    assert table.headers["content-disposition"] == 'attachment; filename="access-review.csv"'
    assert "grace" in {row["user"] for row in csv.DictReader(io.StringIO(table.text))}
    document = owner.get("/settings/access-review.json")
    assert json.loads(document.text)["format"] == "access-review/1"
    assert len([1 for each in place.house.audit.following.leaves("access/review", -1)]) >= 3
    assert visit("grace").get("/settings/access-review").status_code == 403


def test_notifications_say_what_to_do_next(visit):
    """Nobody is told of anything yet; to replay nothing is refused."""
    owner = visit("owner")
    assert "Nobody is told of anything" in owner.get("/settings/notifications").text
    assert owner.post("/settings/notifications/replay", data={"x": ""}).status_code == 422
    assert owner.post("/settings/notifications/replay", data={"letter.1": "1"}).status_code == 404
    assert owner.post("/settings/notifications/replay", data={"letter.x": "1"}).status_code == 422
    assert owner.post("/settings/notifications/none/test", data={"x": ""}).status_code == 404
    assert owner.get("/settings/notifications", params={"cursor": "x"}).status_code == 422


def test_the_server_says_what_it_is(visit, place):
    """Its version, its log's key, and who works on the runs."""
    page = visit("grace").get("/settings/server").text
    assert place.house.audit.vkey in page.replace("&#43;", "+")
    assert "works on the runs of this home" in page


def test_who_is_told_of_what_and_what_could_not_be_told(visit, place, monkeypatch):
    """Each receiver with its state; dead letters to be chosen and sent again; nothing of it is markup."""
    hook = Standing(
        name="hook",
        target="https://hooks.example.com/<b>",
        active=True,
        kinds=("run.*",),
        projects=("storage",),
        environments=(),
        outcomes=(),
        groups=(),
        applied_by="ada",
        waiting=2,
        dead=1,
        ended_us=place.house.clock.now_us(),
        error="timeout",
        disabled_us=None,
    )
    now_us = place.house.clock.now_us()
    letter = Delivery(
        7, "hook", "evt_x", "run.closed", place.run(), "storage", State.DEAD, 7, now_us, now_us, now_us, "<i>"
    )
    sent = []
    notify = type(place.house.notify)
    monkeypatch.setattr(notify, "subscriptions", lambda _self, _who: [hook])
    monkeypatch.setattr(notify, "dead", lambda _self, _who, **_page: [letter])
    monkeypatch.setattr(notify, "replay", lambda _self, _who, ids=None: sent.append(ids))
    monkeypatch.setattr(notify, "test", lambda _self, _who, _name: Answer("refused", "connection refused"))
    owner = visit("owner")
    page = owner.get("/settings/notifications").text
    for part in (
        "https://hooks.example.com/&lt;b&gt;",
        "2 wait",
        "1 dead",
        "projects storage",
        "&lt;i&gt;, 7 attempts",
    ):
        assert part in page, part
    assert owner.post("/settings/notifications/replay", data={"letter.7": "1"}).status_code == 303
    assert owner.post("/settings/notifications/replay", data={"all": "1"}).status_code == 303
    assert sent == [[7], None]
    tested = owner.post("/settings/notifications/hook/test", data={"x": ""})
    assert "hook did not take a message: refused: connection refused" in tested.text
