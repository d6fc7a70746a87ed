"""Judge: policy's word on one plan. The only place where a ``Judged`` is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mandamus.catalog.model import Environment
from mandamus.kernel import canonical
from mandamus.kernel.access import Subject
from mandamus.kernel.clock import rfc3339
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import DecisionId, Digest
from mandamus.policy.model import Outcome, Point, Verdict
from mandamus.runs.model import Approval, Binding, Judged, Requirement, Run, StepRow
from mandamus.runs.rooms import Rooms
from mandamus.store.database import Tx


@dataclass(frozen=True)
class Judgement:
    """The verdicts on one plan, not yet recorded."""

    verdicts: tuple[Verdict, ...]
    requires: tuple[Requirement, ...]

    @property
    def denied(self) -> bool:
        """Whether any point said no."""
        return any(verdict.outcome is Outcome.DENY for verdict in self.verdicts)

    def error(self) -> MandamusError:
        """What a denied requester is told: rule, file, line and the policy's own remedy."""
        return denial(self.verdicts)


def trigger(rooms: Rooms, run: Run, environment: Environment) -> Verdict:
    """May this run start at all?"""
    document = {"run": _run(run), "environment": _environment(environment)}
    return _decide(rooms, Point.TRIGGER, document, environment)


def may_step(rooms: Rooms, run: Run, environment: Environment, step: Mapping[str, Any]) -> Verdict:
    """May this step be planned at all? Asked before its tool is started."""
    document = {"run": _run(run), "environment": _environment(environment), "step": step}
    return _decide(rooms, Point.STEP, document, environment)


def judge(
    rooms: Rooms,
    run: Run,
    environment: Environment,
    step: Mapping[str, Any],
    change_set: Mapping[str, Any],
    native: Mapping[str, Any],
    earlier: Sequence[Verdict] = (),
) -> Judgement:
    """Ask the point ``plan`` about one planned step; ``earlier`` verdicts count too. Nothing is recorded yet."""
    document = {
        "run": _run(run),
        "environment": _environment(environment),
        "step": step,
        "change_set": change_set,
        "native": native,
    }
    verdicts = (*earlier, _decide(rooms, Point.PLAN, document, environment))
    return Judgement(verdicts, merged([*run.requires, *_requirements(verdicts, environment)]))


def before_apply(
    rooms: Rooms,
    run: Run,
    environment: Environment,
    step: Mapping[str, Any],
    binding: Binding,
    approvals: Sequence[Approval] = (),
) -> Judgement:
    """Ask the point ``apply``, right before the effect: freezes and windows live here. Nothing is recorded yet.

    The input names the plan by its digests, which the point ``plan`` has judged in full, and who said yes to it.
    """
    document = {
        "run": _run(run),
        "environment": _environment(environment),
        "step": step,
        "plan": _named(binding),
        "approvals": _given(approvals),
    }
    verdicts = (_decide(rooms, Point.APPLY, document, environment),)
    return Judgement(verdicts, _requirements(verdicts, environment))


def approving(
    rooms: Rooms,
    run: Run,
    environment: Environment,
    row: StepRow,
    given: Sequence[Approval],
    answer: Mapping[str, Any],
) -> Verdict:
    """May this person say this? ``answer`` is who they are and what they say; see the schema of the point."""
    bound = row.binding
    document = {
        "run": _run(run),
        "environment": _environment(environment),
        "step": {"name": row.name, "attempt": row.attempt},
        "plan": _named(bound) if bound is not None else {},
        "requires": [requirement.to_json() for requirement in row.requires],
        "approvals": _given(given),
        "approval": answer,
    }
    return _decide(rooms, Point.APPROVAL, document, environment)


def accessing(rooms: Rooms, who: Subject, action: str, environment: Environment, run: Run | None) -> Verdict | None:
    """May this person do this to a run (or ask for one)? None when no set has a rule for it."""
    if not rooms.policy.asks(Point.ACCESS, environment.judged_by):
        return None
    document = {
        "who": {
            "user": who.user,
            "authn": who.authn,
            "behalf_of": who.behalf_of,
            "groups": sorted(rooms.identity.groups_of(who.user)),
        },
        "action": action,
        "environment": _environment(environment),
        "run": None if run is None else _run(run),
    }
    return _decide(rooms, Point.ACCESS, document, environment)


def refuses(verdict: Verdict) -> bool:
    """Whether it is a no where nobody can be asked for an approval."""
    return verdict.outcome is not Outcome.ALLOW


def asked_at_request(verdict: Verdict, environment: Environment) -> tuple[Requirement, ...]:
    """What the verdict at the request asks for; every step of the run needs it."""
    return _requirements((verdict,), environment)


def judges(rooms: Rooms, environment: Environment) -> Digest:
    """Digest of who judges now: policy sets, approvers, and the exemptions that count."""
    exempt = rooms.policy.exemptions.active(environment.name)
    if not exempt:
        return environment.judges
    return canonical.digest_of([environment.judges, [one.id for one in exempt]])


