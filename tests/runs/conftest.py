"""A whole house on SQLite with real policy, and an executor whose every move a test decides."""

from __future__ import annotations

import getpass
import os
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mandamus.bootstrap.house import House, open_house
from mandamus.executors.model import Applied, Planned, Probed, Task, Verdict
from mandamus.kernel import canonical
from mandamus.kernel.changeset import Action, Change, ChangeSet, Confidence
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Digest, RunId
from mandamus.runs import health
from mandamus.runs.lifecycle import RunState
from mandamus.runs.model import Notice, Request, Requester, Run, StepRow
from mandamus.settings import Settings

PLATFORM = """
users: {ada: {}, grace: {}, joan: {}, OWNER: {}}
groups:
  platform: [ada, grace, joan]
  security: [joan]
environments:
  dev:
    vars: {region: north}
    policies: [policy]
"""
ALLOW = 'package mandamus.plan\n\nwarn contains "looked at" if input.step.name == "never"\n'


class MovableClock:
    """The machine's time, and as much more as a test adds."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now_us(self) -> int:
        """The wall clock."""
        return time.time_ns() // 1000 + int(self.ahead_s * 1_000_000)

    def monotonic_s(self) -> float:
        """The monotonic clock, which no test moves: real processes and threads wait by it."""
        return time.monotonic()


@dataclass
class Act:
    """An executor named ``act``: it plans what its spec says and does what the test has laid out for the step."""

    name: str = "act"
    applied: list[tuple[str, int]] = field(default_factory=list)
    planned: list[tuple[str, int]] = field(default_factory=list)
    script: dict[str, Callable[[Task], Applied]] = field(default_factory=dict)
    probes: dict[str, Probed] = field(default_factory=dict)
    plans: dict[str, Callable[[Task], None]] = field(default_factory=dict)

    def validate(self, _node: Any) -> list[Any]:
        """Anything goes."""
        return []

    def plan(self, task: Task) -> Planned:
        """One change that says what is in the spec."""
        self.planned.append((task.step, task.attempt))
        self.plans.get(task.step, lambda _task: None)(task)
        change = Change(task.step, "act", task.step, Action.RUN, after=dict(task.spec), confidence=Confidence.OPAQUE)
        made = ChangeSet({"name": "act", "version": "1", "format": "1"}, Confidence.OPAQUE, (change,))
        return Planned(change_set=made, blob=canonical.dumps(dict(task.spec)), lock={"act": "1"})

    def apply(self, task: Task, blob: bytes) -> Applied:
        """What the test says; else success, with the spec as outputs."""
        self.applied.append((task.step, task.attempt))
        if task.step in self.script:
            return self.script[task.step](task)
        return Applied(ok=True, outputs=canonical.loads(blob))

    def probe(self, task: Task, _blob: bytes) -> Probed:
        """What the test says; else that nothing began."""
        return self.probes.get(task.step, Probed(Verdict.NOT_STARTED, "the test says so"))


class Tools:
    """The executors of a house that has only `Act`."""

    def __init__(self, act: Act) -> None:
        self._act = act

    def get(self, name: str) -> Act:
        """The one there is."""
        if name != "act":
            raise MandamusError(Code.NOT_FOUND, f"no executor {name}", remedy="use act")
        return self._act

    def validators(self) -> Mapping[str, Callable[[Any], list[Any]]]:
        """Its check."""
        return {"act": self._act.validate}


@dataclass
class Stage:
    """A home, a project, and people at the keyboard. ``open`` houses are closed with the test."""

    home: Path
    project: Path
    act: Act
    clock: MovableClock
    notices: list[Notice] = field(default_factory=list)
    houses: list[House] = field(default_factory=list)

    def house(self, user: str | None = None, **parts: Any) -> House:
        """A house as another process would open it; one per user. ``parts`` are what it is opened with besides."""
        given = {"tools": Tools(self.act), "clock": self.clock, **parts}
        made = open_house(Settings(), dict(os.environ), self.home, user, **given)
        self.houses.append(made)
        return made

    def workflow(self, text: str, name: str = "w") -> None:
        """Write a workflow's steps; ``text`` is what stands under ``steps``."""
        body = textwrap.indent(textwrap.dedent(text).strip("\n"), "  ")
        inputs = "inputs:\n  x: {type: string, default: one}\n"
        (self.project / "workflows" / f"{name}.yaml").write_text(f"workflow: {name}\n{inputs}steps:\n{body}\n")

    def policy(self, text: str) -> None:
        """Write the one policy file of the environment and apply the platform file."""
        (self.project / "policy" / "rules.rego").write_text(text)
        self.apply()

    def apply(self, platform: str = PLATFORM) -> None:
        """Apply a platform file as the owner of the home."""
        file = self.project / "platform.yaml"
        file.write_text(platform.replace("OWNER", getpass.getuser()))
        house = self.house()
        house.configure.apply(house.who, file)

    def ask(self, user: str = "ada", name: str = "w", *, plan_only: bool = False, **inputs: Any) -> Run:
        """Request a run and see it through until it waits or has ended."""
        house = self.house(user)
        request = Request(f"workflows/{name}.yaml", "dev", inputs, reason="a test", plan_only=plan_only)
        run = house.runs.request(house.who, self.project, request)
        return self.drive(house, run.id)

    def drive(self, house: House, run_id: RunId) -> Run:
        """See a run through; afterwards its rows equal the fold of its events."""
        run = house.drive(run_id, self.notices.append)
        with house.rooms.db.read() as conn:
            leaves = [canonical.loads(leaf.bytes) for leaf in house.audit.events(run_id)]
            assert health.check(conn, run_id, leaves) == []
        return run

    def decide(self, user: str, run: Run, verdict: str = "approve", **options: Any) -> Run:
        """Approve or reject as somebody, and see the run through."""
        house = self.house(user)
        getattr(house.runs, verdict)(house.who, run.id, **options)
        return self.drive(house, run.id)

    def step(self, run: Run, name: str) -> StepRow:
        """A step as it stands."""
        house = self.houses[-1]
        return next(row for row in house.runs.show(house.who, run.id).steps if row.name == name)

    def kinds(self, run: Run) -> list[str]:
        """The kinds of the run's events, in order."""
        audit = self.houses[-1].audit
        audit.flush()
        return [canonical.loads(leaf.bytes)["kind"] for leaf in audit.events(run.id)]

    def states(self, run: Run) -> dict[str, str]:
        """Every step's state."""
        house = self.houses[-1]
        return {row.name: row.state.value for row in house.runs.show(house.who, run.id).steps}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A home with ada, grace and joan, an environment ``dev``, and a policy that allows everything."""
    project = tmp_path / "project"
    for folder in ("workflows", "policy"):
        (project / folder).mkdir(parents=True)
    (project / "mandamus.yaml").write_text("# a project\n")
    made = Stage(tmp_path / "home", project, Act(), MovableClock())
    made.policy(ALLOW)
    yield made
    for house in made.houses:
        house.close()


@pytest.fixture
def some_run() -> Run:
    """A run as a row, without an id: tests of lists make many of it."""
    nothing = Digest("sha256:" + "0" * 64)
    return Run(
        id="", workflow="deploy", workflow_file="w.yaml", workflow_digest=nothing, source=nothing, environment="dev",
        environment_digest=nothing, requester=Requester("ada", "os-user", ()), makers=("ada",), inputs={}, reason="",
        ticket="", plan_only=False, project="", requires=(), state=RunState.RUNNING, steps_left=0, wakes=0,
        wakes_seen=0, cancel_requested=False, error=None, evidence=None, requested_us=0, closed_us=None,
    )  # fmt: skip


@pytest.fixture
def later() -> Iterator[Callable[[float, Callable[[], object]], None]]:
    """Do something in another thread a little later; joined with the test."""
    threads: list[threading.Timer] = []

    def soon(seconds: float, action: Callable[[], object]) -> None:
        thread = threading.Timer(seconds, action)
        threads.append(thread)
        thread.start()

    yield soon
    for thread in threads:
        thread.join()
