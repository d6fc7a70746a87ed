"""Plan: what one step would change, with the tool people already use, bound into one digest."""

from __future__ import annotations

import dataclasses
import posixpath
import shutil
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Outcome
from mandamus.catalog.model import Environment, Step, Workflow
from mandamus.executors.model import Cancel, Planned, Progress, SandboxPolicy, State, Task
from mandamus.kernel import canonical
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Digest
from mandamus.kernel.redact import Redactor
from mandamus.runs import store
from mandamus.runs.model import Binding, Notice, PlanRecord, Run, StepRow
from mandamus.runs.rooms import Rooms, acting_for, event, record
from mandamus.secrets.model import SecretRef

PHASE = "plan"


@dataclass(frozen=True)
class Work:
    """One attempt at one step: everything its stages share, gathered once."""

    run: Run
    row: StepRow
    workflow: Workflow
    step: Step
    environment: Environment
    cancel: Cancel

    @property
    def state_name(self) -> str | None:
        """The name of the state the step's tool keeps, if it keeps one."""
        if self.step.executor != "terraform":
            return None
        folder = posixpath.join(posixpath.dirname(self.run.workflow_file), str(self.step.spec["dir"]))
        return posixpath.normpath(folder)


@dataclass(frozen=True)
class Draft:
    """A finished plan, in the blob store, not yet recorded."""

    record: PlanRecord
    binding: Binding
    change_set: Mapping[str, Any]
    native: Mapping[str, Any]


def wanted(rooms: Rooms, work: Work) -> bool:
    """Whether the step's own condition lets it run; raises ``expression_invalid``."""
    condition = work.step.condition
    return condition is None or work.step.runs(_scope(rooms, work, condition.references(), {}))


def awaited(work: Work) -> tuple[str, ...]:
    """The steps whose outputs it reads: what a plan that applies nothing cannot know."""
    condition = work.step.condition
    read = work.step.references | (condition.references() if condition else frozenset[str]())
    return tuple(sorted({path.split(".")[1] for path in read if path.startswith("steps.")}))


def draft(rooms: Rooms, work: Work) -> Draft:
    """Run the tool's plan and bind what came out; raises what the executor raises."""
    executor = rooms.executors.get(work.step.executor)
    given = task(rooms, work, PHASE)
    try:
        planned = executor.plan(given)
    finally:
        given.output.close()
    # Executors keep secrets out by themselves; what policy and people see is scrubbed here once more.
    change_set = given.redactor.value(planned.change_set.to_json())
    native = None if planned.native is None else given.redactor.value(canonical.loads(planned.native))
    record = PlanRecord(
        change_set=rooms.blobs.put(canonical.dumps(change_set)),
        artifact=rooms.blobs.put(planned.blob),
        native=None if native is None else rooms.blobs.put(canonical.dumps(native)),
        lock=planned.lock,
        state=None if planned.state_read is None else vars(planned.state_read),
        summary=planned.change_set.summary(),
        drift=len(planned.change_set.drift),
    )
    shown = {} if native is None else {work.step.executor: native}
    return Draft(record, _bind(rooms, work, planned, record), change_set, shown)


def task(rooms: Rooms, work: Work, phase: str) -> Task:
    """What the executor gets: resolved values, a private folder, the source, the sandbox and where output goes."""
    secrets, redactor = _secrets(rooms, work, phase)
    scope = _scope(rooms, work, work.step.references, secrets)
    row = work.row
    return Task(
        run=work.run.id,
        step=row.name,
        attempt=row.attempt,
        phase=phase,
        spec=work.step.resolve(scope),
        source=_source(rooms, work.run),
        workdir=workdir(rooms, row),
        secrets=secrets,
        sandbox=_sandbox(work.environment),
        output=rooms.outputs.open(row.run, row.name, row.attempt, phase),
        progress=lambda progress: _tell(rooms, work, phase, progress),
        redactor=redactor,
        deadline_s=work.step.timeout_s,
        cancel=work.cancel,
        state=_state(rooms, work),
        folder=posixpath.dirname(work.run.workflow_file) or ".",
    )


def _secrets(rooms: Rooms, work: Work, phase: str) -> tuple[dict[str, str], Redactor]:
    """The values the step reads, with what keeps them out of sight; the log says so before anything uses them."""
    refs = _secret_refs(work)
    try:
        secrets = rooms.secrets.resolve(refs)
    except MandamusError:
        _record_read(rooms, work, phase, dict.fromkeys(refs), Outcome.FAILED)
        raise
    redactor = Redactor(secrets.values(), rooms.redaction_key)
    if secrets:
        _record_read(rooms, work, phase, {name: redactor.mark(value) for name, value in secrets.items()}, Outcome.OK)
    return secrets, redactor


