"""A home with three people and a real server on it, asked as programs would."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from mandamus.api.app import build
from mandamus.bootstrap.house import House, open_house
from mandamus.kernel.access import Permission
from mandamus.serving.hub import Hub
from mandamus.settings import Settings

PLATFORM = """
users: {ada: {}, grace: {}, joan: {}, rita: {role: auditor}, pam: {role: none}, OWNER: {}}
groups:
  platform: [ada, grace]
service_accounts:
  ci: {owner: ada}
grants:
  pam-in-dev: {role: operator, to: {user: pam}, projects: [storage], environments: [dev]}
  ci-in-dev: {role: operator, to: {service_account: ci}, environments: [dev]}
projects:
  storage: {root: .}
environments:
  dev:
    policies: [policy]
    approval_ttl: 1h
  guarded:
    policies: [policy, guard]
"""
GUARD = """package mandamus.access

deny contains "nobody reads what others printed" if {
	input.action == "run:read_log"
	input.who.user == "joan"
}
"""
WORKFLOW = """workflow: deploy
inputs:
  asked:  {type: boolean, default: false}
  public: {type: boolean, default: false}
  says:   {type: string, default: done}
steps:
  change:
    script:
      run: 'printf "%s\\\\n" "$SAYS"'
      env: {SAYS: "${{ inputs.says }}"}
"""


@dataclass
class Place:
    """A home, its project, and tokens for its people."""

    home: Path
    project: Path
    secrets: dict[str, str]

    def open(self, user: str | None = None) -> House:
        """The home, opened as somebody at the keyboard."""
        return open_house(Settings(), dict(os.environ), self.home, user)

    def mint(self, user: str | None, **options: Any) -> str:
        """A token of somebody."""
        house = self.open(user)
        try:
            return house.tokens.create(house.who, "a test", **options).secret
        finally:
            house.close()


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, make_home) -> Place:
    """Made once: what a test does in it, it does with runs of its own."""
    home, project = make_home(tmp_path_factory.mktemp("api"), PLATFORM, WORKFLOW, GUARD)
    made = Place(home, project, {})
    for user in ("ada", "grace", "joan", "rita", "pam"):
        made.secrets[user] = made.mint(user)
    made.secrets["owner"] = made.mint(None)
    made.secrets["reader"] = made.mint("joan", permissions=[Permission.RUN_READ, Permission.SYSTEM_READ])
    return made


@pytest.fixture(scope="session")
def app_client(place: Place) -> Iterator[TestClient]:
    """The application in this process, without an engine."""
    house = place.open()
    yield TestClient(build(house, "test", Hub(house)), raise_server_exceptions=False)
    house.close()


def _followed(app: Any, follow: Callable[[], httpx2.Response], meanwhile: Callable[[], object]) -> httpx2.Response:
    """The answer to a request that goes on, when something is done as soon as it is under way."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(follow)
        until_s = time.monotonic() + 60
        while not app.state.hub._followers and not answer.done():
            assert time.monotonic() < until_s
            time.sleep(0.01)
        meanwhile()
        return answer.result(60)


@pytest.fixture(scope="session")
def followed() -> Callable[[Any, Callable[[], httpx2.Response], Callable[[], object]], httpx2.Response]:
    """Asks an application something that goes on, does something as soon as it is under way, and gives the answer."""
    return _followed


As = Callable[[str], httpx2.Client]


@pytest.fixture(scope="session")
def server(place: Place, serve) -> Iterator[str]:
    """The URL of a real server process; whatever was asked of it, it logged no token and no failure of its own."""
    said = place.home.with_name("server.log")
    with serve(place.home, said) as url:
        yield url
    text = said.read_text()
    assert not [user for user, secret in place.secrets.items() if secret in text or secret[4:40] in text]
    assert "Traceback" not in text, text
    assert "SELECT" not in text, text


@pytest.fixture
def as_user(place: Place, server: str) -> Iterator[As]:
    """A client of the real server for each person."""
    clients: list[httpx2.Client] = []

    def make(user: str) -> httpx2.Client:
        headers = {"Authorization": f"Bearer {place.secrets[user]}"}
        clients.append(httpx2.Client(base_url=server, headers=headers, timeout=60))
        return clients[-1]

    yield make
    for each in clients:
        each.close()
