"""Health: whether the rows of runs are what their events add up to, which blobs they name, and which runs are stuck."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from mandamus.audit.signer import Verifier
from mandamus.kernel import canonical
from mandamus.kernel.errors import MandamusError
from mandamus.kernel.ids import Digest, RunId
from mandamus.runs import store
from mandamus.runs.lifecycle import RUN_CLOSED, STEP_CLOSED, Folded, RunState, StepState, fold, run_outcome
from mandamus.runs.model import Approval, Run, StepRow, Wanted

PAGE = 200

_IN_ROW = ("run", "step", "attempt", "binding", "verdict", "by", "group", "reason", "at_us", "expires_us")

Leaf = Mapping[str, Any]


def all_runs(conn: sa.Connection) -> Iterator[Run]:
    """Every run, newest first, read a page at a time."""
    before: RunId | None = None
    while page := store.find_runs(conn, Wanted(), before=before, limit=PAGE).runs:
        yield from page
        before = page[-1].id


def check(conn: sa.Connection, run_id: RunId, leaves: Sequence[Leaf], platform: Sequence[Verifier] = ()) -> list[str]:
    """Every way in which the rows of a run differ from its events (the JSON of its leaves, in order).

    With the keys the platform ever had, what people said must also be signed by one of them.
    """
    try:
        run = store.get_run(conn, run_id)
        steps = store.list_steps(conn, run_id)
        approvals = store.approvals_of(conn, run_id)
    except (MandamusError, KeyError, TypeError, ValueError) as error:
        return [f"its rows cannot be read: {error}"]
    forged = list(signed_wrongly(approvals, leaves, platform)) if platform else []
    return differences(run, steps, approvals, leaves) + forged


def differences(run: Run, steps: Sequence[StepRow], approvals: Sequence[Approval], leaves: Sequence[Leaf]) -> list[str]:
    """The same of values at hand; pure."""
    if not leaves:
        return ["no event tells of it"]
    try:
        folded = fold(leaves)
    except (MandamusError, KeyError, ValueError) as error:
        return [f"its events cannot be folded: {error}"]
    return [
        *_states(run, steps, folded, {leaf["kind"] for leaf in leaves}),
        *_request(run, leaves),
        *(line for row in steps for line in _step(row, leaves)),
        *_approvals(approvals, leaves),
        *_counters(run, steps),
    ]


def stuck_runs(conn: sa.Connection, now_us: int, *, engine: bool) -> Iterator[tuple[RunId, str, str]]:
    """Open runs that nothing will move, each with why and the verb of `mandamus runs` that does.

    ``engine`` says whether a process is the engine: what is under way there is not stuck.
    """
    for run_id in store.unclosed_runs(conn):
        run = store.get_run(conn, run_id)
        moves = run.state in {RunState.REQUESTED, RunState.RUNNING} or run.wakes > run.wakes_seen
        if moves and not engine:
            yield run_id, f"it is {run.state} and nobody works on it", "watch"
        elif not moves and _waits_in_vain(conn, run_id, now_us):
            yield run_id, "it waits for people, and their time to decide is over", "cancel"


def _waits_in_vain(conn: sa.Connection, run_id: RunId, now_us: int) -> bool:
    rows = store.list_steps(conn, run_id, [StepState.WAITING])
    return any(row.binding is not None and row.binding.expires_us <= now_us for row in rows)


def named_blobs(conn: sa.Connection) -> Iterator[tuple[Digest, str]]:
    """Every blob that the rows of runs name, and by what; some of them several times."""
    for run in all_runs(conn):
        yield run.source, f"the source of {run.id}"
        if run.evidence is not None:
            yield run.evidence, f"the evidence of {run.id}"
        for row in store.list_steps(conn, run.id):
            if row.plan is not None:
                for what in ("change_set", "artifact", "native"):
                    digest = getattr(row.plan, what)
                    if digest is not None:
                        yield Digest(digest), f"the {what} of step {row.name} of {run.id}"


def _states(run: Run, steps: Sequence[StepRow], folded: Folded, kinds: set[str]) -> Iterator[str]:
    for row in steps:
        says = folded.steps.pop(row.name, StepState.PENDING)
        if row.state is not says:
            yield f"step {row.name} is {row.state} in its row and {says} by its events"
    for name in folded.steps:
        yield f"its events tell of a step {name} that has no row"
    says_run = {folded.run}
    if folded.run not in RUN_CLOSED:
        # What an open run waits for follows from its steps and has no event of its own.
        states = [row.state for row in steps]
        says_run.add(run_outcome(states, plan_only=run.plan_only, cancelled=run.cancel_requested))
        if "run.denied" in kinds:
            says_run.add(RunState.DENIED)
    if run.state not in says_run:
        yield f"it is {run.state} in its row and {folded.run} by its events"


def _request(run: Run, leaves: Sequence[Leaf]) -> Iterator[str]:
    first = leaves[0]
    says = {"ticket": "", **first["data"], "reason": first["why"], "requester": first["who"]["subject"]}
    holds = {
        "workflow": run.workflow,
        "workflow_digest": run.workflow_digest,
        "source": run.source,
        "environment": run.environment,
        "inputs": canonical.digest_of(run.inputs),
        "plan_only": run.plan_only,
        "reason": run.reason,
        "ticket": run.ticket,
        "requester": run.requester.user,
    }
    for name, value in holds.items():
        if says.get(name) != value:
            yield f"its {name} is not the one that was requested"


def _step(row: StepRow, leaves: Sequence[Leaf]) -> Iterator[str]:
    planned = _newest(leaves, "step.planned", row.name)
    if planned is not None:
        # Another answer of policy binds the same plan afresh, with a new expiry, and asks people again.
        bound = _newest(leaves, "step.waiting", row.name) or planned
        if bound["attempt"] == planned["attempt"]:
            planned = {**planned, "binding": bound["binding"]}
        holds = {
            "binding": None if row.binding is None else row.binding.digest,
            "change_set": None if row.plan is None else row.plan.change_set,
            "artifact": None if row.plan is None else row.plan.artifact,
        }
        for name, digest in holds.items():
            if planned[name] != digest:
                yield f"the {name} of step {row.name} is not the one that was planned"
    finished = _newest(leaves, "step.finished", row.name)
    if finished is not None and row.state in STEP_CLOSED:
        outputs = None if row.outputs is None else canonical.digest_of(row.outputs)
        if finished["outputs"] != outputs:
            yield f"the outputs of step {row.name} are not those that were recorded"


def _newest(leaves: Sequence[Leaf], kind: str, step: str) -> Mapping[str, Any] | None:
    found = (leaf["data"] for leaf in reversed(leaves) if leaf["kind"] == kind and leaf["step"] == step)
    return next(found, None)


def _approvals(approvals: Sequence[Approval], leaves: Sequence[Leaf]) -> Iterator[str]:
    holds = {(made.id, made.step, made.binding, made.verdict, made.group, made.by) for made in approvals}
    says = {
        (data["approval"], leaf["step"], data["binding"], data["verdict"], data["group"], leaf["who"]["subject"])
        for leaf in leaves
        if leaf["kind"] == "approval.recorded" and (data := leaf["data"])
    }
    for made in sorted(holds - says):
        yield f"approval {made[0]} has no event that says the same"
    for told in sorted(says - holds):
        yield f"approval {told[0]} was recorded and has no row that says the same"


def signed_wrongly(
    approvals: Sequence[Approval], leaves: Sequence[Leaf], platform: Sequence[Verifier]
) -> Iterator[str]:
    """Approvals that are not, in every field, the document that the platform signed and the log tells of."""
    told = {leaf["data"]["approval"]: leaf for leaf in leaves if leaf["kind"] == "approval.recorded"}
    for made in approvals:
        leaf = told.get(made.id)
        try:
            document = dict(canonical.loads(made.document))
            signature = document.pop("signature")
            signed, by = base64.b64decode(signature, validate=True), canonical.dumps(document)
            sound = any(key.verify(signed, by) for key in platform)
            sound = sound and leaf is not None and leaf["data"]["signature"] == signature
            sound = sound and canonical.dumps({**document, "signature": signature}) == made.document
            sound = sound and all(document[name] == getattr(made, name) for name in _IN_ROW)
            sound = sound and document["approval"] == made.id
        except (MandamusError, KeyError, TypeError, ValueError):
            sound = False
        if not sound:
            yield f"approval {made.id} is not what the platform signed"


def _counters(run: Run, steps: Sequence[StepRow]) -> Iterator[str]:
    if run.closed_us is not None:
        return
    done = STEP_CLOSED | {StepState.PLANNED} if run.plan_only else STEP_CLOSED
    left = sum(row.state not in done for row in steps)
    if steps and run.steps_left != left:
        yield f"it counts {run.steps_left} steps left, and {left} are"