def _record_read(rooms: Rooms, work: Work, phase: str, marks: Mapping[str, str | None], outcome: Outcome) -> None:
    data = {"attempt": work.row.attempt, "phase": phase, "secrets": marks}
    who = acting_for(work.run.requester)
    made = event(Kind.SECRET_READ, who, work.run.id, step=work.row.name, outcome=outcome, data=data)
    with rooms.db.begin("secret.read") as tx:
        record(rooms, tx, made)


def _secret_refs(work: Work) -> Mapping[str, SecretRef]:
    """References of the secrets the step reads, and of no others; raises ``secret_missing`` for one nobody declared."""
    declared = work.environment.secrets
    unknown = sorted(work.step.secrets - declared.keys())
    if unknown:
        raise MandamusError(
            Code.SECRET_MISSING,
            f"{work.step.at}: environment {work.environment.name} has no secret {', '.join(unknown)}",
            remedy="declare it under `secrets` in the platform file, then `mandamus env apply` it",
            context={"secrets": unknown},
        )
    return {name: declared[name] for name in work.step.secrets}


def workdir(rooms: Rooms, row: StepRow) -> Path:
    """The private folder of one attempt; it survives our death until the step is settled."""
    return rooms.work / row.run / f"{row.name}.{row.attempt}"


def clean(rooms: Rooms, row: StepRow) -> None:
    """Remove the folder of a settled attempt."""
    shutil.rmtree(workdir(rooms, row), ignore_errors=True)


def step_document(work: Work) -> dict[str, Any]:
    """The step as policy sees it."""
    return {"name": work.row.name, "executor": work.step.executor, "attempt": work.row.attempt}


def state_reference(rooms: Rooms, work: Work) -> Mapping[str, Any] | None:
    """Lineage and serial of the step's state as it is now, in the binding's form."""
    found = None if work.state_name is None else rooms.states.ref(work.environment.name, work.state_name)
    return None if found is None else vars(found)


def stored(rooms: Rooms, work: Work) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The change set and the native plan of a step that was planned before, digests verified."""
    record = work.row.plan
    if record is None:
        return {}, {}
    change_set = canonical.loads(rooms.blobs.get(record.change_set))
    native = {} if record.native is None else {work.step.executor: canonical.loads(rooms.blobs.get(record.native))}
    return change_set, native


def _bind(rooms: Rooms, work: Work, planned: Planned, record: PlanRecord) -> Binding:
    now_us = rooms.clock.now_us()
    made = Binding(
        run=work.run.id,
        step=work.row.name,
        source=work.run.source,
        workflow=work.run.workflow_digest,
        inputs=canonical.digest_of(work.run.inputs),
        environment=work.environment.target,
        tool_lock=canonical.digest_of(planned.lock),
        artifact=record.artifact,
        change_set=record.change_set,
        state=record.state,
        sandbox=work.environment.pool.sandbox,
        tries=work.step.retry.attempts,
        expires_us=now_us + work.environment.approval_ttl_s * 1_000_000,
    )
    before = work.row.binding
    if before is None or before.expires_us <= now_us:
        return made
    # A retry of the very same plan keeps its expiry, hence its digest, hence its approvals.
    kept = dataclasses.replace(made, expires_us=before.expires_us)
    return kept if kept == before else made


def _scope(rooms: Rooms, work: Work, references: Iterable[str], secrets: Mapping[str, str]) -> dict[str, Any]:
    parts = [reference.split(".") for reference in references]
    needed = {part[1] for part in parts if part[0] == "steps" and len(part) > 1}
    outputs: dict[str, Any] = {}
    if needed:
        with rooms.db.read() as conn:
            outputs = store.outputs_of(conn, work.run.id, needed)
    return {
        "inputs": dict(work.run.inputs),
        "steps": {name: {"outputs": outputs.get(name, {})} for name in needed},
        "env": work.environment.scope(),
        "run": {"id": work.run.id, "workflow": work.run.workflow, "requester": work.run.requester.user},
        "secrets": dict(secrets),
    }


_UNPACK = threading.Lock()


def _source(rooms: Rooms, run: Run) -> Path:
    """The run's read-only copy of the project, unpacked once."""
    folder = rooms.work / run.id / "source"
    with _UNPACK:
        if not folder.exists():
            partial = folder.with_name("source.partial")
            shutil.rmtree(partial, ignore_errors=True)
            rooms.catalog.unpack_source(Digest(run.source), partial)
            partial.rename(folder)
    return folder


def _sandbox(environment: Environment) -> SandboxPolicy:
    pool = environment.pool
    return SandboxPolicy(mode=pool.sandbox, network=pool.network, allow_private=pool.allow_private)


def _state(rooms: Rooms, work: Work) -> State | None:
    return None if work.state_name is None else rooms.states.latest(work.environment.name, work.state_name)


def _tell(rooms: Rooms, work: Work, phase: str, progress: Progress) -> None:
    state = "planning" if phase == PHASE else "applying"
    rooms.tell(Notice(run=work.run.id, step=work.row.name, state=state, text=progress.text))
