"""The script executor: runs a text of the workflow's own in the sandbox; values reach it by its environment only."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mandamus.executors import launch, marks, request, script_outputs
from mandamus.executors.model import (
    Applied,
    Command,
    Executor,
    Exit,
    Marks,
    Planned,
    Probed,
    Runner,
    Task,
    Toolbox,
    Verdict,
)
from mandamus.kernel.document import Finding, Kind, Node
from mandamus.kernel.errors import Code, MandamusError, Problem
from mandamus.kernel.reader import Reader

SHELLS: Mapping[str, tuple[str, ...]] = {
    "sh": ("/bin/sh", "-e"),
    "bash": ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail"),
    "python3": ("python3", "-u"),
}
"""What may run a script. The shells stop at the first command that fails."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENV_BYTES_MAX = 1024 * 1024
"""All variables together; Linux gives arguments and environment about 2 MiB (execve(2))."""

_KEYS = ("run", "env", "shell", "dir")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_OURS = "MANDAMUS_"
_TAIL_LINES = 20


class Script:
    """See ``model.Executor`` for the contract."""

    name = "script"

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def validate(self, node: Node) -> list[Problem]:
        """``run`` is the text; ``env`` a map of scalars; ``shell`` one of ``SHELLS``; ``dir`` a folder, fixed."""
        reader = Reader()
        fields = reader.table(node, "`script`", _KEYS, required=("run",))
        if "run" in fields:
            reader.text(fields["run"], "`run`")
        if "shell" in fields:
            reader.choice(fields["shell"], "`shell`", tuple(SHELLS), default="sh")
        if "dir" in fields:
            reader.text(fields["dir"], "`dir`", late=False)
        if "env" in fields:
            _check_env(reader, fields["env"])
        return reader.problems

    def plan(self, task: Task) -> Planned:
        """Nobody can say what a script will do; the plan is what exactly would be run."""
        self._runner.check(task.sandbox)
        asked = _asked(task)
        task.inside(asked["dir"])
        return request.planned(task, self.name, asked, {"tool": self.name, "shell": asked["shell"]})

    def apply(self, task: Task, blob: bytes) -> Applied:
        """Run the planned text in the planned environment, with the project to read and a private folder to write."""
        asked = request.opened(task, self.name, blob, _asked(task))
        done = self._runner.run(task, _command(task, asked), marks=_marks(task))
        if not done.ok:
            return Applied(ok=False, error=_failure(task, done), partial=marks.read(_marks(task)).started)
        try:
            return Applied(ok=True, outputs=script_outputs.read(_outputs(task), task.step))
        except MandamusError as error:
            return Applied(ok=False, error=error, partial=True)

    def probe(self, task: Task, blob: bytes) -> Probed:  # noqa: ARG002 - the marks alone tell
        """By the marks: never started, seen to end, or neither."""
        self._runner.sweep()
        trace = marks.read(_marks(task))
        if not trace.started:
            return Probed(Verdict.NOT_STARTED, "the script was never started")
        if trace.code is None:
            return Probed(Verdict.UNKNOWN, "the script was started and nobody saw it end")
        if trace.code != 0 or trace.stopped:
            how = "was stopped and " if trace.stopped else ""
            return Probed(Verdict.FAILED, f"the script {how}ended with exit code {trace.code}")
        try:
            outputs = script_outputs.read(_outputs(task), task.step)
        except MandamusError as error:
            return Probed(Verdict.FAILED, error.message)
        return Probed(Verdict.SUCCEEDED, "the script ended with exit code 0", outputs=outputs)


def build(toolbox: Toolbox) -> Executor:
    """The entry point."""
    return Script(toolbox.runner)


