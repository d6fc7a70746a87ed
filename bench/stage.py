"""A home to measure in: one environment, one policy that allows, and a warm engine that this process is."""

from __future__ import annotations

import getpass
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mandamus.bootstrap.house import House, open_house
from mandamus.bootstrap.tools import load_executors
from mandamus.executors.model import Applied, Planned, Probed, Task, Verdict
from mandamus.executors.service import Executors
from mandamus.kernel import canonical
from mandamus.kernel.changeset import Action, Change, ChangeSet, Confidence
from mandamus.kernel.ids import RunId
from mandamus.runs import drive
from mandamus.runs.lifecycle import RUN_CLOSED, RunState
from mandamus.runs.model import Request, Run
from mandamus.settings import Settings

ALLOW = 'package mandamus.plan\n\ndeny contains "never" if input.change_set.tool.name == "nothing"\n'
ASK = 'package mandamus.plan\n\nrequire_approval contains {"group": "platform", "count": 1, "msg": "look"}\n'
PLATFORM = """
users: {ada: {}, grace: {}, OWNER: {}}
groups: {platform: [grace]}
environments:
  bench: {policies: [policy], pool: {network: true}}
"""


class NoOp:
    """An executor that does nothing, so that only the governance around it is measured.

    ``begun`` is called when an effect starts.
    """

    name = "noop"

    def __init__(self) -> None:
        self.begun: Callable[[], None] = lambda: None

    def validate(self, _node: object) -> list[Any]:
        """Anything goes."""
        return []

    def plan(self, task: Task) -> Planned:
        """One opaque change."""
        change = Change(task.step, "noop", task.step, Action.RUN, confidence=Confidence.OPAQUE)
        made = ChangeSet({"name": "noop", "version": "1", "format": "1"}, Confidence.OPAQUE, (change,))
        return Planned(change_set=made, blob=canonical.dumps(dict(task.spec)), lock={"noop": "1"})

    def apply(self, _task: Task, _blob: bytes) -> Applied:
        """Nothing."""
        self.begun()
        return Applied(ok=True)

    def probe(self, _task: Task, _blob: bytes) -> Probed:
        """Nothing ever begins."""
        return Probed(Verdict.NOT_STARTED, "it does nothing")


class Tools:
    """This machine's executors and `NoOp`."""

    def __init__(self, own: Executors, noop: NoOp) -> None:
        self._own = own
        self._noop = noop

    def get(self, name: str) -> Any:
        """One by its name."""
        return self._noop if name == "noop" else self._own.get(name)

    def validators(self) -> Mapping[str, Callable[[Any], list[Any]]]:
        """Their checks."""
        return {**self._own.validators(), "noop": self._noop.validate}


class Stage:
    """An open house that is the engine of its home, and the project beside it."""

    def __init__(self, folder: Path, policy: str = ALLOW) -> None:
        self.project = folder / "project"
        self.home = folder / "home"
        self.noop = NoOp()
        for name in ("workflows", "policy"):
            (self.project / name).mkdir(parents=True)
        (self.project / "mandamus.yaml").write_text("# measured\n")
        (self.project / "policy" / "rules.rego").write_text(policy)
        platform = self.project / "platform.yaml"
        platform.write_text(PLATFORM.replace("OWNER", getpass.getuser()))
        with self.house(None) as owner:
            owner.configure.apply(owner.who, platform)

    @contextmanager
    def house(self, user: str | None) -> Iterator[House]:
        """The home as this user, closed at the end."""
        settings, environ = Settings(), dict(os.environ)
        tools: Any = Tools(load_executors(settings, environ), self.noop)
        opened = open_house(settings, environ, self.home, user, tools=tools)
        try:
            yield opened
        finally:
            opened.close()

    @contextmanager
    def warm(self) -> Iterator[House]:
        """The home as ada, with its engine running and its policy workers started."""
        with self.house("ada") as opened:
            opened.policy.prepare(opened.catalog.environment("bench").policies)
            drive.start(opened.rooms)
            yield opened

    def workflow(self, name: str, steps: str) -> str:
        """Write a workflow; gives its path in the project."""
        path = f"workflows/{name}.yaml"
        (self.project / path).write_text(f"workflow: {name}\nsteps:\n{steps}")
        return path

    def ask(self, house: House, path: str) -> Run:
        """Request a run; it goes on by itself."""
        return house.runs.request(house.who, self.project, Request(path, "bench", {}))


def see_through(house: House, run_id: RunId) -> Run:
    """Wait, on a warm engine, until the run has closed and its evidence is sealed."""

    def get() -> Run:
        return house.runs.show(house.who, run_id).run

    def settled() -> bool:
        run = get()
        return run.state in RUN_CLOSED and run.evidence is not None

    house.rooms.engine.wait_idle("run", run_id, settled)
    return get()


def until_waiting(house: House, run_id: RunId) -> None:
    """Wait, on a warm engine, until the run asks for a yes."""

    def waits() -> bool:
        return house.runs.show(house.who, run_id).run.state == RunState.WAITING

    house.rooms.engine.wait_idle("run", run_id, waits)


def wait_for(event: threading.Event) -> None:
    """Wait, but not for ever."""
    if not event.wait(60):
        raise TimeoutError("nothing began within a minute")
