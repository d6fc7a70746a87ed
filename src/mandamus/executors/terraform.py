"""The terraform executor: saves a plan, applies exactly that plan, and tells the truth about what failed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from mandamus.executors import (
    marks,
    terraform_artifact,
    terraform_changes,
    terraform_engine,
    terraform_folder,
    terraform_module,
    terraform_probe,
    terraform_redact,
    terraform_state,
)
from mandamus.executors.model import Applied, Executor, Exit, Marks, Planned, Probed, Task, Toolbox, Verdict
from mandamus.executors.terraform_artifact import Saved
from mandamus.executors.terraform_engine import Engine
from mandamus.executors.terraform_folder import Folder
from mandamus.executors.terraform_probe import Aftermath
from mandamus.executors.terraform_progress import Narrator
from mandamus.executors.terraform_session import Fresh, Session
from mandamus.executors.terraform_state import StateFile
from mandamus.kernel import canonical
from mandamus.kernel.document import Finding, Kind, Node
from mandamus.kernel.errors import Code, MandamusError, Problem
from mandamus.kernel.reader import Reader, did_you_mean
from mandamus.kernel.redact import LENGTH_MIN

_KEYS = ("dir", "vars", "env")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,254}")
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_OURS = re.compile(r"TF_.*|TOFU_.*|HOME|PATH|LANG|GOGC|CHECKPOINT_DISABLE")
_BUILT_IN = "terraform.io/builtin/"


class Terraform:
    """See ``model.Executor`` for the contract."""

    name = "terraform"

    def __init__(self, toolbox: Toolbox) -> None:
        self._toolbox = toolbox
        self._versions: dict[tuple[str, int, int], str] = {}

    def validate(self, node: Node) -> list[Problem]:
        """``dir`` is the module's folder, fixed; ``vars`` its variables; ``env`` variables for providers."""
        reader = Reader()
        fields = reader.table(node, "`terraform`", _KEYS, required=("dir",))
        if "dir" in fields:
            _check_dir(reader, fields["dir"])
        if "vars" in fields:
            for name in reader.mapping(fields["vars"], "`vars`"):
                if not _VARIABLE.fullmatch(name):
                    at = fields["vars"].key_at(name)
                    reader.add(at, Finding.WRONG_VALUE, f"`{name[:60]}` is no name for a variable", "correct the name")
        if "env" in fields:
            _check_env(reader, fields["env"])
        return reader.problems

    def plan(self, task: Task) -> Planned:
        """A saved plan of the module as the run's source has it, against the state as it is."""
        engine, session, folder = self._begin(task, task.box)
        try:
            terraform_folder.lay_out(folder, _state(task))
            folder.write_variables(task.spec.get("vars", {}))
            fresh = session.plan()
            self._versions[engine.identity] = fresh.tool[1]
            _check_declared(task, fresh, folder)
            return _planned(session, fresh)
        finally:
            folder.remove()

    def apply(self, task: Task, blob: bytes) -> Applied:
        """Apply the very plan file that was saved, in a folder made as it was for the plan."""
        saved = terraform_artifact.unpack(blob)
        engine, session, folder = self._begin(task, task.box)
        session.know(terraform_redact.searched(saved.secrets))
        terraform_folder.lay_out(folder, _state(task))
        self._check_same(saved, engine, session)
        folder.restore(saved.made)
        words = ["apply", "-json", "-input=false"]
        if saved.ephemeral:
            given = task.spec.get("vars", {})
            folder.write_variables({name: given[name] for name in saved.ephemeral if name in given})
            words.append(f"-var-file={folder.variables}")
        if saved.needs_providers and not folder.link(saved.links):
            session.init()
        narrator = session.narrator(saved.steps)
        done = session.run(
            *words,
            str(folder.write_plan(saved.plan)),
            on_stdout=narrator.feed,
            log_stdout=False,
            marks=_marks(task, folder),
        )
        narrator.close()
        return _applied(session, saved, done, narrator)

    def probe(self, task: Task, blob: bytes) -> Probed:
        """By the marks, else by the state that was left and a new plan; see ``terraform_probe``."""
        left = terraform_folder.at(task, task.box)
        trace = marks.read(_marks(task, left))
        if not trace.started:
            return Probed(Verdict.NOT_STARTED, "terraform apply was never started")
        saved = terraform_artifact.unpack(blob)
        redactor = task.redactor.knowing(terraform_redact.searched(saved.secrets))
        if trace.code is None:
            terraform_probe.check_dead(left)
        after = terraform_probe.Aftermath(left, terraform_state.left_in(left), _state(task), saved, redactor)
        if trace.code is not None:
            return terraform_probe.ended(trace, after)
        return terraform_probe.unseen(after, lambda: self._look_again(task, after))

    def _look_again(self, task: Task, after: Aftermath) -> Session:
        """A session beside the folder of the apply, which stays as it is, with the state that the apply left."""
        _, session, folder = self._begin(task, task.box / "probe")
        session.know(terraform_redact.searched(after.saved.secrets))
        terraform_folder.lay_out(folder, after.before if after.found is None else after.found.data)
        folder.write_variables(task.spec.get("vars", {}))
        folder.restore(after.saved.made)
        return session

    def _begin(self, task: Task, base: Path) -> tuple[Engine, Session, Folder]:
        self._toolbox.runner.check(task.sandbox)
        folder = terraform_folder.at(task, base)
        engine = terraform_engine.find(self._toolbox)
        return engine, Session(self._toolbox.runner, task, engine, folder), folder

    def _check_same(self, saved: Saved, engine: Engine, session: Session) -> None:
        """Tool, lock and state are those of the plan; raises ``digest_mismatch`` and ``state_conflict``."""
        task = session.task
        if engine.identity not in self._versions:
            self._versions[engine.identity] = session.version()
        version = self._versions[engine.identity]
        moved = {
            "the version of the tool": (saved.lock["version"], version),
            "the lock file": (saved.lock_file, _digest(session.folder.lock)),
        }
        for what, (planned, found) in moved.items():
            if planned != found:
                raise MandamusError(
                    Code.DIGEST_MISMATCH,
                    f"step {task.step}: {what} is not the one it was planned with",
                    remedy=f"`mandamus runs retry {task.run}` plans it again",
                    context={"planned": planned, "found": found},
                )
        if saved.state != (None if task.state is None else task.state.ref):
            raise MandamusError(
                Code.STATE_CONFLICT,
                f"step {task.step}: the state has moved since it was planned",
                remedy=f"`mandamus runs retry {task.run}` plans it again",
            )


