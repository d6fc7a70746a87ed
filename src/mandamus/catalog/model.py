"""What may run: workflows with typed inputs and a DAG of steps, and the environments they run in."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from mandamus.audit.gate import Demand, Mode
from mandamus.catalog import expression, inputs
from mandamus.catalog.expression import Scope, Template
from mandamus.catalog.inputs import InputSpec
from mandamus.identity.sign_in import StepUp, step_up_from
from mandamus.kernel import canonical
from mandamus.kernel.attachment import Attached, attached_from
from mandamus.kernel.document import Position
from mandamus.kernel.ids import Digest
from mandamus.secrets import model as secrets
from mandamus.secrets.model import SecretRef

ENVIRONMENT_FORMAT = "environment/1"
PROJECT_FORMAT = "project/1"

_JUDGES = frozenset({"policies", "approvers", "approval_ttl_s", "witnesses", "step_up"})


@dataclass(frozen=True)
class Retry:
    """``attempts`` counts every try, so 1 means no retry; ``backoff_s`` is waited before each further one."""

    attempts: int = 1
    backoff_s: int = 0


@dataclass(frozen=True, eq=False)
class Step:
    """One node of the DAG.

    ``spec`` is what stands under the executor's key: JSON-ready data whose strings may be ``Template``.
    """

    name: str
    needs: tuple[str, ...]
    condition: Template | None
    timeout_s: int
    retry: Retry
    executor: str
    spec: Mapping[str, Any]
    at: Position

    def resolve(self, scope: Scope) -> dict[str, Any]:
        """The spec with every value filled in; raises ``expression_invalid`` with the place in the file."""
        made: dict[str, Any] = expression.resolve(self.spec, scope)
        return made

    def runs(self, scope: Scope) -> bool:
        """Whether its ``if`` lets it run; raises ``expression_invalid``, also for a value that is no boolean."""
        if self.condition is None:
            return True
        value = self.condition.evaluate(scope)
        if isinstance(value, bool):
            return value
        why = f"`if` is true or false, not {type(value).__name__}"
        raise expression.failure(self.condition.at, str(self.condition), why, 'compare, as in inputs.name != "x"')

    @functools.cached_property
    def references(self) -> frozenset[str]:
        """Every dotted path its spec reads, such as ``steps.bucket.outputs.name``; those of ``if`` are its own."""
        return expression.references_of(self.spec)

    @property
    def secrets(self) -> frozenset[str]:
        """Names of the secrets it reads."""
        return frozenset(path.split(".")[1] for path in self.references if path.startswith("secrets."))


@dataclass(frozen=True, eq=False)
class Workflow:
    """A checked workflow. ``digest`` is that of the file's bytes; ``steps`` stand in an order that respects needs."""

    name: str
    file: str
    digest: Digest
    inputs: tuple[InputSpec, ...]
    steps: tuple[Step, ...]
    description: str = ""

    def bind(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Typed values for every declared input, from text (a command line) or JSON (an API).

        Raises ``input_invalid`` with every problem at once.
        """
        return inputs.bind(self.inputs, given, self.file)

    @functools.cached_property
    def by_name(self) -> Mapping[str, Step]:
        """The steps by name."""
        return MappingProxyType({step.name: step for step in self.steps})


@dataclass(frozen=True)
class OfferedStep:
    """A step as whoever asks is told of it; ``condition`` is the text of its ``if``, or empty."""

    name: str
    needs: tuple[str, ...]
    executor: str
    condition: str = ""
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Offered:
    """A workflow file of a registered project as it stands in its folder now.

    ``digest`` and ``text`` are of the file. One that cannot run says why in ``problem``, and has no name and no parts.
    """

    project: str
    file: str
    digest: Digest
    text: str
    name: str = ""
    description: str = ""
    inputs: tuple[InputSpec, ...] = ()
    steps: tuple[OfferedStep, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Pool:
    """Where steps run.

    ``sandbox`` is ``required`` or ``none``; ``allow_private`` lists the private networks (CIDR) that HTTP may reach.
    """

    sandbox: str = "required"
    network: bool = False
    allow_private: tuple[str, ...] = ()


@dataclass(frozen=True)
class Project:
    """A registered source: the folder its runs come from, and the policy sets that judge them beside the environment's.

    ``applied_by`` is the user who last changed it, a maker of its runs, and no part of the digest.
    """

    name: str
    root: str
    policies: tuple[Attached, ...] = ()
    applied_by: str = ""

    def to_json(self) -> dict[str, Any]:
        """As stored."""
        policies = [attached.to_json() for attached in self.policies]
        return {"format": PROJECT_FORMAT, "name": self.name, "root": self.root, "policies": policies}

    @functools.cached_property
    def digest(self) -> Digest:
        """Digest of its canonical bytes."""
        return canonical.digest_of(self.to_json())


def project_from(data: bytes, applied_by: str) -> Project:
    """Rebuild a project from its canonical bytes and the user who applied them."""
    value = canonical.loads(data)
    return Project(value["name"], value["root"], tuple(attached_from(each) for each in value["policies"]), applied_by)


@dataclass(frozen=True)
class Environment:
    """A named target. ``policies`` are the attached policy sets, ``approvers`` a number of people by group.

    ``applied_by`` is the user who last changed it: a maker of every run in it, and no part of the digest. Nor is
    ``project``, the project whose run it is looked at for. ``witnesses`` is what effects need of the log's witnesses,
    None for what the settings say. ``step_up`` is what the sign-in of whoever approves has to be.
    """

    name: str
    protected: bool = False
    vars: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, SecretRef] = field(default_factory=dict)
    policies: tuple[Attached, ...] = ()
    approvers: Mapping[str, int] = field(default_factory=dict)
    approval_ttl_s: int = 86_400
    pool: Pool = field(default_factory=Pool)
    witnesses: Demand | None = None
    step_up: StepUp | None = None
    applied_by: str = ""
    project: Project | None = None

    @property
    def judged_by(self) -> tuple[Attached, ...]:
        """The policy sets of the environment and of the project."""
        return self.policies + (self.project.policies if self.project else ())

    def to_json(self) -> dict[str, Any]:
        """As stored; its canonical bytes are what the digest is of."""
        return {
            "format": ENVIRONMENT_FORMAT,
            "name": self.name,
            "protected": self.protected,
            "vars": dict(self.vars),
            "secrets": {name: ref.to_json() for name, ref in self.secrets.items()},
            "policies": [attached.to_json() for attached in self.policies],
            "approvers": dict(self.approvers),
            "approval_ttl_s": self.approval_ttl_s,
            "pool": {
                "sandbox": self.pool.sandbox,
                "network": self.pool.network,
                "allow_private": list(self.pool.allow_private),
            },
            **({"witnesses": self.witnesses.to_json()} if self.witnesses else {}),
            **({"step_up": self.step_up.to_json()} if self.step_up else {}),
        }

    def scope(self) -> dict[str, Any]:
        """What expressions see as ``env``."""
        return {"name": self.name, "vars": dict(self.vars)}

    @functools.cached_property
    def target(self) -> Digest:
        """Digest of what it gives to a plan: all of it but who judges and who approves."""
        return canonical.digest_of({name: part for name, part in self.to_json().items() if name not in _JUDGES})

    @functools.cached_property
    def judges(self) -> Digest:
        """Digest of the other half: the policy sets, and whom they mean by the environment's own approvers."""
        own = {name: part for name, part in self.to_json().items() if name in _JUDGES}
        return canonical.digest_of({**own, "project": self.project.digest if self.project else None})

    @functools.cached_property
    def digest(self) -> Digest:
        """Digest of the environment's canonical bytes: names, references and policy digests, no secret values."""
        return canonical.digest_of(self.to_json())


def environment_from(data: bytes, applied_by: str) -> Environment:
    """Rebuild an environment from its canonical bytes and the user who applied them."""
    value = canonical.loads(data)
    pool = value["pool"]
    return Environment(
        name=value["name"],
        protected=value["protected"],
        vars=value["vars"],
        secrets={name: secrets.from_json(ref) for name, ref in value["secrets"].items()},
        policies=tuple(attached_from(each) for each in value["policies"]),
        approvers=value["approvers"],
        approval_ttl_s=value["approval_ttl_s"],
        pool=Pool(pool["sandbox"], pool["network"], tuple(pool["allow_private"])),
        witnesses=Demand(Mode(value["witnesses"]["mode"]), value["witnesses"]["grace_s"])
        if "witnesses" in value
        else None,
        step_up=step_up_from(value["step_up"]) if "step_up" in value else None,
        applied_by=applied_by,
    )
