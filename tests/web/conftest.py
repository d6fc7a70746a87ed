"""A home with two people and runs in many states, and its console in this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from mandamus.bootstrap.house import House, open_house
from mandamus.runs.model import Request
from mandamus.serving.hub import Hub
from mandamus.settings import Settings
from mandamus.web.app import build

ORIGIN = "http://testserver"
PLATFORM = """
users: {ada: {}, grace: {}, OWNER: {}}
groups:
  platform: [ada, grace]
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

deny contains "only grace reads what is printed here" if {
	input.action == "run:read_log"
	input.who.user != "grace"
}
"""
WORKFLOW = """workflow: deploy
inputs:
  asked:  {type: boolean, default: false}
  public: {type: boolean, default: false}
  says:   {type: string, default: done}
steps:
  look:
    script: {run: 'echo looked'}
  change:
    needs: [look]
    script:
      run: 'printf "%s\\\\n" "$SAYS"; printf "said=%s\\\\n" "$(printf "%s" "$SAYS" | head -n 1)" > "$MANDAMUS_OUTPUT"'
      env: {SAYS: "${{ inputs.says }}"}
"""


@dataclass
class Place:
    """An opened home and its project."""

    house: House
    project: Path

    def run(self, reason: str = "as planned", environment: str = "dev", **inputs: Any) -> str:
        """A run that ada asked for, driven until it waits or has ended; its id."""
        ada = self.house.identity.active("ada")
        asked = Request("workflows/deploy.yaml", environment, inputs, reason)
        made = self.house.runs.request(ada, self.project, asked)
        self.house.drive(made.id, lambda _notice: None)
        return made.id


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, make_home) -> Iterator[Place]:
    """Made once: what a test does in it, it does with runs of its own."""
    home, project = make_home(tmp_path_factory.mktemp("web"), PLATFORM, WORKFLOW, GUARD)
    house = open_house(Settings(), dict(os.environ), home, None)
    yield Place(house, project)
    house.close()


@pytest.fixture(scope="session")
def runs(place: Place) -> dict[str, str]:
    """A run in each state that pages show differently."""
    return {"waiting": place.run(asked=True), "denied": place.run(public=True), "succeeded": place.run()}


As = Callable[[str | None], TestClient]


@pytest.fixture(scope="session")
def visit(place: Place) -> As:
    """A browser of somebody who is signed in, or of nobody."""
    app = build(place.house, Hub(place.house), os.urandom, secure=False)

    def make(user: str | None) -> TestClient:
        app.state.limits._left.clear()
        client = TestClient(app, headers={"Origin": ORIGIN}, follow_redirects=False, raise_server_exceptions=False)
        if user is not None:
            owner = place.house.who
            link = place.house.sessions.link(owner, None if user == "owner" else user)
            assert client.post("/sign-in", data={"link": link}).status_code == 303
        return client

    return make
