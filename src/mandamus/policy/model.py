"""The words of policy: decision points, verdicts, what may go wrong, and the published set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mandamus.kernel import canonical
from mandamus.kernel.attachment import Attached, Level
from mandamus.kernel.errors import Code, MandamusError, Problem
from mandamus.kernel.ids import DecisionId, Digest, ExemptionId, RunId

DENY = "deny"
WARN = "warn"
REQUIRE_APPROVAL = "require_approval"
RULES = (DENY, REQUIRE_APPROVAL, WARN)
"""What a rule can say; the partial sets that a policy may define in ``package mandamus.<point>`` are called so."""

ROOT = "mandamus"
NO_SET = Digest("")
DECISION_FORMAT = "decision/1"


Modules = Sequence[tuple[str, str]]
"""``(path, Rego text)``"""


class Point(StrEnum):
    """Where policy is asked: before a run is admitted; per step before plan, after plan, before apply; of people.

    ``approval`` is asked when somebody says yes or no, ``access`` when somebody uses a verb on runs of an environment.
    """

    TRIGGER = "trigger"
    PLAN = "plan"
    STEP = "step"
    APPLY = "apply"
    APPROVAL = "approval"
    ACCESS = "access"


OVERRIDABLE = frozenset({Point.STEP, Point.PLAN, Point.APPLY})
"""Where a plan is at hand that an override can be bound to; elsewhere a soft-mandatory no is a no."""


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


class BuiltinErrors(StrEnum):
    """What a builtin that fails means: a failed evaluation, or an undefined expression (OPA's default)."""

    ERROR = "error"
    UNDEFINED = "undefined"


class RegoVersion(StrEnum):
    """Which Rego a set is written in; ``auto`` finds it out per file."""

    AUTO = "auto"
    V0 = "v0"
    V1 = "v1"


@dataclass(frozen=True)
class Query:
    """A query named from outside the Rego: ``query`` is like ``data.terraform.deny``."""

    name: str
    query: str
    level: Level | None = None


@dataclass(frozen=True)
class Options:
    """How a set's text is to be read; part of its content, so of its digest.

    ``builtin_errors`` None means undefined where a module is Rego v0, else error. ``namespaces`` are packages that
    conftest looks at, ``queries`` what an HCP policy set asks, ``kind`` the type of a Spacelift policy.
    """

    profile: str = ROOT
    rego: RegoVersion = RegoVersion.AUTO
    builtin_errors: BuiltinErrors | None = None
    namespaces: tuple[str, ...] = ()
    queries: tuple[Query, ...] = ()
    kind: str = ""

    def to_json(self) -> dict[str, Any]:
        """As it stands in a set's snapshot."""
        return {
            "profile": self.profile,
            "rego": self.rego.value,
            "builtin_errors": self.builtin_errors.value if self.builtin_errors else None,
            "namespaces": list(self.namespaces),
            "queries": [vars(query) for query in self.queries],
            "kind": self.kind,
        }


def options_from(value: Mapping[str, Any]) -> Options:
    """Rebuild options from their JSON form."""
    errors = value["builtin_errors"]
    return Options(
        profile=value["profile"],
        rego=RegoVersion(value["rego"]),
        builtin_errors=BuiltinErrors(errors) if errors else None,
        namespaces=tuple(value["namespaces"]),
        queries=tuple(
            Query(each["name"], each["query"], Level(each["level"]) if each["level"] else None)
            for each in value["queries"]
        ),
        kind=value["kind"],
    )


RULE = "RULE"
"""In `Entry.body`: where the reference to the rule goes."""


@dataclass(frozen=True)
class Entry:
    """One rule that is asked at one point.

    ``rule`` is its full name without ``data``; ``body`` are Rego statements that bind ``v`` to its value, with `RULE`
    for the reference; ``kind`` says what its members mean (of `RULES`, or a word of the profile's own); ``level`` is
    the rule's own where a convention has one per rule.
    """

    point: str
    rule: str
    body: str
    kind: str
    level: Level | None = None


@dataclass(frozen=True)
class Said:
    """One member of a rule, understood: ``kind`` is of `RULES`, ``member`` a text or an object with ``msg``."""

    kind: str
    rule: str
    member: Any
    level: Level | None = None


@dataclass(frozen=True)
class Violation:
    """One member of ``deny`` or ``warn``.

    ``rule`` is its full name, e.g. ``mandamus.plan.deny``; ``file`` is relative to the set and ``line`` counts from 1
    (both of the rule that fired); ``remedy`` is the policy's own text or empty; ``meta`` is the policy's own data;
    ``address`` is what it is about, when the policy says so; ``level`` is how strictly it binds; ``exemption`` is the
    exemption that spares it. ``because`` are the input paths the rule read where it fired, with their values.
    """

    rule: str
    msg: str
    file: str
    line: int
    remedy: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    set: Digest = NO_SET
    address: str = ""
    level: Level = Level.HARD
    exemption: str = ""
    because: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        advice = f" ({self.remedy})" if self.remedy else ""
        return f"{self.file}:{self.line}: {self.rule}: {self.msg}{advice}"


@dataclass(frozen=True)
class Requirement:
    """How many approvals of which group; an empty ``group`` means the environment's own approvers.

    With ``override`` they let a soft-mandatory violation through, and have to say why.
    """

    group: str
    count: int
    msg: str
    rule: str = ""
    file: str = ""
    line: int = 0
    set: Digest = NO_SET
    override: bool = False


@dataclass(frozen=True)
class Exemption:
    """A rule that does not bind for a while: who said so, why, until when, for which rule and address.

    ``set`` is the name under which the set is attached, ``rule`` a full name; an empty ``address`` means any.
    ``ended_us`` is set when somebody took it back.
    """

    id: ExemptionId
    environment: str
    set: str
    rule: str
    address: str
    by: str
    why: str
    granted_us: int
    until_us: int
    ended_us: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As commands print it."""
        return dict(vars(self))

    def active(self, now_us: int) -> bool:
        """Whether it counts now."""
        return self.ended_us is None and now_us < self.until_us

    def spares(self, name: str, violation: Violation) -> bool:
        """Whether it is about this violation of the set attached under that name."""
        return (self.set, self.rule) == (name, violation.rule) and self.address in ("", violation.address)


@dataclass(frozen=True)
class Verdict:
    """What the policy sets said about one input.

    ``input`` is the exact canonical document that was judged (empty when none could be made), ``results`` the
    canonical raw values of the rules per set (``[{"set", "value"}]``), ``error`` a `Fault` and its text when trouble
    made this a deny, ``notes`` what is worth knowing about an allow, ``at_us`` the clock the policy saw. ``spared`` are
    violations that deny nothing by themselves: soft-mandatory ones, which an override lets through, exempted ones, and
    those of shadow sets. ``notify`` are the subscriptions that are told of it because a set says so.
    """

    point: Point
    outcome: Outcome
    violations: tuple[Violation, ...]
    warnings: tuple[Violation, ...]
    requires: tuple[Requirement, ...]
    input: bytes
    input_digest: Digest
    attached: tuple[Attached, ...]
    engine: str
    duration_us: int
    error: str | None
    results: bytes
    notes: tuple[str, ...]
    at_us: int
    spared: tuple[Violation, ...] = ()
    environment: str = ""
    notify: tuple[str, ...] = ()

    @property
    def sets(self) -> tuple[Digest, ...]:
        """The sets that were asked."""
        return tuple(attached.set for attached in self.attached)


def told(verdict: Verdict) -> dict[str, Any]:
    """Whom the verdict has told, as it is kept: nothing where it names nobody."""
    return {"notify": list(verdict.notify)} if verdict.notify else {}


@dataclass(frozen=True)
class Decision:
    """A recorded verdict."""

    id: DecisionId
    run: RunId | None
    step: str | None
    verdict: Verdict
    project: str = ""

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
            "spared": [vars(violation) for violation in said.spared],
            "environment": said.environment,
            "input_digest": said.input_digest,
            "sets": list(said.sets),
            "attached": [attached.to_json() for attached in said.attached],
            "engine": said.engine,
            "duration_us": said.duration_us,
            "error": said.error,
            "results": canonical.loads(said.results),
            "notes": list(said.notes),
            "at_us": said.at_us,
            **told(said),
        }


@dataclass(frozen=True)
class Wanted:
    """Which decisions to list; what is None counts not. ``since_us`` is the earliest moment."""

    environment: str | None = None
    point: Point | None = None
    outcome: Outcome | None = None
    run: RunId | None = None
    since_us: int | None = None


@dataclass(frozen=True)
class Listed:
    """A decision without its input: ``says`` are the rules and words of what denied, was spared or asked for."""

    id: DecisionId
    run: RunId | None
    step: str | None
    point: Point
    outcome: Outcome
    environment: str
    at_us: int
    error: str | None
    says: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As commands print it."""
        return {**vars(self), "point": self.point.value, "outcome": self.outcome.value, "says": list(self.says)}


@dataclass(frozen=True)
class PolicySet:
    """A published set; ``digest`` is its identity, ``files`` are paths relative to where it came from.

    ``warnings`` are what a check found that does not stop it.
    """

    digest: Digest
    files: tuple[str, ...]
    name: str = ""
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class SetVersion:
    """One version of a named set; versions count from 1, ``by`` is who published it."""

    name: str
    version: int
    digest: Digest
    by: str
    at_us: int

    def to_json(self) -> dict[str, Any]:
        """As commands print it."""
        return dict(vars(self))


@dataclass(frozen=True)
class Bundle:
    """A set as the evaluator takes it.

    ``sources`` are the texts as written and ``modules`` what OPA takes, Rego v1 with the same lines (``(path, text)``
    both); ``data`` is canonical JSON of the merged ``data.json`` files, ``query`` asks all ``entries``, ``clock`` says
    that a rule reads the clock.
    """

    digest: Digest
    options: Options
    sources: tuple[tuple[str, str], ...]
    modules: tuple[tuple[str, str], ...]
    data: bytes
    entries: tuple[Entry, ...]
    query: str
    clock: bool
    builtin_errors: BuiltinErrors

    def at(self, point: str) -> tuple[Entry, ...]:
        """What is asked at a point."""
        return tuple(entry for entry in self.entries if entry.point == point)