def _check_env(reader: Reader, node: Node) -> None:
    for name, value in reader.mapping(node, "`env`").items():
        at = node.key_at(name)
        if not _VARIABLE.fullmatch(name):
            remedy = "use letters, digits and _, not beginning with a digit"
            reader.add(at, Finding.WRONG_VALUE, f"`{name[:60]}` is no name for a variable", remedy)
        elif name.startswith(_OURS):
            reader.add(at, Finding.WRONG_VALUE, f"`{name[:60]}` is the platform's own", f"do not begin with {_OURS}")
        if value.kind is not Kind.SCALAR or value.value is None:
            message = f"`{name[:60]}` is a string, a number or a boolean, not {value.shape}"
            reader.add(value, Finding.WRONG_TYPE, message, 'give one value, or "" for an empty one')


def _asked(task: Task) -> dict[str, Any]:
    """The request: everything that decides what the script does, as JSON-ready data."""
    spec = task.spec
    env = {name: request.text(task, value, f"env {name}") for name, value in spec.get("env", {}).items()}
    size = 0
    for name, value in env.items():
        launch.check_variable(name, value)
        size += len(name.encode()) + len(value.encode("utf-8", "surrogatepass")) + 2
    if size > ENV_BYTES_MAX:
        raise MandamusError(
            Code.VALUE_INVALID,
            f"step {task.step}: the variables under `env` take {size} bytes, over {ENV_BYTES_MAX}",
            remedy="put large data in a file of the project",
        )
    return {"run": spec["run"], "env": env, "shell": spec.get("shell", "sh"), "dir": spec.get("dir", ".")}


def _command(task: Task, asked: Mapping[str, Any]) -> Command:
    text = task.workdir / "script"
    text.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text.write_text(asked["run"], encoding="utf-8", newline="")
    temporary = task.box / "tmp"
    temporary.mkdir(exist_ok=True)
    env = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": str(task.box), "TMPDIR": str(temporary), **asked["env"]}
    env |= {
        f"{_OURS}OUTPUT": str(_outputs(task)),
        f"{_OURS}RUN": task.run,
        f"{_OURS}STEP": task.step,
        f"{_OURS}ATTEMPT": str(task.attempt),
    }
    cwd, readable = _project(task, asked["dir"])
    return Command(
        argv=(*SHELLS[asked["shell"]], str(text)),
        cwd=cwd,
        env=env,
        writable=(task.box,),
        read_only=(text, *readable),
    )


def _project(task: Task, folder: str) -> tuple[Path, tuple[Path, ...]]:
    """Where the script starts, and what it may read. Without a sandbox nothing is read-only, so it gets a copy."""
    cwd = task.inside(folder)
    if task.sandbox.mode != "none":
        return cwd, (task.source,)
    copy = task.box / "source"
    if not copy.exists():
        shutil.copytree(task.source, copy, symlinks=True)
    return copy / cwd.relative_to(task.source.resolve()), ()


def _outputs(task: Task) -> Path:
    return task.box / "outputs"


def _marks(task: Task) -> Marks:
    return Marks(task.marks, task.phase, (_outputs(task),))


def _failure(task: Task, done: Exit) -> MandamusError:
    remedy = f"`mandamus runs logs {task.run} {task.step}` shows its output"
    context = {"exit_code": done.code, "output": "\n".join(done.tail.splitlines()[-_TAIL_LINES:])}
    if done.cancelled:
        return MandamusError(Code.STEP_CANCELLED, f"step {task.step} was cancelled", remedy=remedy, context=context)
    if done.timed_out:
        message = f"step {task.step} was stopped after {task.deadline_s:g} s"
        return MandamusError(Code.STEP_TIMEOUT, message, remedy=f"{remedy}; give it more `timeout`", context=context)
    last = next((line for line in reversed(done.tail.splitlines()) if line.strip()), "")
    how = f"was killed by signal {done.signal}" if done.signal else f"ended with exit code {done.code}"
    message = f"the script of step {task.step} {how}" + (f": {request.line(last, 200)}" if last else "")
    return MandamusError(Code.TOOL_FAILED, message, remedy=remedy, context=context)
