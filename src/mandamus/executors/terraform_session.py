"""One phase's calls of terraform: the same task, engine, folder and deadline for all of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mandamus.executors import request, terraform_module
from mandamus.executors.model import Command, Exit, Marks, Progress, Runner, Task
from mandamus.executors.terraform_engine import Engine
from mandamus.executors.terraform_folder import DATA, LOCK, OVERRIDE, Folder, read
from mandamus.executors.terraform_progress import Diagnostic, Narrator
from mandamus.kernel import canonical
from mandamus.kernel.errors import Code, MandamusError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PLAN_JSON_BYTES_MAX = 512 * 1024 * 1024

_SETTINGS = {
    "TF_IN_AUTOMATION": "1",
    "TF_INPUT": "0",
    "CHECKPOINT_DISABLE": "1",
    # Terraform and its providers live for seconds: collecting garbage less often saves a quarter of their CPU time.
    "GOGC": "400",
}
_ERRORS_SHOWN = 3


@dataclass(frozen=True)
class Fresh:
    """A plan just made: terraform's plan file, its JSON (not redacted), and who made it."""

    file: bytes = field(repr=False)
    document: dict[str, Any] = field(repr=False)
    tool: tuple[str, str]


class Session:
    """Runs terraform in a folder. Every failure but an apply's is raised."""

    def __init__(self, runner: Runner, task: Task, engine: Engine, folder: Folder) -> None:
        self.task = task
        self.folder = folder
        self._runner = runner
        self._engine = engine
        self._spent_s = 0.0

    def know(self, secrets: list[str]) -> None:
        """Keep these out of output from now on."""
        self.task = replace(self.task, redactor=self.task.redactor.knowing(secrets))

    def run(
        self,
        *words: str,
        on_stdout: Callable[[bytes], None] | None = None,
        log_stdout: bool = True,
        marks: Marks | None = None,
    ) -> Exit:
        """Run one command within what is left of the phase's time; says how it ended, whatever that was."""
        limit_s = self.task.deadline_s
        left_s = None if limit_s is None else limit_s - self._spent_s
        if left_s is not None and left_s <= 0:
            return Exit(code=130, duration_s=0.0, timed_out=True)
        done = self._runner.run(
            self.task, self._command(words), on_stdout=on_stdout, log_stdout=log_stdout, marks=marks, deadline_s=left_s
        )
        self._spent_s += done.duration_s
        return done

    def version(self) -> str:
        """The tool's version, asked from itself."""
        said = bytearray()
        done = self.run("version", "-json", on_stdout=said.extend, log_stdout=False)
        self._check(done, "version", None)
        try:
            return str(json.loads(said)["terraform_version"])
        except (ValueError, KeyError, TypeError) as error:
            message = f"`{self._engine.argv[0]} version -json` does not say which version it is"
            raise MandamusError(Code.TOOL_MISSING, message, remedy="use Terraform 1.1 or newer, or OpenTofu") from error

    def init(self) -> None:
        """Install modules and providers exactly as locked; raises ``source_invalid`` when nothing is locked."""
        self.task.progress(Progress("initialising"))
        if terraform_module.has_own_backend(self.folder):
            self.task.output.append(b"the module's own backend is not used: the state is kept by the platform\n")
        self.folder.override_backend()
        done = self.run("init", "-input=false", "-no-color", "-lockfile=readonly")
        if not done.ok and self.folder.lock is None and "read-only" in done.tail:
            where = self.folder.dir.as_posix()
            raise MandamusError(
                Code.SOURCE_INVALID,
                f"{where} needs providers, but has no {LOCK} that says which ones exactly",
                remedy=f"run `terraform -chdir={where} init` and keep {LOCK} in the project",
                context={"dir": where},
            )
        self._check(done, "init", None)
        self._check_backend()

    def plan(self) -> Fresh:
        """Make and read a plan, initialising first where that is needed."""
        initialised = terraform_module.needs_init(self.folder)
        if initialised:
            self.init()
        self.task.progress(Progress("planning"))
        narrator, done = self._plan()
        if not initialised and any(_wants_init(error) for error in narrator.errors):
            self.init()
            narrator, done = self._plan()
        self._check(done, "plan", narrator)
        file = read(self.folder.out / "plan")
        if file is None or narrator.tool is None:
            raise self.failure("plan", done, None)
        return Fresh(file, self.show(self.folder.out / "plan"), narrator.tool)

    def show(self, file: Path) -> dict[str, Any]:
        """A plan file as JSON, not redacted."""
        said = bytearray()

        def keep(chunk: bytes) -> None:
            if len(said) <= PLAN_JSON_BYTES_MAX:
                said.extend(chunk)

        done = self.run("show", "-json", str(file), on_stdout=keep, log_stdout=False)
        self._check(done, "show", None)
        if len(said) > PLAN_JSON_BYTES_MAX:
            message = f"the plan of step {self.task.step} is over {PLAN_JSON_BYTES_MAX // 1024 // 1024} MiB of JSON"
            raise MandamusError(Code.TOOL_FAILED, message, remedy="divide the module into several steps")
        document = canonical.loads(bytes(said))
        if not isinstance(document, dict) or not str(document.get("format_version", "")).startswith("1."):
            raise MandamusError(
                Code.TOOL_FAILED,
                "terraform's plan is in a format that is not known here",
                remedy="use Terraform 1.1 or newer, or OpenTofu",
            )
        return document

    def failure(self, verb: str, done: Exit, narrator: Narrator | None, truth: str = "") -> MandamusError:
        """Why a command failed, in terraform's own words with ``file:line``; ``truth`` says what happened anyway."""
        remedy = f"`mandamus runs logs {self.task.run} {self.task.step}` shows everything terraform said"
        context: dict[str, object] = {"dir": self.folder.dir.as_posix(), "exit_code": done.code}
        if done.cancelled:
            message = f"step {self.task.step} was cancelled during terraform {verb}{truth}"
            return MandamusError(Code.STEP_CANCELLED, message, remedy=remedy, context=context)
        if done.timed_out:
            message = f"step {self.task.step}: terraform {verb} was stopped after {self.task.deadline_s:g} s{truth}"
            remedy = f"{remedy}; give the step more `timeout`"
            return MandamusError(Code.STEP_TIMEOUT, message, remedy=remedy, context=context)
        errors = narrator.errors if narrator is not None else []
        context["errors"] = [error.place or error.address or error.summary for error in errors]
        if errors:
            context |= {"file": errors[0].file, "line": errors[0].line}
            why = "\n".join(map(_told, errors[:_ERRORS_SHOWN]))
            if len(errors) > _ERRORS_SHOWN:
                why += f"\nand {len(errors) - _ERRORS_SHOWN} more errors"
        else:
            why = _last_words(done)
        return MandamusError(Code.TOOL_FAILED, f"terraform {verb}: {why}{truth}", remedy=remedy, context=context)

    def narrator(self, total: int | None = None) -> Narrator:
        """Who tells what terraform does."""
        return Narrator(self.task, self.folder.dir.as_posix(), total)

    def _command(self, words: tuple[str, ...]) -> Command:
        engine, folder = self._engine, self.folder
        env = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": str(folder.home), **self._given(), **_SETTINGS}
        if engine.cli_config is not None:
            env["TF_CLI_CONFIG_FILE"] = str(engine.cli_config)
        return Command(
            argv=(*engine.argv, *words),
            cwd=folder.module,
            env=env,
            writable=folder.writable,
            read_only=(*engine.read_only, *folder.read_only),
        )

    def _given(self) -> Mapping[str, str]:
        given = self.task.spec.get("env", {})
        return {name: request.text(self.task, value, f"env {name}") for name, value in given.items()}

    def _plan(self) -> tuple[Narrator, Exit]:
        narrator = self.narrator()
        out, variables = self.folder.out / "plan", self.folder.variables
        words = ("plan", "-json", "-input=false", "-lock=false", f"-out={out}", f"-var-file={variables}")
        done = self.run(*words, on_stdout=narrator.feed, log_stdout=False)
        narrator.close()
        return narrator, done

    def _check(self, done: Exit, verb: str, narrator: Narrator | None) -> None:
        if not done.ok:
            raise self.failure(verb, done, narrator)

    def _check_backend(self) -> None:
        """The state stays in the folder even where the module overrides its backend in a file of a later name."""
        try:
            chosen = json.loads(read(self.folder.module / DATA / "terraform.tfstate") or b"{}")["backend"]
            if chosen["type"] == "local" and not any((chosen.get("config") or {}).values()):
                return
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        where = self.folder.dir.as_posix()
        raise MandamusError(
            Code.SOURCE_INVALID,
            f"{where} overrides where the state is kept in a file whose name comes after {OVERRIDE}",
            remedy="remove the backend or cloud block from that file: the state is kept by the platform",
        )


def _wants_init(error: Diagnostic) -> bool:
    return re.search(r"\b(?:terraform|tofu) init\b", f"{error.summary} {error.detail}") is not None


def _told(error: Diagnostic) -> str:
    detail = " ".join(error.detail.split())
    place = f"{error.place}: " if error.place else ""
    return f"{place}{error.summary}" + (f": {detail}" if detail else "")


def _last_words(done: Exit) -> str:
    """What a human message says, without its frame; from ``Error:`` on where there is one."""
    lines = [line.strip(" \t│╷╵") for line in done.tail.splitlines()]
    text = " ".join(line for line in lines if line)
    found = text.find("Error: ")
    text = text[found + len("Error: ") :] if found >= 0 else text[-600:]
    how = f"killed by signal {done.signal}" if done.signal else f"exit code {done.code}"
    return f"{text[:1200]} ({how})" if text else how
