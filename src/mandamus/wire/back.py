"""The house's own values from what was sent, for a client that works as the house itself does.

What only an engine needs (how many steps are left, when a step may begin) is not sent and stands at zero here; so do
the groups of whoever asked, and the signed form of an approval, which is in the evidence.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from mandamus.audit.model import Finding, Report
from mandamus.audit.model import Verdict as Found
from mandamus.audit.note import head, parse
from mandamus.audit.search import Hit, Page, Shown
from mandamus.audit.standing import Sight, Standing
from mandamus.catalog.inputs import InputSpec, InputType
from mandamus.catalog.model import Environment, Offered, OfferedStep, environment_from
from mandamus.executors.state import Held, Holder
from mandamus.identity.model import Token, User
from mandamus.identity.tokens import Minted
from mandamus.kernel import canonical
from mandamus.kernel.access import Permission, Subject
from mandamus.kernel.attachment import Level, attached_from
from mandamus.kernel.document import Position
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import ApprovalId, DecisionId, Digest, ExemptionId, RunId
from mandamus.policy.model import Decision, Exemption, Listed, Outcome, Point, SetVersion, Verdict, Violation
from mandamus.policy.model import Requirement as Asked
from mandamus.runs.drift import Drifted
from mandamus.runs.lifecycle import RUN_CLOSED, RunState, StepState
from mandamus.runs.model import Approval, Binding, Notice, PlanRecord, Requester, Requirement, Run, StepRow
from mandamus.runs.outlook import Outlook, Seat
from mandamus.runs.service import RunView
from mandamus.wire import base, catalog, governance, identity, runs
from mandamus.wire.base import micros, micros_or_none


def drifted(sent: runs.Drifted) -> Drifted:
    """A finding of drift."""
    return Drifted(
        RunId(sent.run), sent.project, sent.environment, sent.workflow, micros(sent.requested_at), sent.steps
    )


def run(sent: runs.Run) -> Run:
    """A run."""
    return Run(
        id=RunId(sent.id),
        workflow=sent.workflow,
        workflow_file=sent.workflow_file,
        workflow_digest=Digest(sent.workflow_digest),
        source=Digest(sent.source),
        environment=sent.environment,
        environment_digest=Digest(sent.environment_digest),
        requester=Requester(sent.requester, sent.authn, (), sent.behalf_of),
        makers=tuple(sent.makers),
        inputs=sent.inputs,
        reason=sent.reason,
        ticket=sent.ticket,
        plan_only=sent.plan_only,
        project=sent.project,
        requires=(),
        state=RunState(sent.state),
        steps_left=0,
        wakes=int(sent.due),
        wakes_seen=0,
        cancel_requested=sent.cancelling,
        error=sent.error,
        evidence=None if sent.evidence is None else Digest(sent.evidence),
        requested_us=micros(sent.requested_at),
        closed_us=micros_or_none(sent.closed_at),
    )


def view(sent: runs.RunDetail) -> RunView:
    """A run with all that is known of it. Raises ``digest_mismatch`` when a step is not what people are asked about."""
    run_id = RunId(sent.id)
    waiting = [step.name for step in sent.steps if step.state == StepState.WAITING]
    return RunView(
        run=run(sent),
        steps=tuple(_step(run_id, place, step) for place, step in enumerate(sent.steps)),
        approvals=tuple(approval(run_id, given) for given in sent.approvals),
        asked={name: tuple(_requirement(each) for each in sent.asked if each.step == name) for name in waiting},
        barred={
            name: frozenset().union(*(each.barred for each in sent.asked if each.step == name)) for name in waiting
        },
        needs={step.name: tuple(step.needs) for step in sent.steps},
    )


def news(found: RunView, seen: dict[str, str]) -> list[Notice]:
    """What has changed since the last look; ``seen`` are the states by step, and is brought up to date."""
    told = []
    for row in found.steps:
        if seen.get(row.name, StepState.PENDING) != row.state:
            text = "" if row.error is None else str(row.error.get("message", ""))
            told.append(Notice(found.run.id, row.name, row.state.value, text))
        seen[row.name] = row.state.value
    return told


def at_rest(found: Run) -> bool:
    """Whether a run has ended with its evidence, or waits and has seen all that was said to it."""
    if found.state in RUN_CLOSED:
        return found.evidence is not None
    return found.wakes_seen >= found.wakes and found.state in {RunState.WAITING, RunState.INDETERMINATE}


def approval(run_id: RunId, sent: runs.Approval) -> Approval:
    """A yes or a no."""
    return Approval(
        id=ApprovalId(sent.id),
        run=run_id,
        step=sent.step,
        attempt=sent.attempt,
        binding=Digest(sent.binding),
        verdict=sent.verdict,
        by=sent.by,
        group=sent.group,
        reason=sent.reason,
        at_us=micros(sent.at),
        expires_us=micros(sent.expires_at),
        document=b"",
    )


def subject(sent: identity.Me) -> Subject:
    """Who the caller is; permissions of a later version are left out."""
    known = {each.value for each in Permission}
    return Subject(
        user=sent.user,
        authn=sent.authn,
        groups=frozenset(sent.groups),
        permissions=frozenset(Permission(each) for each in sent.permissions if each in known),
        behalf_of=sent.behalf_of,
    )


def user(sent: identity.User) -> User:
    """A user, without the address."""
    return User(sent.name, sent.display_name, active=sent.active)


def token(sent: identity.Token) -> Token:
    """A token as it is known afterwards."""
    return Token(
        id=sent.id,
        user=sent.user,
        name=sent.name,
        permissions=None if sent.permissions is None else frozenset(map(Permission, sent.permissions)),
        created_us=micros(sent.created_at),
        expires_us=micros(sent.expires_at),
        used_us=micros_or_none(sent.used_at),
        revoked_us=micros_or_none(sent.revoked_at),
        made_by=sent.made_by,
        behalf_of=sent.behalf_of,
        projects=None if sent.projects is None else tuple(sent.projects),
    )


def minted(sent: identity.MintedToken) -> Minted:
    """A token that was just made."""
    return Minted(token(sent), sent.secret)


def offered(sent: catalog.Workflow) -> Offered:
    """A workflow of a project; its text is known of the one that was asked for."""
    return Offered(
        project=sent.project,
        file=sent.file,
        digest=Digest(sent.digest),
        text=sent.text if isinstance(sent, catalog.WorkflowText) else "",
        name=sent.name,
        description=sent.description,
        inputs=tuple(_input(sent.file, each) for each in sent.inputs),
        steps=tuple(
            OfferedStep(each.name, tuple(each.needs), each.executor, each.condition, tuple(each.secrets))
            for each in sent.steps
        ),
        problem=sent.problem,
    )


def _input(file: str, sent: catalog.Input) -> InputSpec:
    fields = {**sent.model_dump(), "type": InputType(sent.type), "enum": tuple(sent.enum)}
    return InputSpec(at=Position(file, 1, 1), **fields)


def outlook(sent: catalog.Outlook) -> Outlook:
    """Who would be asked; of the environment what the answer says."""
    policies = tuple(attached_from(each) for each in sent.policies)
    target = Environment(sent.environment, protected=sent.protected, policies=policies)
    seats = tuple(Seat(each.group, each.count, tuple(each.people), tuple(each.barred)) for each in sent.seats)
    return Outlook(target, seats, sent.refused)


def environment(sent: governance.Environment) -> Environment:
    """An environment."""
    return environment_from(canonical.dumps(sent.model_dump(mode="json")), sent.applied_by)


def set_version(sent: governance.PolicySet) -> SetVersion:
    """A version of a policy set."""
    return SetVersion(sent.name, sent.version, Digest(sent.digest), sent.by, micros(sent.at))


def listed(sent: governance.DecisionLine) -> Listed:
    """A decision of a list."""
    return Listed(
        id=DecisionId(sent.id),
        run=None if sent.run is None else RunId(sent.run),
        step=sent.step,
        point=Point(sent.point),
        outcome=Outcome(sent.outcome),
        environment=sent.environment,
        at_us=micros(sent.at),
        error=sent.error,
        says=tuple(sent.says),
    )


def decision(sent: governance.Decision) -> Decision:
    """A decision; what was judged is named by its digest alone."""
    said = sent.document
    verdict = Verdict(
        point=Point(said["point"]),
        outcome=Outcome(said["outcome"]),
        violations=_violations(said["violations"]),
        warnings=_violations(said["warnings"]),
        requires=tuple(Asked(**each) for each in said["requires"]),
        input=b"",
        input_digest=Digest(said["input_digest"]),
        attached=tuple(attached_from(each) for each in said["attached"]),
        engine=said["engine"],
        duration_us=said["duration_us"],
        error=said["error"],
        results=canonical.dumps(said["results"]),
        notes=tuple(said["notes"]),
        at_us=said["at_us"],
        spared=_violations(said["spared"]),
        environment=said["environment"],
        notify=tuple(said.get("notify", ())),
    )
    return Decision(DecisionId(sent.id), None if sent.run is None else RunId(sent.run), sent.step, verdict)


def exemption(sent: governance.Exemption) -> Exemption:
    """An exemption."""
    return Exemption(
        id=ExemptionId(sent.id),
        environment=sent.environment,
        set=sent.set,
        rule=sent.rule,
        address=sent.address,
        by=sent.by,
        why=sent.why,
        granted_us=micros(sent.granted_at),
        until_us=micros(sent.until),
        ended_us=micros_or_none(sent.ended_at),
    )


def lock(sent: governance.Lock) -> Held:
    """A state that a step holds."""
    return Held(sent.name, Holder(sent.run, sent.step, micros(sent.since)))


def standing(sent: governance.Standing) -> Standing:
    """How the log stands."""
    witnesses, anchors = (
        tuple(Sight(each.name, each.size, micros(each.at)) for each in seen) for seen in (sent.witnesses, sent.anchors)
    )
    return Standing(sent.size, micros_or_none(sent.signed_at) or 0, sent.waiting, witnesses, anchors)


def report(sent: governance.Report) -> Report:
    """What a verification found."""
    found = [Finding(Found(each.verdict), each.message, each.file, each.leaf) for each in sent.problems]
    return Report(
        sent.size, tuple(found), sent.origin, pruned=sent.pruned, pruned_by=sent.pruned_by, witnessed=sent.witnessed
    )


def events(sent: base.Page[governance.Event]) -> Page:
    """A page of events that were found."""
    hits = tuple(Hit(each.index, each.leaf) for each in sent.items)
    return Page(hits, None if sent.next is None else int(sent.next))


def shown(sent: governance.Proven) -> Shown:
    """A leaf with its proof. Nobody's signature is checked here: whoever is to believe it has the key and verifies."""
    note = sent.checkpoint.encode()
    return Shown(
        sent.index, base64.b64decode(sent.leaf_base64), sent.leaf, sent.proof.encode(), head(parse(note).text, note)
    )


