"""A home, a real server on it, and a client for each of its people."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mandamus.bootstrap.house import House, open_house
from mandamus.client.client import Client
from mandamus.settings import Settings

PLATFORM = """
users: {ada: {}, grace: {}, joan: {}, OWNER: {}}
groups:
  platform: [ada, grace]
projects:
  storage: {root: .}
environments:
  dev:
    vars: {region: here}
    policies: [policy]
    approval_ttl: 1h
"""
WORKFLOW = """workflow: deploy
inputs:
  asked:  {type: boolean, default: false}
  public: {type: boolean, default: false}
  says:   {type: string, default: done}
  nap_s:  {type: integer, default: 0}
  code:   {type: integer, default: 0}
steps:
  change:
    script:
      run: 'printf "%s\\\\n" "$SAYS"; sleep "$NAP_S"; exit "$CODE"'
      env: {SAYS: "${{ inputs.says }}", NAP_S: "${{ inputs.nap_s }}", CODE: "${{ inputs.code }}"}
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


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, make_home) -> Place:
    """Made once: what a test does in it, it does with runs of its own."""
    home, project = make_home(tmp_path_factory.mktemp("client"), PLATFORM, WORKFLOW)
    made = Place(home, project, {})
    house = made.open()
    made.secrets["owner"] = house.tokens.create(house.who, "a test").secret
    house.close()
    for user in ("ada", "grace", "joan"):
        house = made.open(user)
        made.secrets[user] = house.tokens.create(house.who, "a test").secret
        house.close()
    return made


@pytest.fixture(scope="session")
def server(place: Place, serve) -> Iterator[str]:
    """The URL of a real server process."""
    with serve(place.home, place.home.with_name("server.log")) as url:
        yield url


As = Callable[[str], Client]


@pytest.fixture(scope="session")
def as_user(place: Place, server: str) -> Iterator[As]:
    """A client of the real server for each person."""
    clients: dict[str, Client] = {}

    def of(user: str) -> Client:
        if user not in clients:
            clients[user] = Client(server, place.secrets[user], entropy=os.urandom)
        return clients[user]

    yield of
    for each in clients.values():
        each.close()
