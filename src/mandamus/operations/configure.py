"""Configure: what `mandamus env apply FILE` does, in one transaction over identity, policy and catalog."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mandamus.catalog import platform
from mandamus.catalog.model import Environment
from mandamus.catalog.service import Catalog
from mandamus.identity.service import Identity
from mandamus.kernel.access import Permission, Subject, requires
from mandamus.kernel.document import BYTES_MAX
from mandamus.kernel.errors import Code, MandamusError, raise_problems
from mandamus.policy.service import Policy
from mandamus.store.database import Database


@dataclass(frozen=True)
class Configured:
    """What a platform file declared: names of users and groups, environments with their published policy sets."""

    users: tuple[str, ...]
    groups: tuple[str, ...]
    environments: tuple[Environment, ...]

    def to_json(self) -> dict[str, Any]:
        """As commands print it."""
        return {
            "users": list(self.users),
            "groups": list(self.groups),
            "environments": [{"name": each.name, "policies": list(each.policies)} for each in self.environments],
        }


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
        folders = dict.fromkeys(folder for target in config.environments for folder in target.policies)
        # Compiling takes a tenth of a second per set; doing it first keeps the transaction short.
        problems = [problem for folder in folders for problem in self._policy.check_directory(folder)]
        raise_problems(Code.POLICY_INVALID, problems, remedy="mend every line above; nothing was applied")
        with self._db.begin("env apply") as tx:
            self._identity.apply(tx, who, config.users, config.groups)
            sets = {folder: self._policy.publish(tx, who, folder).digest for folder in folders}
            applied = [
                self._catalog.apply_environment(tx, who, target.published(tuple(sets[f] for f in target.policies)))
                for target in config.environments
            ]
        return Configured(
            users=tuple(user.name for user in config.users),
            groups=tuple(group.name for group in config.groups),
            environments=tuple(applied),
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
