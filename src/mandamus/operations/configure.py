"""Configure: what `mandamus env apply FILE` does, in one transaction over identity, policy and catalog."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mandamus.catalog import platform
from mandamus.catalog.model import Environment, Project
from mandamus.catalog.platform import PolicySource, Registered, Target
from mandamus.catalog.service import Catalog
from mandamus.identity.service import Identity
from mandamus.kernel.access import Permission, Subject, requires
from mandamus.kernel.document import BYTES_MAX
from mandamus.kernel.errors import Code, MandamusError, Problem, raise_problems
from mandamus.kernel.ids import Digest
from mandamus.policy.bundle import Tree
from mandamus.policy.model import options_from
from mandamus.policy.service import Policy
from mandamus.store.database import Database


@dataclass(frozen=True)
class Configured:
    """What a platform file declared: names of users and groups, environments and projects with their policy sets.

    ``warnings`` are what the check of the policy sets found that does not stop them.
    """

    users: tuple[str, ...]
    groups: tuple[str, ...]
    environments: tuple[Environment, ...]
    projects: tuple[Project, ...]
    warnings: tuple[Problem, ...]

    def to_json(self) -> dict[str, Any]:
        """As commands print it."""
        return {
            "users": list(self.users),
            "groups": list(self.groups),
            "environments": [_judged(each) for each in self.environments],
            "projects": [_judged(each) for each in self.projects],
            "warnings": [vars(warning) for warning in self.warnings],
        }


def _judged(each: Environment | Project) -> dict[str, Any]:
    return {"name": each.name, "policies": [attached.to_json() for attached in each.policies]}


class Configure:
    """Applies platform configuration; it never comes from a workflow's repository by itself."""

    def __init__(self, db: Database, identity: Identity, catalog: Catalog, policy: Policy) -> None:
        self._db = db
        self._identity = identity
        self._catalog = catalog
        self._policy = policy

    @requires(Permission.ENVIRONMENT_WRITE)
    def apply(self, who: Subject, file: Path) -> Configured:
        """Declare what the file says, or nothing of it.

        Raises ``not_found``, ``document_invalid``, ``environment_invalid`` and ``policy_invalid`` with every problem.
        """
        known = platform.Known(
            users=frozenset(user.name for user in self._identity.users(who)),
            groups=frozenset(group.name for group in self._identity.groups(who)),
        )
        config = platform.read(_bytes(file), str(file), file.resolve().parent, known)
        declared: list[Target | Registered] = [*config.environments, *config.projects]
        sources = {(source.path, source.name): source for each in declared for source in each.policies}
        # Compiling takes a tenth of a second per set; doing it first keeps the transaction short.
        trees = {at: self._tree(source) for at, source in sources.items()}
        problems = [problem for tree in trees.values() for problem in self._policy.problems(tree)]
        raise_problems(Code.POLICY_INVALID, problems, remedy="mend every line above; nothing was applied")
        with self._db.begin("env apply") as tx:
            self._identity.apply(tx, who, config.users, config.groups)
            made = {at: self._policy.publish(tx, who, tree, at[1]) for at, tree in trees.items()}

            def sets(each: Target | Registered) -> tuple[Digest, ...]:
                return tuple(made[source.path, source.name].digest for source in each.policies)

            environments = [
                self._catalog.apply_environment(tx, who, each.published(sets(each))) for each in config.environments
            ]
            projects = [self._catalog.apply_project(tx, who, each.published(sets(each))) for each in config.projects]
        return Configured(
            users=tuple(user.name for user in config.users),
            groups=tuple(group.name for group in config.groups),
            environments=tuple(environments),
            projects=tuple(projects),
            warnings=tuple(warning for published in made.values() for warning in published.warnings),
        )

    def _tree(self, source: PolicySource) -> Tree:
        return self._policy.read(source.path, options_from(source.options) if source.options else None, source.key)


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