def build(toolbox: Toolbox) -> Executor:
    """The entry point."""
    return Terraform(toolbox)


def _check_dir(reader: Reader, node: Node) -> None:
    text = reader.text(node, "`dir`", late=False)
    if text.startswith("/") or "\\" in text or any(ord(char) < 32 for char in text):
        remedy = "give a folder of the project, relative to the workflow's own folder, with / between names"
        reader.add(node, Finding.WRONG_VALUE, "`dir` is no relative path", remedy)
        return
    depth = len(PurePosixPath(node.file).parts) - 1
    for part in PurePosixPath(text).parts:
        depth += -1 if part == ".." else 1
        if depth < 0 and not node.file.startswith("/"):
            remedy = f"`..` leads above the project, whose workflow is {node.file}"
            reader.add(node, Finding.WRONG_VALUE, "`dir` leaves the project", remedy)
            return


def _check_env(reader: Reader, node: Node) -> None:
    for name, value in reader.mapping(node, "`env`").items():
        at = node.key_at(name)
        if not _ENV.fullmatch(name):
            remedy = "use letters, digits and _, not beginning with a digit"
            reader.add(at, Finding.WRONG_VALUE, f"`{name[:60]}` is no name for an environment variable", remedy)
        elif _OURS.fullmatch(name):
            remedy = "give a variable of the module under `vars`; the others are set by the platform"
            reader.add(at, Finding.WRONG_VALUE, f"`{name[:60]}` is the platform's own", remedy)
        if value.kind is not Kind.SCALAR or value.value is None:
            message = f"`{name[:60]}` is a string, a number or a boolean, not {value.shape}"
            reader.add(value, Finding.WRONG_TYPE, message, 'give one value, or "" for an empty one')


def _check_declared(task: Task, fresh: Fresh, folder: Folder) -> None:
    """Terraform only warns of a variable that the module does not have; a typing error would pass as a default."""
    root = (fresh.document.get("configuration") or {}).get("root_module") or {}
    declared = root.get("variables") or {}
    for name in task.spec.get("vars", {}):
        if name not in declared:
            known = ", ".join(f"`{each}`" for each in declared) or "none"
            raise MandamusError(
                Code.VALUE_INVALID,
                f"step {task.step}: the module {folder.dir} has no variable `{name}`",
                remedy=did_you_mean(name, declared, f"its variables are: {known}"),
            )


