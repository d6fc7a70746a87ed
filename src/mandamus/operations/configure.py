"""Configure: what `mandamus env apply FILE` does, in one transaction over identity, policy and catalog."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mandamus.catalog import platform
from mandamus.catalog.model import Environment, Project
from mandamus.catalog.platform import PlatformConfig, PolicySource, Registered, Target
from mandamus.catalog.service import Catalog
from mandamus.identity.declared_machines import DeclaredMachines
from mandamus.identity.declared_sign_in import DeclaredSignIn
from mandamus.identity.granting import Granting
from mandamus.identity.model import Nature
from mandamus.identity.service import Identity
from mandamus.kernel.access import Permission, Subject, requires
from mandamus.kernel.attachment import Attached
from mandamus.kernel.document import BYTES_MAX
from mandamus.kernel.errors import Code, MandamusError, Problem, raise_problems
from mandamus.kernel.ids import Digest
from mandamus.notify.service import Notify
from mandamus.operations.retention import Retention
from mandamus.policy.backtest import Backtests
from mandamus.policy.backtest_model import Report
from mandamus.policy.bundle import Tree
from mandamus.policy.model import options_from
from mandamus.policy.service import Policy
from mandamus.store.database import Database


@dataclass(frozen=True)
class Configured:
    """What a platform file declared: users, groups, retention classes and subscriptions by name, and the rest whole.

    ``warnings`` are what the check of the policy sets found that does not stop them.
    """

    users: tuple[str, ...]
    groups: tuple[str, ...]
    environments: tuple[Environment, ...]
    projects: tuple[Project, ...]
    retention: tuple[str, ...]
    notify: tuple[str, ...]
    warnings: tuple[Problem, ...]
    programs: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    grants: tuple[str, ...] = ()
    sign_in: tuple[str, ...] = ()
    exchange: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As commands print it."""
        return {
            "users": list(self.users),
            "groups": list(self.groups),
            "programs": list(self.programs),
            "roles": list(self.roles),
            "grants": list(self.grants),
            "environments": [_judged(each) for each in self.environments],
            "projects": [_judged(each) for each in self.projects],
            "retention": list(self.retention),
            "notify": list(self.notify),
            "sign_in": list(self.sign_in),
            "exchange": list(self.exchange),
            "warnings": [vars(warning) for warning in self.warnings],
        }


def _judged(each: Environment | Project) -> dict[str, Any]:
    return {"name": each.name, "policies": [attached.to_json() for attached in each.policies]}


Tried = Callable[[Report], None]
"""Hears the report of every back-test that was made on the way."""