def _step(run_id: RunId, place: int, sent: runs.Step) -> StepRow:
    return StepRow(
        run=run_id,
        name=sent.name,
        ordinal=place,
        state=StepState(sent.state),
        attempt=sent.attempt,
        tries_left=0,
        needs_left=0,
        not_before_us=0,
        binding=None if sent.bound is None else _binding(sent.name, sent.bound, sent.binding),
        plan=None if sent.plan is None else PlanRecord(**sent.plan),
        requires=tuple(_requirement(each) for each in sent.requires),
        judges=None,
        decisions=tuple(map(DecisionId, sent.decisions)),
        outputs=sent.outputs,
        error=sent.error,
    )


def _binding(step: str, document: Mapping[str, Any], digest: str | None) -> Binding:
    made = Binding(**{name: value for name, value in document.items() if name != "format"})
    if made.digest != digest:
        raise MandamusError(
            Code.DIGEST_MISMATCH,
            f"step {step} is said to be bound to {digest}, and what was sent has the digest {made.digest}",
            remedy="decide nothing on it; use the same version here as on the server, and look at the server itself",
        )
    return made


def _requirement(sent: runs.Required) -> Requirement:
    return Requirement(sent.group, sent.count, sent.why, sent.override)


def _violations(found: list[dict[str, Any]]) -> tuple[Violation, ...]:
    return tuple(Violation(**{**each, "level": Level(each["level"])}) for each in found)
