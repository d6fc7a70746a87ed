"""Gathers what proves a run, in the layout that `evidence` seals and verifies."""

from __future__ import annotations

from typing import Any

from mandamus.evidence.model import Parts
from mandamus.kernel import canonical
from mandamus.kernel.ids import Digest
from mandamus.runs import store
from mandamus.runs.model import Run, StepRow
from mandamus.runs.rooms import Rooms


def gather(rooms: Rooms, run: Run) -> Parts:
    """Every document of a closed run: summary, workflow, plans, change sets, bindings, decisions, approvals."""
    with rooms.db.read() as conn:
        steps = store.list_steps(conn, run.id)
        approvals = store.approvals_of(conn, run.id)
    files: dict[str, bytes] = {"workflow.yaml": rooms.catalog.workflow_bytes(run.source, run.workflow_file)}
    for row in steps:
        files |= _step_files(rooms, row)
    for decision in rooms.policy.of_run(run.id):
        files[f"decisions/{decision.id}.json"] = canonical.dumps(decision.to_json())
        files[f"decisions/{decision.id}.input.json"] = decision.verdict.input
    for approval in approvals:
        files[f"approvals/{approval.id}.json"] = approval.document
    return Parts(run=run.id, summary=_summary(run, steps), files=files)


def _step_files(rooms: Rooms, row: StepRow) -> dict[str, bytes]:
    folder = f"steps/{row.name}.{row.attempt}"
    files = {}
    if row.plan is not None and row.binding is not None:
        files[f"{folder}/change_set.json"] = rooms.blobs.get(row.plan.change_set)
        files[f"{folder}/binding.json"] = row.binding.to_bytes()
        if row.plan.native is not None:
            files[f"{folder}/plan.json"] = rooms.blobs.get(Digest(row.plan.native))
    if row.outputs is not None or row.error is not None:
        result = {"state": row.state.value, "outputs": row.outputs, "error": row.error}
        files[f"{folder}/result.json"] = canonical.dumps(result)
    return files


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
        "plan_only": run.plan_only,
        "state": run.state.value,
        "error": run.error,
        "requested_us": run.requested_us,
        "closed_us": run.closed_us,
        "steps": [{"name": row.name, "state": row.state.value, "attempt": row.attempt} for row in steps],
    }