class Configure:
    """Applies platform configuration; it never comes from a workflow's repository by itself."""

    def __init__(
        self,
        db: Database,
        identity: Identity,
        granting: Granting,
        catalog: Catalog,
        policy: Policy,
        backtests: Backtests,
        retention: Retention,
        notify: Notify,
        sign_in: DeclaredSignIn,
        machines: DeclaredMachines,
    ) -> None:
        self._db = db
        self._identity = identity
        self._granting = granting
        self._catalog = catalog
        self._policy = policy
        self._backtests = backtests
        self._retention = retention
        self._notify = notify
        self._sign_in = sign_in
        self._machines = machines

    @requires(Permission.ENVIRONMENT_WRITE)
    def apply(self, who: Subject, file: Path, *, tried: Tried | None = None) -> Configured:
        """Declare what the file says, or nothing of it.

        A policy set that takes another's place in a protected environment must have been tried on what that decided
        there; with ``tried`` that is done now. Raises ``not_found``, ``document_invalid``, ``environment_invalid`` and
        ``policy_invalid`` with every problem, and ``backtest_needed``.
        """
        there = self._identity.users(who)
        known = platform.Known(
            users=frozenset(user.name for user in there if user.nature is Nature.PERSON),
            groups=frozenset(group.name for group in self._identity.groups(who)),
            programs={user.name: user.nature for user in there if user.nature is not Nature.PERSON},
            roles=frozenset(role.name for role in self._granting.roles(who)),
        )
        config = platform.read(_bytes(file), str(file), file.resolve().parent, known)
        declared: list[Target | Registered] = [*config.environments, *config.projects]
        sources = {(source.path, source.name): source for each in declared for source in each.policies}
        # Compiling takes a tenth of a second per set; doing it first keeps the transaction short.
        trees = {at: self._tree(source) for at, source in sources.items()}
        problems = [problem for tree in trees.values() for problem in self._policy.problems(tree)]
        raise_problems(Code.POLICY_INVALID, problems, remedy="mend every line above; nothing was applied")
        self._try(who, config, {at: self._policy.digest(tree) for at, tree in trees.items()}, tried)
        with self._db.begin("env apply") as tx:
            may = config.access
            if config.users or config.groups or may.programs:
                self._identity.apply(tx, who, [*config.users, *may.programs], config.groups)
            if may.roles or may.grants:
                self._granting.apply(tx, who, may.roles, may.grants)
            made = {at: self._policy.publish(tx, who, tree, at[1]) for at, tree in trees.items()}

            def sets(each: Target | Registered) -> tuple[Digest, ...]:
                return tuple(made[source.path, source.name].digest for source in each.policies)

            environments = [
                self._catalog.apply_environment(tx, who, each.published(sets(each))) for each in config.environments
            ]
            projects = [self._catalog.apply_project(tx, who, each.published(sets(each))) for each in config.projects]
            if config.retention:
                self._retention.apply(tx, who, config.retention)
            if config.notify:
                self._notify.apply(tx, who, config.notify)
            for by in config.sign_in:
                self._sign_in.apply(tx, who, by)
            self._machines.apply(tx, who, config.machines)
        return Configured(
            users=tuple(user.name for user in config.users),
            groups=tuple(group.name for group in config.groups),
            programs=tuple(each.name for each in may.programs),
            roles=tuple(each.name for each in may.roles),
            grants=tuple(each.name for each in may.grants),
            environments=tuple(environments),
            projects=tuple(projects),
            retention=tuple(each.name for each in config.retention),
            notify=tuple(config.notify),
            sign_in=tuple(each.issuer if each else "none" for each in config.sign_in),
            exchange=tuple(each.name for each in config.machines.exchanges or ()),
            warnings=tuple(warning for published in made.values() for warning in published.warnings),
        )

    def _try(
        self, who: Subject, config: PlatformConfig, digests: Mapping[tuple[Path, str], Digest], tried: Tried | None
    ) -> None:
        """Have every set that is to judge a protected environment tried on what its predecessor decided there."""
        for environment, attached, source in self._successions(who, config):
            if self._backtests.tried(environment, attached, digests[source.path, source.name]):
                continue
            if tried is None:
                raise _untried(environment, source)
            options = options_from(source.options) if source.options else None
            report = self._backtests.run(
                who, source.name, source.path, protected=lambda _name: True, options=options, key=source.key
            )
            tried(report)

    def _successions(self, who: Subject, config: PlatformConfig) -> Iterator[tuple[str, Attached, PolicySource]]:
        """Environment, attached set and what is declared in its place, where that is protected, before or after."""
        now = {each.name: each for each in self._catalog.environments(who)}
        protected = {each.environment.name for each in config.environments if each.environment.protected}
        protected |= {name for name, each in now.items() if each.protected}
        for target in config.environments:
            name = target.environment.name
            if name in now and name in protected:
                yield from ((name, *pair) for pair in _replaced(now[name].policies, target.policies))
        projects = {each.name: each for each in self._catalog.projects(who)}
        for registered in config.projects:
            known = projects.get(registered.project.name)
            pairs = list(_replaced(known.policies, registered.policies)) if known else []
            yield from ((name, *pair) for name in sorted(protected & now.keys()) for pair in pairs)

    def _tree(self, source: PolicySource) -> Tree:
        return self._policy.read(source.path, options_from(source.options) if source.options else None, source.key)


def _replaced(
    attached: Sequence[Attached], declared: Sequence[PolicySource]
) -> Iterator[tuple[Attached, PolicySource]]:
    """What is attached and what is declared under the same name; a set that binds nobody needs no trial."""
    sources = {source.name: source for source in declared if source.level.binds}
    yield from ((each, sources[each.name]) for each in attached if each.name in sources)


def _untried(environment: str, source: PolicySource) -> MandamusError:
    return MandamusError(
        Code.BACKTEST_NEEDED,
        f"environment {environment} is protected, and the policy set {source.name} as it is now in {source.path} has "
        "not been tried on the decisions made there",
        remedy=f"see what would change with `mandamus policy backtest {source.name} --candidate {source.path}`, then "
        "apply again; `mandamus env apply FILE --backtest` does both",
        context={"environment": environment, "set": source.name},
    )


def _bytes(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(BYTES_MAX + 1)
    except OSError as error:
        raise MandamusError(
            Code.NOT_FOUND,
            f"cannot read {file}: {error.strerror}",
            remedy="name a platform file; `mandamus init` writes an example",
        ) from error