def together(*judgements: Judgement) -> Judgement:
    """What several judgements say as one: every verdict, and of each group the most that any of them asks for."""
    verdicts = tuple(verdict for judgement in judgements for verdict in judgement.verdicts)
    asked = [requirement for judgement in judgements for requirement in judgement.requires]
    return Judgement(verdicts, merged(asked))


def merged(asked: Iterable[Requirement]) -> tuple[Requirement, ...]:
    """One requirement per group, in order of the groups; the largest count wins."""
    found: dict[str, Requirement] = {}
    for one in asked:
        known = found.get(one.group)
        if known is None:
            found[one.group] = one
            continue
        why = known.why if one.why in known.why else f"{known.why}; {one.why}"
        override = known.override or one.override
        found[one.group] = Requirement(one.group, max(known.count, one.count), why, override)
    return tuple(found[group] for group in sorted(found))


def record(
    rooms: Rooms, tx: Tx, who: Subject, run: Run, step: str | None, verdicts: Sequence[Verdict]
) -> tuple[DecisionId, ...]:
    """Write the decisions in the transaction of what they govern."""
    return tuple(rooms.policy.record(tx, who, verdict, run.id, step, run.project) for verdict in verdicts)


def passed(step: StepRow, binding: Binding, judgement: Judgement, decisions: tuple[DecisionId, ...]) -> Judged:
    """The gate opens: a plan that no point denied, with the approvals policy asks for."""
    if judgement.denied:
        raise judgement.error()
    return Judged(step=step, binding=binding, requires=judgement.requires, decisions=decisions)


def load(step: StepRow, further: tuple[DecisionId, ...]) -> Judged:
    """Rebuild the gate's word after a wait, with the decisions made since.

    Raises ``digest_mismatch`` when the rows do not fit together.
    """
    bound, plan = step.binding, step.plan
    if bound is None or plan is None or (bound.change_set, bound.artifact) != (plan.change_set, plan.artifact):
        raise MandamusError(
            Code.DIGEST_MISMATCH,
            f"step {step.name} of {step.run} is not bound to the plan it was judged with",
            remedy="run `mandamus doctor`; then `mandamus runs retry` plans it again",
        )
    return Judged(step=step, binding=bound, requires=step.requires, decisions=(*step.decisions, *further))


def denial(verdicts: Sequence[Verdict]) -> MandamusError:
    """The error that shows every violation of every verdict that denied."""
    denied = [verdict for verdict in verdicts if verdict.outcome is Outcome.DENY]
    violations = [violation for verdict in denied for violation in verdict.violations]
    lines = [f"{v.file}:{v.line}: {v.rule}: {v.msg}" for v in violations]
    troubles = [verdict.error for verdict in denied if verdict.error]
    remedies = [v.remedy for v in violations if v.remedy]
    return MandamusError(
        Code.POLICY_UNAVAILABLE if troubles and not violations else Code.POLICY_DENIED,
        "denied by policy\n" + "\n".join([*lines, *troubles]),
        remedy="; ".join(remedies) or "change the request so that the rule no longer fires, then ask again",
        context={
            "violations": [
                {"rule": v.rule, "msg": v.msg, "file": v.file, "line": v.line, "remedy": v.remedy} for v in violations
            ],
            "errors": troubles,
        },
    )


def _decide(rooms: Rooms, point: Point, document: Mapping[str, Any], environment: Environment) -> Verdict:
    now_us = rooms.clock.now_us()
    return rooms.policy.decide(
        point,
        {"point": point.value, "now": rfc3339(now_us), **document},
        environment.judged_by,
        protected=environment.protected,
        now_us=now_us,
        environment=environment.name,
    )


def _requirements(verdicts: Sequence[Verdict], environment: Environment) -> tuple[Requirement, ...]:
    """What the verdicts ask for; a rule that names no group means the environment's own approvers, else anyone."""
    return merged(
        Requirement(group, max(count, asked.count), asked.msg, asked.override)
        for verdict in verdicts
        for asked in verdict.requires
        for group, count in ({asked.group: asked.count} if asked.group else environment.approvers or {"": 1}).items()
    )


def _run(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "workflow": run.workflow,
        "environment": run.environment,
        "requester": {
            "user": run.requester.user,
            "authn": run.requester.authn,
            "groups": sorted(run.requester.groups),
        },
        "makers": list(run.makers),
        "inputs": run.inputs,
        "plan_only": run.plan_only,
        "project": run.project,
        "reason": run.reason,
        "ticket": run.ticket,
    }


def _named(binding: Binding) -> dict[str, Any]:
    return {"binding": binding.digest, "change_set": binding.change_set, "artifact": binding.artifact}


def _given(approvals: Sequence[Approval]) -> list[dict[str, Any]]:
    return [{"by": a.by, "group": a.group, "at": rfc3339(a.at_us)} for a in approvals]


def _environment(environment: Environment) -> dict[str, Any]:
    return {"name": environment.name, "protected": environment.protected, "vars": environment.vars}
