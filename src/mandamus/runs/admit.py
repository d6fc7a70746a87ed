"""Admit: snapshot the project, check the request, ask policy whether the run may start, and write it down."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Authority, Outcome
from mandamus.catalog.model import Environment, Workflow
from mandamus.kernel import canonical
from mandamus.kernel.access import Permission, Subject, authorize
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Digest
from mandamus.policy.model import Outcome as PolicyOutcome
from mandamus.policy.model import Verdict
from mandamus.runs import access, gate, store
from mandamus.runs.lifecycle import RunState
from mandamus.runs.model import Request, Requester, Run
from mandamus.runs.rooms import Rooms, event, record
from mandamus.store.database import Tx


def admit(rooms: Rooms, who: Subject, root: Path, request: Request) -> Run:
    """Record the request with policy's answer; the run goes on by itself once this returns.

    Raises what makes the request impossible (``workflow_invalid``, ``input_invalid``, ``not_found``, ``forbidden``);
    a denial by policy is not an error here but the state of the run that is returned.
    """
    project = rooms.catalog.project_at(root)
    named = project.name if project else ""
    # Whoever stands in the project's folder, or found it by its name, knows that it is there.
    authorize(who, Permission.RUN_REQUEST, named)
    environment = rooms.catalog.environment_for(who, Permission.RUN_REQUEST, request.environment, named)
    access.check(rooms, who, "run:request", environment, None)
    _refuse_claimed(who, environment)
    source = rooms.catalog.snapshot_source(root)
    workflow = rooms.catalog.load(source, request.workflow)
    run = _run(rooms, who, source, workflow, environment, request)
    verdict = gate.trigger(rooms, run, environment)
    run = dataclasses.replace(run, requires=gate.asked_at_request(verdict, environment))
    denied = verdict.outcome is PolicyOutcome.DENY
    with rooms.db.begin("admit") as tx:
        _write(rooms, tx, who, run, workflow, verdict, denied=denied)
        rooms.engine.enqueue(tx, "run", run.id, "0")
        return store.get_run(tx.conn, run.id)


def _refuse_claimed(who: Subject, environment: Environment) -> None:
    if environment.protected and not who.verified:
        raise MandamusError(
            Code.FORBIDDEN,
            f"{who.user} is only claimed ({who.authn}), and environment {environment.name} is protected",
            remedy="ask as yourself, without --as",
        )


def _run(
    rooms: Rooms, who: Subject, source: Digest, workflow: Workflow, environment: Environment, request: Request
) -> Run:
    requester = Requester(user=who.user, authn=who.authn, groups=tuple(sorted(who.groups)), behalf_of=who.behalf_of)
    project = environment.project
    makers = {*who.makers, environment.applied_by, *([project.applied_by] if project else [])}
    return Run(
        id=rooms.ids.run(),
        workflow=workflow.name,
        workflow_file=request.workflow,
        workflow_digest=workflow.digest,
        source=source,
        environment=environment.name,
        environment_digest=environment.digest,
        requester=requester,
        makers=tuple(sorted(makers)),
        inputs=workflow.bind(request.inputs),
        reason=request.reason,
        ticket=who.ticket,
        plan_only=request.plan_only,
        project=project.name if project else "",
        requires=(),
        state=RunState.REQUESTED,
        steps_left=len(workflow.steps),
        wakes=0,
        wakes_seen=-1,
        cancel_requested=False,
        error=None,
        evidence=None,
        requested_us=rooms.clock.now_us(),
        closed_us=None,
    )


def _write(rooms: Rooms, tx: Tx, who: Subject, run: Run, workflow: Workflow, verdict: Verdict, *, denied: bool) -> None:
    store.insert_run(tx.conn, run)
    asked = {
        "workflow": run.workflow,
        "workflow_digest": run.workflow_digest,
        "source": run.source,
        "environment": run.environment,
        "inputs": canonical.digest_of(run.inputs),
        "plan_only": run.plan_only,
    }
    made = event(
        Kind.RUN_REQUESTED,
        who,
        run.id,
        why=run.reason,
        data=asked,
        project=run.project,
        environment=run.environment,
    )
    record(rooms, tx, made)
    decisions = gate.record(rooms, tx, who, run, None, [verdict])
    authority = Authority(decisions=decisions)
    if denied:
        record(
            rooms,
            tx,
            event(
                Kind.RUN_DENIED,
                who,
                run.id,
                outcome=Outcome.DENIED,
                authority=authority,
                data={"decision": decisions[0]},
            ),
        )
        error = canonical.dumps(gate.denial([verdict]).to_json())
        store.update_run(tx.conn, run.id, state=RunState.DENIED.value, error=error)
        return
    now_us = rooms.clock.now_us()
    store.insert_steps(
        tx.conn,
        run.id,
        [
            {"name": step.name, "needs": step.needs, "tries": step.retry.attempts, "changed_us": now_us}
            for step in workflow.steps
        ],
    )
    record(rooms, tx, event(Kind.RUN_ADMITTED, who, run.id, authority=authority))
    store.update_run(tx.conn, run.id, state=RunState.RUNNING.value)
