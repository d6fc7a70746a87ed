"""Runs, their steps, and what people say to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from mandamus.runs.drift import Drifted as Drift
from mandamus.runs.model import Approval as Given
from mandamus.runs.model import Requirement, StepRow
from mandamus.runs.model import Run as Kept
from mandamus.runs.service import RunView
from mandamus.wire.base import Body, Time, Wire, time, time_or_none


class NewRun(Body):
    """A request for a run."""

    project: Annotated[str, Field(description="A registered project.", examples=["storage"])]
    workflow: Annotated[str, Field(description="Path in the project.", examples=["workflows/storage-bucket.yaml"])]
    environment: Annotated[str, Field(examples=["dev"])]
    inputs: Annotated[dict[str, Any], Field(examples=[{"name": "ledger", "public": False}])] = Field(
        default_factory=dict
    )
    reason: Annotated[str, Field(max_length=2_000, examples=["archive of the ledger"])] = ""
    plan_only: Annotated[bool, Field(description="Show what would change, and never apply it.")] = False


class Decide(Body):
    """A yes or a no. ``binding`` is the digest of what was looked at: it is refused when that has moved since."""

    binding: Annotated[str, Field(pattern="^sha256:[0-9a-f]{64}$")]
    step: Annotated[str | None, Field(description="The step, when several wait.")] = None
    group: Annotated[str | None, Field(description="The group to count for, when in several that are asked.")] = None
    reason: Annotated[str, Field(max_length=2_000)] = ""


class Why(Body):
    """Why it is done."""

    reason: Annotated[str, Field(max_length=2_000)] = ""


class Settle(Body):
    """What became of an effect that nobody knows the end of."""

    outcome: Annotated[str, Field(pattern="^(succeeded|failed|retry)$", examples=["succeeded"])]
    reason: Annotated[str, Field(min_length=1, max_length=2_000)]


class Run(Wire):
    """One execution of one workflow version, in one environment, by one actor, with inputs.

    ``due`` says that something was said to it which may not show in its state yet, ``cancelling`` that it is to stop.
    """

    id: str
    state: str
    project: str
    workflow: str
    workflow_file: str
    workflow_digest: str
    source: str
    environment: str
    environment_digest: str
    requester: str
    authn: str
    behalf_of: str | None
    makers: list[str]
    inputs: dict[str, Any]
    reason: str
    ticket: str
    plan_only: bool
    due: bool
    cancelling: bool
    requested_at: Time
    closed_at: Time | None
    error: dict[str, Any] | None
    evidence: str | None


class Drifted(Wire):
    """The newest run of a workflow in an environment that planned: how many objects had changed outside, by step."""

    run: str
    project: str
    environment: str
    workflow: str
    requested_at: Time
    steps: dict[str, int]


class Required(Wire):
    """``count`` people of ``group`` have to say yes; with ``override`` they let a violation through."""

    group: str
    count: int
    why: str
    override: bool


class Step(Wire):
    """One step of a run: ``summary`` counts what it would change, ``binding`` is what people say yes to.

    ``plan`` names by their digests what planning left, ``bound`` is the document that ``binding`` is the digest of,
    ``needs`` are the steps it waits for, ``requires`` is what policy asks for.
    """

    name: str
    state: str
    attempt: int
    summary: dict[str, int] | None
    change_set: str | None
    binding: str | None
    expires_at: Time | None
    needs: list[str]
    plan: dict[str, Any] | None
    bound: dict[str, Any] | None
    requires: list[Required]
    decisions: list[str]
    outputs: dict[str, Any] | None
    error: dict[str, Any] | None


class Approval(Wire):
    """A yes or a no that was given."""

    id: str
    step: str
    attempt: int
    by: str
    verdict: str
    group: str
    reason: str
    binding: str
    at: Time
    expires_at: Time


class Asked(Required):
    """Who is still asked for: ``count`` more of ``group``; whoever is ``barred`` does not count."""

    step: str
    binding: str
    barred: list[str]


class RunDetail(Run):
    """A run as somebody looks at it who has to decide."""

    steps: list[Step]
    approvals: list[Approval]
    asked: list[Asked]


class Happened(Wire):
    """What a run's stream tells: ``place`` is that in the run's own chain, ``data`` the leaf; the last is ``end``."""

    place: int
    kind: str
    data: dict[str, Any]


class LogPiece(Wire):
    """Some output: ``next_offset`` is where to read on, ``done`` says that nothing will follow."""

    data: bytes
    next_offset: int
    done: bool


def run(kept: Kept) -> Run:
    """A run as it is sent."""
    return Run(**_run(kept))


def drifted(found: Drift) -> Drifted:
    """A finding of drift as it is sent."""
    said = {name: getattr(found, name) for name in ("run", "project", "environment", "workflow")}
    return Drifted(**said, requested_at=time(found.requested_us), steps=dict(found.steps))


def detail(view: RunView) -> RunDetail:
    """A run with all that is known of it."""
    rows = {row.name: row for row in view.steps}
    return RunDetail(
        **_run(view.run),
        steps=[step(row, view.needs.get(row.name, ())) for row in view.steps],
        approvals=[approval(given) for given in view.approvals],
        asked=[
            _asked(rows[name], requirement, sorted(view.barred[name]))
            for name, asked in view.asked.items()
            for requirement in asked
        ],
    )


def step(row: StepRow, needs: Sequence[str]) -> Step:
    """A step as it is sent."""
    plan, binding = row.plan, row.binding
    return Step(
        name=row.name,
        state=row.state.value,
        attempt=row.attempt,
        summary=dict(plan.summary) if plan else None,
        change_set=plan.change_set if plan else None,
        binding=binding.digest if binding else None,
        expires_at=time_or_none(binding.expires_us if binding else None),
        needs=list(needs),
        plan=plan.to_json() if plan else None,
        bound=binding.to_json() if binding else None,
        requires=[Required(**each.to_json()) for each in row.requires],
        decisions=list(row.decisions),
        outputs=_plain(row.outputs),
        error=_plain(row.error),
    )


def approval(given: Given) -> Approval:
    """An approval as it is sent."""
    return Approval(
        id=given.id,
        step=given.step,
        attempt=given.attempt,
        by=given.by,
        verdict=given.verdict,
        group=given.group,
        reason=given.reason,
        binding=given.binding,
        at=time(given.at_us),
        expires_at=time(given.expires_us),
    )


def _run(kept: Kept) -> dict[str, Any]:
    return {
        "id": kept.id,
        "state": kept.state.value,
        "project": kept.project,
        "workflow": kept.workflow,
        "workflow_file": kept.workflow_file,
        "workflow_digest": kept.workflow_digest,
        "source": kept.source,
        "environment": kept.environment,
        "environment_digest": kept.environment_digest,
        "requester": kept.requester.user,
        "authn": kept.requester.authn,
        "behalf_of": kept.requester.behalf_of,
        "makers": list(kept.makers),
        "inputs": dict(kept.inputs),
        "reason": kept.reason,
        "ticket": kept.ticket,
        "plan_only": kept.plan_only,
        "due": kept.wakes_seen < kept.wakes,
        "cancelling": kept.cancel_requested,
        "requested_at": time(kept.requested_us),
        "closed_at": time_or_none(kept.closed_us),
        "error": _plain(kept.error),
        "evidence": kept.evidence,
    }


def _asked(row: StepRow, requirement: Requirement, barred: list[str]) -> Asked:
    return Asked(
        step=row.name,
        **requirement.to_json(),
        binding=row.binding.digest if row.binding else "",
        barred=barred,
    )


def _plain(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if value is None else dict(value)
