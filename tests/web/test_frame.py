"""What frames every page: all screens, what waits, the look that its visitor chose, and the keys."""

from __future__ import annotations

import re

import pytest

from mandamus.web.frame import own_address
from mandamus.web.render import SCREENS


def bell(text: str) -> str:
    """What a page says of how many wait; nothing where it is hidden."""
    found = re.search(r'id="bell"( hidden)?>.*?<span class="count">(\d*\+?)</span>', text)
    return "" if found[1] else found[2]


def test_every_screen_is_two_keys_away(visit):
    """Each stands in the navigation, is there, marks itself, and has a key of its own."""
    client = visit("grace")
    for href, name, key in SCREENS:
        answer = client.get(href)
        assert answer.status_code == 200, href
        assert re.search(rf'<a href="{href}" data-go="{key}" aria-current="page">{name}', answer.text), href
        navigation = re.search(r'<nav aria-label="Main">.*?</nav>', answer.text, re.DOTALL)[0]
        assert navigation.count('aria-current="page"') == 1, href
    assert len({key for _, _, key in SCREENS}) == len(SCREENS)


def test_the_bell_says_how_many_wait(place, visit, monkeypatch):
    """For whoever is asked, on every page and alone for a script; it stops counting where nobody would."""
    place.run(asked=True)
    grace = visit("grace")
    count = len(place.house.runs.inbox(place.house.identity.active("grace")))
    wanted = str(count) if count <= 9 else "9+"
    assert bell(grace.get("/audit").text) == wanted
    assert grace.get("/approvals?part=count").text == wanted
    monkeypatch.setattr("mandamus.web.bell.COUNTED_MAX", 0)
    place.run(asked=True)
    assert bell(grace.get("/").text) == "0+"
    assert bell(visit("owner").get("/").text) == ""


def test_the_look_is_kept_with_the_browser(visit):
    """By a form, without a script; what is usual is kept by keeping nothing; back where it was chosen."""
    client = visit("grace")
    assert '<html lang="en">' in client.get("/").text
    answer = client.post("/look", data={"theme": "dark", "back": "/runs?state=failed"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs?state=failed")
    for part in ("HttpOnly", "SameSite=strict", "Path=/"):
        assert part in answer.headers["set-cookie"]
    text = client.get("/runs?state=failed").text
    assert '<html lang="en" data-theme="dark">' in text
    assert '<meta name="color-scheme" content="dark">' in text
    assert 'name="back" value="/runs?state=failed"' in text
    assert "data-keys" not in text
    client.post("/look", data={"keys": "off"})
    text = client.get("/").text
    assert '<body data-keys="off">' in text
    assert 'data-theme="dark"' in text
    client.post("/look", data={"theme": "system", "keys": "on"})
    text = client.get("/").text
    assert 'data-theme="' not in text
    assert 'data-keys="' not in text


def test_a_forged_choice_is_none(visit):
    """Only what can be chosen is taken from a cookie or a form."""
    client = visit("grace")
    client.cookies.set("mandamus-theme", '"><script>')
    assert '<html lang="en">' in client.get("/").text
    assert "mandamus-theme=;" not in client.post("/look", data={"other": "x"}).headers.get("set-cookie", "")
    assert "script" not in client.post("/look", data={"theme": "<script>"}).headers["set-cookie"]


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/",
        "//evil.example",
        "///evil.example",
        "////evil.example/x",
        "//[evil",
        "/\\evil.example",
        "\\/evil",
        "evil",
        "",
        "/x\r\nX: y",
        "/\t/x",
    ],
)
def test_back_leads_nowhere_else(visit, address):
    """Whatever a form says, it leads to a page of this console."""
    assert own_address(address) == "/"
    assert visit("grace").post("/look", data={"theme": "dark", "back": address}).headers["location"] == "/"


def test_the_keys_are_told(visit):
    """On a page of their own, and alone for the dialog; each key of the navigation is in the table."""
    client = visit("grace")
    page, part = client.get("/keys").text, client.get("/keys?part=1").text
    for _, name, key in SCREENS:
        assert f"<kbd>g</kbd> <kbd>{key}</kbd></th><td>go to {name}" in page
    assert "<html" not in part
    assert "<table" in part
