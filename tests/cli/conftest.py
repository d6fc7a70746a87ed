"""The command line in this process, on a home with everything real in it: what it says and how it ends."""

from __future__ import annotations

import getpass
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mandamus.bootstrap.epoch import new_epoch
from mandamus.bootstrap.house import open_house, policy_engine
from mandamus.bootstrap.remote import device_login, exchange, login, logout, open_remote
from mandamus.bootstrap.server import open_server
from mandamus.bootstrap.tools import load_executors
from mandamus.bootstrap.witness import open_witness
from mandamus.cli.main import main
from mandamus.cli.session import Handed
from mandamus.settings import Settings, load

PLATFORM = """
users: {ada: {}, grace: {}, joan: {}, OWNER: {}}
groups:
  platform: [ada, grace]
environments:
  dev:
    policies: [policy]
    approval_ttl: 1h
"""
RULES = """package mandamus.plan

deny contains {"msg": "nothing may be public", "remedy": "ask again with public=false"} if {
	input.run.inputs.public
}

warn contains "tell the team before you do" if {
	input.step.name == "change"
	input.run.inputs.asked
}

require_approval contains {"group": "platform", "count": 1, "msg": "changes are looked at"} if {
	input.step.name == "change"
	input.run.inputs.asked
}
"""
WORKFLOW = """workflow: deploy
inputs:
  asked:  {type: boolean, default: false}
  public: {type: boolean, default: false}
  says:   {type: string, default: done}
  code:   {type: integer, default: 0}
steps:
  change:
    script:
      run: 'printf "%s\\\\n" "$SAYS"; exit "$CODE"'
      env: {SAYS: "${{ inputs.says }}", CODE: "${{ inputs.code }}"}
  after:
    needs: [change]
    script: {run: "true"}
"""


SLOW = """workflow: slow
inputs:
  long: {type: integer, default: 30}
steps:
  slow:
    script:
      # With a trap, and looking again and again: a shell forgets an interrupt that comes right before a long wait.
      run: |
        trap 'exit 130' INT
        echo begun
        for _ in $(seq "$LONG"); do for _ in $(seq 10); do sleep 0.1; done; done
        echo over
      env: {LONG: "${{ inputs.long }}"}
"""


class Terminal(io.TextIOWrapper):
    """A stream that is, or is not, a terminal."""

    def __init__(self, *, tty: bool = False) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True, newline="")
        self.tty = tty

    def isatty(self) -> bool:
        """As asked for."""
        return self.tty

    def text(self) -> str:
        """Everything written so far."""
        self.flush()
        found: Any = self.buffer
        return found.getvalue().decode()


@dataclass(frozen=True)
class Told:
    """How a command ended and what it said: data on standard output, talk on standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as the one JSON document it must be."""
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)

    @property
    def run(self) -> str:
        """The id of the first run named."""
        found = re.search(r"run_[0-9a-z]{26}", self.out + self.err)
        assert found, self
        return found.group()


@dataclass
class Shell:
    """Runs commands on a home and a project of its own; ``as_`` is who acts."""

    home: Path
    project: Path
    environ: dict[str, str] = field(default_factory=lambda: dict(os.environ))

    def __call__(self, *words: str, as_: str | None = None, home: bool = True, tty: bool = False) -> Told:
        """Run one command to its end."""
        where = ["--home", str(self.home)] if home else []
        who = ["--as", as_] if as_ else []
        out, err = Terminal(tty=tty), Terminal(tty=tty)
        with redirect_stdout(out), redirect_stderr(err):
            code = main(self.handed(), [*where, *who, *words])
        return Told(code, out.text(), err.text())

    def ask(self, *words: str, **inputs: str) -> Told:
        """Ask as ada for a run of the workflow ``deploy``."""
        given = [word for name, value in inputs.items() for word in ("-i", f"{name}={value}")]
        where = ["--env", "dev", "--project", str(self.project)]
        return self("run", "deploy", *where, *given, *words, as_="ada")

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command in a process of its own, as ada; whoever starts it ends it."""
        command = [sys.executable, "-m", "mandamus", "--home", str(self.home), "--as", "ada", *words]
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env=self.environ, cwd=self.project, **pipes)

    def handed(self) -> Handed:
        """What an entry point hands in."""
        return Handed(
            open_house=lambda home, user, ticket: open_house(Settings(), self.environ, home, user, ticket=ticket),
            open_server=lambda url, ticket: open_remote(load(self.environ), self.environ, url, ticket),
            login=lambda url, token: login(load(self.environ), self.environ, url, token),
            device_login=lambda url, permissions, show: device_login(
                load(self.environ), self.environ, url, permissions, show
            ),
            logout=lambda url: logout(load(self.environ), self.environ, url),
            exchange=lambda url, token: exchange(load(self.environ), url, token),
            environ=self.environ,
            monotonic_s=time.monotonic,
            validators=lambda: load_executors(Settings(), self.environ).validators(),
            policy_engine=lambda: policy_engine(Settings()),
            demo=_NoDemo(),
            witness=open_witness,
            new_epoch=lambda home, reason, distrust: new_epoch(
                Settings(), self.environ, home, reason, distrust=distrust
            ),
            server=lambda home, address, tls: open_server(Settings(), self.environ, home, address, tls),
        )


class _NoDemo:
    """No test here plays it: a process of its own does, in the tests of the demo."""


def environ() -> dict[str, str]:
    """An environment in which nothing but what tests set speaks of us."""
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}


def make_shell(folder: Path) -> Shell:
    """A home with ada, grace and joan, one environment with one policy, and a project with one workflow."""
    project = folder / "project"
    for name in ("workflows", "policy"):
        (project / name).mkdir(parents=True)
    (project / "mandamus.yaml").write_text("# a project\n")
    (project / "workflows" / "deploy.yaml").write_text(WORKFLOW)
    (project / "workflows" / "slow.yaml").write_text(SLOW)
    (project / "policy" / "rules.rego").write_text(RULES)
    (project / "platform.yaml").write_text(PLATFORM.replace("OWNER", getpass.getuser()))
    shell = Shell(folder / "home", project, environ())
    told = shell("env", "apply", str(project / "platform.yaml"))
    assert told.code == 0, told
    return shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A shell on a home of the test's own."""
    return make_shell(tmp_path)


@pytest.fixture
def bare(tmp_path: Path) -> Shell:
    """A shell whose home is not made yet."""
    return Shell(tmp_path / "home", tmp_path / "project", environ())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A shell whose home the tests of one file share."""
    return make_shell(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def terminal() -> Callable[..., Terminal]:
    """Makes streams."""
    return Terminal


@pytest.fixture
def steady() -> Callable[[str], str]:
    """Replaces in a text what differs from run to run: ids, digests, times, durations, the home and the user."""

    def replace(text: str) -> str:
        text = re.sub(r"(run|dec|apr)_[0-9a-z]{26}", r"\1_ID", text)
        text = re.sub(r"sha256:[0-9a-f]{64}", "sha256:DIGEST", text)
        text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "TIME", text)
        text = re.sub(r"\b\d+\.\ds\b", "SECONDS", text)
        text = re.sub(r"(?m)^  made by .*$", "  made by   MAKERS", text)
        return re.sub(r"--home \S+", "--home HOME", text).replace(getpass.getuser(), "OWNER")

    return replace
