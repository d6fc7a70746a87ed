"""A home with everything real in it, in which people have run, approved and been refused something."""

from __future__ import annotations

import getpass
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mandamus.bootstrap.house import House, open_house
from mandamus.operations.checkup import Finding, Level
from mandamus.runs.model import Request, Run
from mandamus.settings import Settings

PLATFORM = """
users: {ada: {}, grace: {}, OWNER: {}}
groups:
  platform: [grace]
environments:
  dev: {policies: [policy]}
"""
RULES = """package mandamus.plan

deny contains "no" if input.run.inputs.x == "denied"

require_approval contains {"group": "platform", "count": 1, "msg": "look"} if input.run.inputs.x == "asked"
"""
WORKFLOW = """workflow: w
inputs: {x: {type: string, default: plain}}
steps:
  first: {script: {run: 'test "$X" != failed', env: {X: "${{ inputs.x }}"}}}
  second: {needs: [first], script: {run: "true"}}
"""


@dataclass
class Place:
    """A home and a project; houses opened here are closed with the test."""

    home: Path
    project: Path
    environ: dict[str, str] = field(default_factory=lambda: {"PATH": os.environ["PATH"]})
    opened: list[House] = field(default_factory=list)

    def house(self, user: str | None = None, **environ: str) -> House:
        """Open the home, as a user."""
        made = open_house(Settings(), {**self.environ, **environ}, self.home, user)
        self.opened.append(made)
        return made

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project."""
        path = self.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("OWNER", getpass.getuser()))
        return path

    def request(self, x: str = "plain") -> Run:
        """Ask for a run as ada, and leave it at that."""
        house = self.house("ada")
        return house.runs.request(house.who, self.project, Request("workflows/w.yaml", "dev", {"x": x}, reason="why"))

    def run(self, x: str = "plain") -> Run:
        """Ask for a run as ada, and see it through until it waits or has ended."""
        return self.house().drive(self.request(x).id, lambda _notice: None)

    def sql(self, *statements: str) -> list[Any]:
        """Change the database by hand, as somebody would who should not; gives the rows of the last statement."""
        with closing(sqlite3.connect(self.home / "mandamus.db", isolation_level=None)) as conn:
            return [conn.execute(statement).fetchall() for statement in statements][-1]

    def close(self) -> None:
        """Close every house."""
        while self.opened:
            self.opened.pop().close()


@pytest.fixture(scope="module")
def new_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to copy, with ada and grace, one environment and its policy."""
    folder = tmp_path_factory.mktemp("new")
    made = Place(folder / "home", folder / "project")
    made.write("mandamus.yaml", "# a project\n")
    made.write("workflows/w.yaml", WORKFLOW)
    made.write("policy/rules.rego", RULES)
    house = made.house()
    house.configure.apply(house.who, made.write("platform.yaml", PLATFORM))
    made.close()
    return folder


@pytest.fixture(scope="module")
def lived_place(new_place: Path) -> tuple[Path, dict[str, Run]]:
    """The same after a run that succeeded, one denied, one failed, and one that waits for people."""
    folder = new_place.with_name(f"{new_place.name}-lived")
    shutil.copytree(new_place, folder)
    made = Place(folder / "home", folder / "project")
    runs = {x: made.run(x) for x in ("plain", "denied", "failed", "asked")}
    made.close()
    return folder, runs


def _copied(source: Path, folder: Path) -> Iterator[Place]:
    shutil.copytree(source, folder / "place")
    made = Place(folder / "place" / "home", folder / "place" / "project")
    yield made
    made.close()


@pytest.fixture
def place(new_place: Path, tmp_path: Path) -> Iterator[Place]:
    """A home in which nothing has run."""
    yield from _copied(new_place, tmp_path)


@pytest.fixture
def lived(lived_place: tuple[Path, dict[str, Run]], tmp_path: Path) -> Iterator[tuple[Place, dict[str, Run]]]:
    """A home with runs of every kind, and the runs."""
    folder, runs = lived_place
    for made in _copied(folder, tmp_path):
        yield made, runs


@pytest.fixture
def examined() -> Callable[..., list[Finding]]:
    """What the doctor finds in a place."""

    def examine(place: Place, **environ: str) -> list[Finding]:
        house = place.house(**environ)
        return house.doctor.examine(house.who)

    return examine


@pytest.fixture
def wrong() -> Callable[[list[Finding]], list[tuple[str, str]]]:
    """Check and message of every finding that is not ok."""
    return lambda findings: [(each.check, each.message) for each in findings if each.level is not Level.OK]
