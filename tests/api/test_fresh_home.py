"""A home that was just made lets nobody in: no default account, no default key, nothing open, and no way to guess."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient
from starlette.routing import Route

from mandamus.api.app import build
from mandamus.api.door import PUBLIC
from mandamus.bootstrap.house import House, open_house
from mandamus.bootstrap.server import open_server
from mandamus.identity.attempts import Attempts, Rate
from mandamus.kernel.errors import Code, MandamusError
from mandamus.serving.hub import Hub
from mandamus.settings import Settings
from mandamus.web.app import build as build_web
from mandamus.web.door import PUBLIC as PUBLIC_PAGES

PASSWORD = "gravel-otter-59-lantern-quiet"
ORIGIN = {"Origin": "http://testserver"}
ANYBODY_MAY_POST = {"/sign-in", "/api/v1/device/code", "/api/v1/device/token", "/api/v1/token-exchange"}
"""What asks to be let in; none of them does it without something that was signed, made or set here."""


def opened(home: Path) -> House:
    """A home, opened by its owner."""
    return open_house(Settings(), dict(os.environ), home, None)


@pytest.fixture
def house(tmp_path) -> Iterator[House]:
    """A home that nobody has come in to."""
    made = opened(tmp_path / "home")
    yield made
    made.close()


def doors(house: House) -> tuple[TestClient, TestClient]:
    """The API and the console of a home."""
    hub = Hub(house)
    options: Any = {"raise_server_exceptions": False, "follow_redirects": False}
    return (
        TestClient(build(house, "test", hub), **options),
        TestClient(build_web(house, hub, os.urandom, secure=False, version="test"), headers=ORIGIN, **options),
    )


def test_a_scan_of_every_route_reaches_nothing(house):
    """Each method of each route of both doors, without credentials: only what is public by its exact path answers."""
    reached, asked = set(), 0
    for client, public in zip(doors(house), (PUBLIC, PUBLIC_PAGES), strict=True):
        for route in client.app.routes:
            assert isinstance(route, Route)
            path = re.sub(r"{[^}]+}", "nobody", route.path)
            for method in sorted({*(route.methods or ()), "GET", "POST", "PUT", "PATCH", "DELETE"}):
                client.app.state.limits._left.clear()
                asked += 1
                answer = client.request(method, path)
                if answer.status_code < 300 and method not in {"HEAD", "GET"}:
                    reached.add(path)
                elif answer.status_code < 400 and path not in public:
                    assert (answer.status_code, answer.headers["location"][:8]) == (303, "/sign-in"), (method, path)
                assert answer.status_code != 500, (method, path)
    assert asked > 100
    assert reached <= ANYBODY_MAY_POST
    assert house.identity.users(house.who) == []
    assert house.tokens.list(house.who) == []


def test_there_are_no_credentials_that_everybody_knows(house):
    """Names and passwords of manuals, empty ones, and what a home holds in its files: none lets in."""
    api, console = doors(house)
    everybody = Rate(1e6, 1e6)
    for client in (api, console):
        client.app.state.attempts = Attempts(
            house.rooms.db, house.clock, dict.fromkeys(("token", "link", "password"), everybody)
        )
    for word in ("", "admin", "mandamus", "password", "changeme", house.who.user, "mdm_" + "0" * 49):
        console.app.state.limits._left.clear()
        for form in ({"password": word}, {"link": word}):
            assert console.post("/sign-in", data=form).status_code == 401, form
        for header in (f"Bearer {word}", f"Basic {word}", word):
            assert api.get("/api/v1/me", headers={"Authorization": header}).status_code == 401
    assert 'name="password"' not in console.get("/sign-in").text


def test_two_homes_share_no_key(tmp_path):
    """Every key file, name and secret of one is another one in the other."""
    kept = []
    for name in ("one", "two"):
        with closing(opened(tmp_path / name)) as house:
            files = [path for path in sorted((tmp_path / name / "keys").rglob("*")) if path.is_file()]
            secrets = {path.read_bytes() for path in files}
            assert len(secrets) == len(files) > 1
            assert all(path.stat().st_mode & 0o077 == 0 for path in files)
            kept.append({*secrets, house.audit.origin.encode(), house.sessions.link(house.who).encode()})
    assert not kept[0] & kept[1]


def test_a_home_is_not_opened_to_others_before_somebody_answers_for_it(tmp_path):
    """Beyond this machine only with TLS, and after the owner has signed in once."""
    certificate = tmp_path / "certificate.pem"
    certificate.write_text("read when it is served")

    def serve(tls: Any) -> None:
        open_server(Settings(), dict(os.environ), tmp_path / "home", ("0.0.0.0", 0), tls).close()  # noqa: S104 - the point

    def refused(tls: Any) -> MandamusError:
        with pytest.raises(MandamusError) as raised:
            serve(tls)
        return raised.value

    assert refused(None).code is Code.USAGE
    error = refused((certificate, certificate))
    assert (error.code, "mandamus up" in error.remedy) == (Code.FORBIDDEN, True)
    with closing(opened(tmp_path / "home")) as house:
        house.passwords.set(house.who, PASSWORD)
    # A password alone is nobody who has come in.
    assert refused((certificate, certificate)).code is Code.FORBIDDEN
    with closing(opened(tmp_path / "home")) as house:
        house.sessions.open(house.sessions.link(house.who))
    serve((certificate, certificate))


@pytest.mark.parametrize("proxies", ["0.0.0.0/0", "::/0", "10.0.0.0/99", "1.2.3"])
def test_not_everybody_is_a_proxy(tmp_path, proxies):
    """Whoever may say where a request came from may try as often as they like: that is never everybody."""
    with pytest.raises(MandamusError) as raised:
        open_server(Settings(trusted_proxies=proxies), dict(os.environ), tmp_path / "home", ("127.0.0.1", 0), None)
    assert raised.value.code is Code.USAGE


@pytest.mark.slow
def test_what_a_caller_says_of_its_address_is_not_believed(tmp_path, serve):
    """X-Forwarded-For is nobody's word without `MANDAMUS_TRUSTED_PROXIES`: tries are counted by the real address."""
    with closing(opened(tmp_path / "home")):
        pass
    with serve(tmp_path / "home", tmp_path / "said") as url, httpx2.Client(base_url=url, timeout=60) as client:
        statuses = [
            client.post(
                "/sign-in",
                data={"password": f"guess {number}"},
                headers={"Origin": url, "X-Forwarded-For": f"192.0.2.{number}", "Forwarded": f"for=192.0.2.{number}"},
            ).status_code
            for number in range(12)
        ]
    assert statuses[:2] == [401, 401]
    assert statuses[-1] == 429


def test_the_owner_comes_in_by_a_password_that_was_set(house):
    """The page has a form for it as long as there is one; guesses make one wait, also the owner, but not by a link."""
    _, console = doors(house)
    house.passwords.set(house.who, PASSWORD)
    page = console.get("/sign-in").text
    assert '<label for="password">' in page
    came = console.post("/sign-in", data={"password": PASSWORD})
    assert came.status_code == 303
    assert console.get("/").status_code == 200
    console.cookies.clear()
    few = dict.fromkeys(("password", "link"), Rate(2, 0.001))
    console.app.state.attempts = Attempts(house.rooms.db, house.clock, few)
    statuses = []
    for number in range(3):
        console.app.state.limits._left.clear()
        statuses.append(console.post("/sign-in", data={"password": f"guess {number}"}).status_code)
    assert (statuses[0], statuses[-1]) == (401, 429)
    console.app.state.limits._left.clear()
    assert console.post("/sign-in", data={"password": PASSWORD}).status_code == 429
    assert console.post("/sign-in", data={"link": house.sessions.link(house.who)}).status_code == 303
