"""One governed change in browsers without a script, on the server that `mandamus up` starts."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from mandamus.evidence.verify import verify


@pytest.fixture(scope="module")
def server(place) -> Iterator[tuple[str, str]]:
    """The URL of a real server on the home, and the link it printed."""
    words = [sys.executable, "-m", "mandamus", "--home", str(place.house.home), "up", "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().strip()
        link = ""
        while "/sign-in?link=" not in link:
            link = process.stderr.readline()
            assert link, "the server ended"
        yield url, link.split()[-1]
        process.terminate()
        process.communicate(timeout=60)
        assert process.returncode == 0


@pytest.fixture
def browser(place, server) -> Iterator[Callable[[str], httpx2.Client]]:
    """A browser of somebody for whom the owner made a link."""
    clients = []

    def make(user: str) -> httpx2.Client:
        secret = place.house.sessions.link(place.house.who, user)
        clients.append(enter(server[0], f"{server[0]}/sign-in?link={secret}"))
        return clients[-1]

    yield make
    for each in clients:
        each.close()


def enter(url: str, link: str) -> httpx2.Client:
    """Sign in by a link, as its page does."""
    client = httpx2.Client(base_url=url, headers={"Origin": url}, timeout=60)
    secret = re.search(r'name="link" value="([^"]+)"', client.get(link).text)[1]
    assert client.post("/sign-in", data={"link": secret}).headers["location"] == "/"
    return client


def until(client: httpx2.Client, path: str, words: str) -> str:
    """Look at a page until it holds these words."""
    for _ in range(600):
        text = client.get(path).text
        if words in text:
            return text
        time.sleep(0.1)
    raise AssertionError(f"{path} never said {words}:\n{text}")


def test_the_printed_link_signs_the_owner_in(place, server):
    """Once; whoever comes in by it is verified."""
    client = enter(*server)
    page = client.get("/").text
    assert place.house.who.user in page
    assert "unverified" not in page
    assert client.post("/sign-in", data={"link": server[1].partition("=")[2]}).status_code == 401


def test_the_api_is_where_it_was(server):
    """Its paths are its own, with its own words; every other is a page."""
    client = httpx2.Client(base_url=server[0], timeout=60)
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/api/v1/me").json()["code"] == "unauthenticated"
    assert client.get("/api/none").headers["content-type"] == "application/problem+json"
    assert client.get("/metrics").status_code == 401
    assert client.get("/runs").headers["location"] == "/sign-in?then=%2Fruns"
    assert client.get("/none").headers["content-type"].startswith("text/html")


def test_the_whole_story(place, server, browser, tmp_path: Path):
    """Asked, refused for the maker, approved by another by pages alone, watched to its end, and proved."""
    ada, grace = browser("ada"), browser("grace")
    run = place.run(asked=True)
    assert "you asked for this change" in ada.get(f"/runs/{run}").text
    decide = f"/runs/{run}/steps/change/decide"
    assert decide in grace.get("/approvals").text
    page = grace.get(decide).text
    binding = re.search(r'name="binding" value="([^"]+)"', page)[1]
    assert "changes are looked at" in page
    with ada.stream("GET", f"/runs/{run}/live") as live:
        lines = live.iter_lines()
        assert any("s-waiting" in line for line in lines)
        answer = grace.post(decide, data={"binding": binding, "verdict": "approve", "reason": "as agreed"})
        assert answer.status_code == 303
        rest = list(lines)
    assert any("badge s-succeeded" in line for line in rest)
    assert rest[-3:-1] == ["event: end", "data: over"]
    text = until(ada, f"/runs/{run}", "Download the evidence")
    assert "as agreed" in text
    bundle = tmp_path / "proof.zip"
    bundle.write_bytes(grace.get(f"/runs/{run}/evidence").content)
    report = grace.post("/audit/verify", data={"sent": "1"}).text
    assert "all of them as they were signed" in report
    key = re.search(r'Key: <code class="digest">([^<]+)<', report)[1]
    assert verify(bundle, key.replace("&#43;", "+")).ok
    grace.post("/sign-out", data={"sent": "1"})
    assert grace.get("/").headers["location"] == "/sign-in"
