"""Gathers what proves a run, in the layout that `evidence` seals and verifies."""

from __future__ import annotations

from typing import Any

from mandamus.audit.leaf import decode
from mandamus.evidence.model import WORKFLOW, Parts, approval_file, documents
from mandamus.kernel import canonical
from mandamus.kernel.errors import MandamusError
from mandamus.kernel.ids import Digest
from mandamus.runs import store
from mandamus.runs.model import Run, StepRow
from mandamus.runs.rooms import Rooms


def gather(rooms: Rooms, run: Run) -> Parts:
    """Every document of a closed run: those its leaves name by digest, the approvals, the workflow and the summary."""
    rooms.audit.flush()
    leaves = rooms.audit.events(run.id)
    with rooms.db.read() as conn:
        steps = store.list_steps(conn, run.id)
        approvals = store.approvals_of(conn, run.id)
    files = {WORKFLOW: rooms.catalog.workflow_bytes(run.source, run.workflow_file)}
    held = _held(rooms, run, steps)
    for document in documents((leaf.index, decode(leaf.bytes)) for leaf in leaves):
        if document.digest not in held:
            try:
                held[document.digest] = rooms.blobs.get(document.digest)
            except MandamusError:
                if document.what != "policy set":
                    raise
                # Policy that cannot be read denied, and the run ends and is sealed without it.
                continue
        files[document.file] = held[document.digest]
    for approval in approvals:
        files[approval_file(approval.id)] = approval.document
    return Parts(run=run.id, leaves=leaves, summary=_summary(run, steps), files=files)


def _held(rooms: Rooms, run: Run, steps: list[StepRow]) -> dict[Digest, bytes]:
    """The documents that are in rows; all others are blobs, such as the bindings that a later plan replaced."""
    held = {row.binding.digest: row.binding.to_bytes() for row in steps if row.binding is not None}
    held |= {canonical.digest(result): result for result in rooms.effects.results(run.id)}
    for decision in rooms.policy.of_run(run.id):
        document = canonical.dumps(decision.to_json())
        held[canonical.digest(document)] = document
        held[decision.verdict.input_digest] = decision.verdict.input
    return held


def _summary(run: Run, steps: list[StepRow]) -> dict[str, Any]:
    return {
        "id": run.id,
        "workflow": run.workflow,
        "workflow_file": run.workflow_file,
        "workflow_digest": run.workflow_digest,
        "source": run.source,
        "environment": run.environment,
        "environment_digest": run.environment_digest,
        "requester": vars(run.requester),
        "makers": list(run.makers),
        "inputs": run.inputs,
        "reason": run.reason,
        "ticket": run.ticket,
        "plan_only": run.plan_only,
        "state": run.state.value,
        "error": run.error,
        "requested_us": run.requested_us,
        "closed_us": run.closed_us,
        "steps": [
            {"name": row.name, "state": row.state.value, "attempt": row.attempt, "error": row.error} for row in steps
        ],
    }