def _planned(session: Session, fresh: Fresh) -> Planned:
    task, folder, document = session.task, session.folder, fresh.document
    ephemeral = tuple(sorted(_ephemeral(task, document)))
    texts = terraform_redact.sensitive_texts(document)
    texts |= {text for name in ephemeral if len(text := str(task.spec["vars"][name])) >= LENGTH_MIN}
    lock = {"tool": fresh.tool[0], "version": fresh.tool[1], "providers": terraform_module.providers(folder.lock)}
    saved = Saved(
        plan=fresh.file,
        lock=lock,
        lock_file=_digest(folder.lock),
        state=None if task.state is None else task.state.ref,
        secrets=tuple(sorted(texts)),
        ephemeral=ephemeral,
        steps=_steps(document),
        contained=_is_contained(fresh, lock),
        made=folder.made(),
        links=folder.links(),
    )
    blob = terraform_artifact.pack(saved)
    session.know(terraform_redact.searched(texts))
    native = terraform_redact.redact(document, session.task.redactor, texts)
    change_set = terraform_changes.change_set(
        document,
        tool=fresh.tool,
        artifact={"kind": terraform_artifact.KIND, "sha256": canonical.digest(blob).removeprefix("sha256:")},
        sandbox=task.sandbox.mode,
        sources=terraform_module.sources(folder),
    )
    return Planned(change_set, blob, lock, native, saved.state)


def _ephemeral(task: Task, document: Mapping[str, Any]) -> set[str]:
    """Variables that terraform keeps out of the plan and wants again for the apply (since Terraform 1.10)."""
    given = {name for name, value in task.spec.get("vars", {}).items() if value is not None}
    return given - set(document.get("variables") or {})


def _steps(document: Mapping[str, Any]) -> int:
    """How many beginnings and ends of a change the apply will tell of; a replacement is two."""
    counted = {"create", "update", "delete"}
    return sum(len(counted & {*entry["change"]["actions"]}) for entry in document.get("resource_changes") or ())


def _is_contained(fresh: Fresh, lock: Mapping[str, Any]) -> bool:
    """Whether the apply can touch nothing but the state: only built-in providers, no provisioner, no action."""
    document = fresh.document
    configured = ((document.get("configuration") or {}).get("provider_config") or {}).values()
    entries = (*(document.get("resource_changes") or ()), *(document.get("resource_drift") or ()))
    names = [provider.get("full_name", "") for provider in configured]
    names += [entry.get("provider_name", "") for entry in entries]
    only_built_in = not lock["providers"] and all(name.startswith(_BUILT_IN) for name in names)
    scripted = terraform_artifact.mentions(fresh.file, b"provisioner")
    return only_built_in and not document.get("action_invocations") and not scripted


def _applied(session: Session, saved: Saved, done: Exit, narrator: Narrator) -> Applied:
    task, folder = session.task, session.folder
    before = _state(task)
    found = terraform_state.left_in(folder)
    state = None if found is None or found.data == before else found.data
    lost = found is None and bool(narrator.done or terraform_folder.read(folder.state))
    if done.code == 0 and not lost:
        outputs = terraform_state.Outputs() if found is None else found.outputs
        if outputs.withheld:
            names = ", ".join(outputs.withheld)
            task.output.append(task.redactor.text(f"sensitive outputs, which stay in the state: {names}\n").encode())
        return Applied(
            ok=True,
            outputs=terraform_redact.Scrub(task.redactor, saved.secrets).part(dict(outputs.values)),
            state=state,
            summary={"done": narrator.done, "withheld": list(outputs.withheld)},
        )
    partial = lost or bool(narrator.done or narrator.begun or _changed(found, before))
    error = session.failure("apply", done, narrator, _truth(narrator, saved, found, partial=partial))
    return Applied(ok=False, state=state, error=error, partial=partial, summary={"done": narrator.done})


def _truth(narrator: Narrator, saved: Saved, found: StateFile | None, *, partial: bool) -> str:
    """What happened though the apply failed, as the end of a sentence."""
    if not partial:
        return "; nothing was changed"
    told = f"; {narrator.done} of {saved.steps} changes were made"
    if narrator.begun:
        told += f"; under way and perhaps made: {', '.join(sorted(narrator.begun)[:3])}"
    if found is None:
        told += "; terraform left no state that can be read"
    return told


def _changed(found: StateFile | None, before: bytes | None) -> bool:
    if found is None:
        return False
    old = terraform_state.parse(before or b"")
    return found.objects != ({} if old is None else old.objects)


def _marks(task: Task, folder: Folder) -> Marks:
    return Marks(task.marks, "apply", (folder.state, folder.errored))


def _state(task: Task) -> bytes | None:
    return None if task.state is None else task.state.data


def _digest(data: bytes | None) -> str | None:
    return None if data is None else canonical.digest(data)
