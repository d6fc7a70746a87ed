"""The words of policy: decision points, verdicts, what may go wrong, and the published set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mandamus.kernel import canonical
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import DecisionId, Digest, RunId

DENY = "deny"
WARN = "warn"
REQUIRE_APPROVAL = "require_approval"
RULES = (DENY, REQUIRE_APPROVAL, WARN)
"""The partial sets a policy may define in ``package mandamus.<point>``."""

ROOT = "mandamus"
NO_SET = Digest("")
DECISION_FORMAT = "decision/1"


class Point(StrEnum):
    """Where a run asks policy: before it is admitted, and per step before plan, after plan, before apply."""

    TRIGGER = "trigger"
    PLAN = "plan"
    STEP = "step"
    APPLY = "apply"


class Outcome(StrEnum):
    """What the sets say together."""

    ALLOW = "allow"
    DENY = "deny"
    NEEDS_APPROVAL = "needs_approval"


class Fault(StrEnum):
    """Why an evaluation gave no verdict; each one is a deny and is recorded."""

    NO_POLICY = "no_policy"
    BUNDLE_MISSING = "bundle_missing"
    BUNDLE_CORRUPT = "bundle_corrupt"
    COMPILE_ERROR = "compile_error"
    ENGINE_MISSING = "engine_missing"
    ENGINE_BUSY = "engine_busy"
    WORKER_LOST = "worker_lost"
    TIMEOUT = "timeout"
    REPLY_INVALID = "reply_invalid"
    EVAL_ERROR = "eval_error"
    UNDEFINED = "undefined"
    SHAPE_INVALID = "shape_invalid"
    INPUT_INVALID = "input_invalid"
    INPUT_TOO_LARGE = "input_too_large"
    INPUT_TOO_DEEP = "input_too_deep"
    INTERNAL = "internal"


def fault(kind: Fault, message: str, remedy: str) -> MandamusError:
    """The error of an evaluation that gave no verdict; ``context["fault"]`` is the kind."""
    return MandamusError(Code.POLICY_UNAVAILABLE, message, remedy=remedy, context={"fault": kind.value})


@dataclass(frozen=True)
class Violation:
    """One member of ``deny`` or ``warn``.

    ``rule`` is its full name, e.g. ``mandamus.plan.deny``; ``file`` is relative to the set and ``line`` counts from 1
    (both of the rule that fired); ``remedy`` is the policy's own text or empty; ``meta`` is the policy's own data.
    """

    rule: str
    msg: str
    file: str
    line: int
    remedy: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    set: Digest = NO_SET

    def __str__(self) -> str:
        advice = f" ({self.remedy})" if self.remedy else ""
        return f"{self.file}:{self.line}: {self.rule}: {self.msg}{advice}"


@dataclass(frozen=True)
class Requirement:
    """How many approvals of which group; an empty ``group`` means the environment's own approvers."""

    group: str
    count: int
    msg: str
    rule: str = ""
    file: str = ""
    line: int = 0
    set: Digest = NO_SET


@dataclass(frozen=True)
class Verdict:
    """What the policy sets said about one input.

    ``input`` is the exact canonical document that was judged (empty when none could be made), ``results`` the
    canonical raw values of the rules per set, ``error`` a `Fault` and its text when trouble made this a deny,
    ``notes`` what is worth knowing about an allow, ``at_us`` the clock the policy saw.
    """

    point: Point
    outcome: Outcome
    violations: tuple[Violation, ...]
    warnings: tuple[Violation, ...]
    requires: tuple[Requirement, ...]
    input: bytes
    input_digest: Digest
    sets: tuple[Digest, ...]
    engine: str
    duration_us: int
    error: str | None
    results: bytes
    notes: tuple[str, ...]
    at_us: int


@dataclass(frozen=True)
class Decision:
    """A recorded verdict."""

    id: DecisionId
    run: RunId | None
    step: str | None
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """As evidence keeps it: all it says, and the input by its digest. The log names the digest of these bytes."""
        said = self.verdict
        return {
            "format": DECISION_FORMAT,
            "id": self.id,
            "run": self.run,
            "step": self.step,
            "point": said.point.value,
            "outcome": said.outcome.value,
            "violations": [vars(violation) for violation in said.violations],
            "warnings": [vars(violation) for violation in said.warnings],
            "requires": [vars(requirement) for requirement in said.requires],
            "input_digest": said.input_digest,
            "sets": list(said.sets),
            "engine": said.engine,
            "duration_us": said.duration_us,
            "error": said.error,
            "results": canonical.loads(said.results),
            "notes": list(said.notes),
            "at_us": said.at_us,
        }


@dataclass(frozen=True)
class PolicySet:
    """A published set; ``digest`` is its identity, ``files`` are paths relative to the directory it came from."""

    digest: Digest
    files: tuple[str, ...]


@dataclass(frozen=True)
class Bundle:
    """A set as the evaluator takes it.

    ``modules`` and ``tests`` are ``(path, Rego text)``, ``data`` canonical JSON of the merged ``data.json`` files,
    ``entries`` the rules of `RULES` that the set defines per decision point.
    """

    digest: Digest
    modules: tuple[tuple[str, str], ...]
    tests: tuple[tuple[str, str], ...]
    data: bytes
    entries: Mapping[str, tuple[str, ...]]
