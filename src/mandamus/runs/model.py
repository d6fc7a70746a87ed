"""The values of a run: what was asked, what a step is bound to, and the three types that are the gate."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mandamus.kernel import canonical
from mandamus.kernel.ids import ApprovalId, DecisionId, Digest, RunId
from mandamus.runs.lifecycle import RunState, StepState

BINDING_FORMAT = "binding/1"


@dataclass(frozen=True)
class Request:
    """What a person asks for: a workflow file of a project, an environment, inputs and why."""

    workflow: str
    environment: str
    inputs: Mapping[str, Any]
    reason: str = ""
    plan_only: bool = False


@dataclass(frozen=True)
class Wanted:
    """Which runs to list; None for whatever.

    They were asked for from ``since_us`` on and before ``until_us``. ``text`` is looked for in id, workflow, ticket and
    reason; of ASCII letters, the case does not matter.
    """

    state: RunState | None = None
    environment: str | None = None
    project: str | None = None
    workflow: str | None = None
    requester: str | None = None
    since_us: int | None = None
    until_us: int | None = None
    text: str | None = None


@dataclass(frozen=True)
class Found:
    """Runs, newest first; ``before`` is where the next page begins, None when this was the last."""

    runs: Sequence[Run]
    before: RunId | None


@dataclass(frozen=True)
class Requester:
    """The person a run is for, as recorded at request time."""

    user: str
    authn: str
    groups: tuple[str, ...]
    behalf_of: str | None = None


@dataclass(frozen=True)
class Requirement:
    """``count`` distinct approvers of ``group`` must say yes; ``why`` is the policy's own text.

    With ``override`` they let a violation through, so each has to give a reason.
    """

    group: str
    count: int
    why: str = ""
    override: bool = False

    def to_json(self) -> dict[str, Any]:
        """As stored, shown and recorded."""
        return {"group": self.group, "count": self.count, "why": self.why, "override": self.override}


@dataclass(frozen=True)
class Run:
    """One execution of one workflow version, in one environment, by one actor, with inputs.

    ``project`` is the registered project it came from, or empty; ``requires`` is what policy asked for at the request:
    every step needs it, too.
    """

    id: RunId
    workflow: str
    workflow_file: str
    workflow_digest: Digest
    source: Digest
    environment: str
    environment_digest: Digest
    requester: Requester
    makers: tuple[str, ...]
    inputs: Mapping[str, Any]
    reason: str
    ticket: str
    plan_only: bool
    project: str
    requires: tuple[Requirement, ...]
    state: RunState
    steps_left: int
    wakes: int
    wakes_seen: int
    cancel_requested: bool
    error: Mapping[str, Any] | None
    evidence: Digest | None
    requested_us: int
    closed_us: int | None


@dataclass(frozen=True)
class PlanRecord:
    """Digests of what planning left in the blob store.

    ``artifact`` is the blob handed to apply, ``native`` the tool's own plan (redacted), ``lock`` the tool and
    provider versions, ``state`` the lineage and serial that were read (None for tools without state). ``drift`` is how
    many objects the plan found changed outside.
    """

    change_set: Digest
    artifact: Digest
    native: Digest | None
    lock: Mapping[str, Any]
    state: Mapping[str, Any] | None
    summary: Mapping[str, int]
    drift: int = 0

    def to_json(self) -> dict[str, Any]:
        """As stored in the step's row."""
        return dict(vars(self))


@dataclass(frozen=True)
class StepRow:
    """One step of a run as the rows hold it."""

    run: RunId
    name: str
    ordinal: int
    state: StepState
    attempt: int
    tries_left: int
    needs_left: int
    not_before_us: int
    binding: Binding | None
    plan: PlanRecord | None
    requires: tuple[Requirement, ...]
    judges: Digest | None
    decisions: tuple[DecisionId, ...]
    outputs: Mapping[str, Any] | None
    error: Mapping[str, Any] | None


@dataclass(frozen=True)
class Binding:
    """Everything an approval is bound to; its digest is what people say yes to and what apply checks again.

    ``tries`` is how many attempts the workflow allows, so that a retry of the very same plan needs no new yes.
    """

    run: RunId
    step: str
    source: Digest
    workflow: Digest
    inputs: Digest
    environment: Digest
    tool_lock: Digest
    artifact: Digest
    change_set: Digest
    state: Mapping[str, Any] | None
    sandbox: str
    tries: int
    expires_us: int

    def to_json(self) -> dict[str, Any]:
        """The canonical form that is digested and kept in evidence."""
        return {"format": BINDING_FORMAT, **{field: getattr(self, field) for field in _BINDING_FIELDS}}

    def to_bytes(self) -> bytes:
        """Canonical bytes."""
        return canonical.dumps(self.to_json())

    @functools.cached_property
    def digest(self) -> Digest:
        """The bound digest."""
        return canonical.digest(self.to_bytes())


_BINDING_FIELDS = tuple(field.name for field in dataclasses.fields(Binding))


def binding_from(data: bytes) -> Binding:
    """Rebuild a binding from its canonical bytes."""
    fields = canonical.loads(data)
    fields.pop("format")
    return Binding(**fields)


@dataclass(frozen=True)
class Approval:
    """A named human's recorded yes or no to one bound digest, signed by the platform's key."""

    id: ApprovalId
    run: RunId
    step: str
    attempt: int
    binding: Digest
    verdict: str
    by: str
    group: str
    reason: str
    at_us: int
    expires_us: int
    document: bytes


@dataclass(frozen=True)
class Judged:
    """The gate's word on one plan. Only ``gate.py`` makes it; ``requires`` is empty when policy asks for nobody."""

    step: StepRow
    binding: Binding
    requires: tuple[Requirement, ...]
    decisions: tuple[DecisionId, ...]


@dataclass(frozen=True)
class Approved:
    """A judged plan with every yes it needs. Only ``approval.py`` makes it, also when nobody had to be asked."""

    judged: Judged
    approvals: tuple[ApprovalId, ...]

    @property
    def binding(self) -> Binding:
        """What was approved."""
        return self.judged.binding


@dataclass(frozen=True)
class Applied:
    """What an approved plan did. Only ``apply.py`` makes it."""

    step: StepRow
    ok: bool
    outputs: Mapping[str, Any]
    error: Mapping[str, Any] | None


@dataclass(frozen=True)
class Notice:
    """One line of progress for whoever watches; ``step`` is empty for the run itself."""

    run: RunId
    step: str
    state: str
    text: str = ""
