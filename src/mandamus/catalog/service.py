"""The catalog's verbs: check a workflow, keep the source a run works from, apply environments and find them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from mandamus.audit.difference import differences
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Resource
from mandamus.audit.service import Audit
from mandamus.catalog import source, store, workflow
from mandamus.catalog.model import Environment, Offered, Project, Workflow
from mandamus.catalog.offer import Offers
from mandamus.catalog.workflow import Validators
from mandamus.kernel.access import EVERY, Permission, Subject, authorize, requires
from mandamus.kernel.clock import Clock
from mandamus.kernel.document import BYTES_MAX
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Digest
from mandamus.kernel.reader import did_you_mean, suggest
from mandamus.store.blobs import Blobs
from mandamus.store.database import Database, Tx

CACHED_MAX = 32


class Catalog:
    """What may run in one home; ``validators`` come from the executors, by name."""

    def __init__(self, db: Database, blobs: Blobs, audit: Audit, clock: Clock, validators: Validators) -> None:
        self._db = db
        self._blobs = blobs
        self._audit = audit
        self._clock = clock
        self._validators = validators
        self._offers = Offers(validators)
        self._lock = threading.Lock()
        self._loaded: OrderedDict[tuple[Digest, str], tuple[bytes, Workflow]] = OrderedDict()

    @requires(Permission.WORKFLOW_READ)
    def check(self, who: Subject, root: Path, path: Path) -> Workflow:
        """Parse and check a workflow file of a project on this machine, as a run would.

        ``path`` is relative to the working folder or absolute. Raises ``not_found``, ``source_invalid`` when it lies
        outside the project, ``document_invalid`` or ``workflow_invalid`` with every problem.
        """
        return check_file(root, path, self._validators)

    @requires(Permission.WORKFLOW_READ)
    def workflows(self, who: Subject, project: str) -> list[Offered]:
        """Every workflow of a registered project as its folder is now, by file; one that cannot run says why.

        Raises ``not_found``, also for a project of which the subject reads nothing, and ``source_invalid`` when its
        folder is not there.
        """
        return self._offers.all(project, self._root(who, Permission.WORKFLOW_READ, project))

    @requires(Permission.WORKFLOW_READ)
    def show_workflow(self, who: Subject, project: str, file: str) -> Offered:
        """One of them, by its path in the project; raises the same, and ``not_found`` with the nearest name."""
        return self._offers.one(project, self._root(who, Permission.WORKFLOW_READ, project), file)

    @requires(Permission.ENVIRONMENT_READ)
    def environments(self, who: Subject) -> list[Environment]:
        """The current version of every environment, by name."""
        with self._db.read() as conn:
            return [
                each for each in store.list_environments(conn) if who.may(Permission.ENVIRONMENT_READ, None, each.name)
            ]

    def approver_rules(self) -> list[tuple[Environment, int]]:
        """Every environment, by name, and since when it asks for its approvers: what an access review tells of."""
        with self._db.read() as conn:
            return [(each, store.approvers_since(conn, each)) for each in store.list_environments(conn)]

    @requires(Permission.ENVIRONMENT_READ)
    def show_environment(self, who: Subject, name: str) -> Environment:
        """The current version of one environment; raises ``not_found``."""
        return self.environment_for(who, Permission.ENVIRONMENT_READ, name)

    def environment_for(
        self, who: Subject, permission: Permission, name: str, project: str | None = None
    ) -> Environment:
        """The same as `environment` for somebody who may use it for that; raises ``not_found`` and ``forbidden``.

        What they may not know of is not there, and is not named either.
        """
        with self._db.read() as conn:
            names = store.names(conn)
        known = [each for each in names if who.may(Permission.ENVIRONMENT_READ, None, each)]
        if name not in names:
            raise _no_environment(name, known)
        authorize(who, permission, project, name, unknown=lambda: _no_environment(name, known))
        return self.environment(name, project or "")

    def environment(self, name: str, project: str = "") -> Environment:
        """The current version of an environment, for a run of a project; raises ``not_found`` with the nearest name."""
        with self._db.read() as conn:
            found = store.get_environment(conn, name)
            known = store.names(conn) if found is None else []
            owner = store.get_project(conn, project) if project else None
        if found is None:
            raise _no_environment(name, known)
        return replace(found, project=owner)

    def is_current(self, tx: Tx, environment: Environment) -> bool:
        """Whether this is still the current version, also of the project, in the caller's transaction."""
        if store.current_digest(tx.conn, environment.name) != environment.digest:
            return False
        if environment.project is None:
            return True
        now = store.get_project(tx.conn, environment.project.name)
        return now is not None and now.digest == environment.project.digest

    @requires(Permission.ENVIRONMENT_READ)
    def projects(self, who: Subject) -> list[Project]:
        """Every registered project that the subject may know of, by name."""
        with self._db.read() as conn:
            return [each for each in store.list_projects(conn) if who.may(Permission.ENVIRONMENT_READ, each.name)]

    @requires(Permission.RUN_REQUEST)
    def root_of(self, who: Subject, name: str) -> Path:
        """The folder of a registered project; raises ``not_found`` with the nearest name that the subject knows."""
        return self._root(who, Permission.RUN_REQUEST, name)

    def _root(self, who: Subject, permission: Permission, name: str) -> Path:
        with self._db.read() as conn:
            known = {each.name: each for each in store.list_projects(conn) if who.may(permission, each.name)}
        if name not in known:
            raise MandamusError(
                Code.NOT_FOUND,
                f"there is no project {name[:60]!r}",
                remedy=did_you_mean(name, known, "register it under `projects` and run `mandamus env apply`"),
            )
        return Path(known[name].root)

    def project_at(self, root: Path) -> Project | None:
        """The project that is registered for a folder, or None: then only the environment's sets judge its runs."""
        with self._db.read() as conn:
            return store.project_at(conn, str(root.resolve()))

    def apply_project(self, tx: Tx, who: Subject, made: Project) -> Project:
        """Register the project or change it; nothing is written when it is so already.

        Raises ``forbidden`` without ``environment:write``, ``environment_invalid`` when another project has the folder.
        """
        authorize(who, Permission.ENVIRONMENT_WRITE, made.name, EVERY)
        other = store.project_at(tx.conn, made.root)
        if other is not None and other.name != made.name:
            raise MandamusError(
                Code.ENVIRONMENT_INVALID,
                f"{made.root} is registered as project {other.name}",
                remedy="give each project a folder of its own",
            )
        applied = replace(made, applied_by=who.user)
        before = store.get_project(tx.conn, applied.name)
        previous = store.put_project(tx.conn, applied, self._clock.now_us())
        if previous != applied.digest:
            changes = differences(before.to_json() if before else None, applied.to_json())
            data = {"project": applied.name, "digest": applied.digest, "previous": previous, "changes": changes}
            resource = Resource("project", applied.name)
            self._audit.record(tx, Event(Kind.PROJECT_APPLIED, who, resource, project=applied.name, data=data))
        return applied

    def environment_version(self, name: str, digest: Digest) -> Environment:
        """A version a run was made with, current or not; raises ``not_found``."""
        with self._db.read() as conn:
            found = store.get_version(conn, name, digest)
        if found is None:
            raise MandamusError(
                Code.NOT_FOUND,
                f"environment {name} never had the version {digest}",
                remedy="restore the home from a backup; `mandamus doctor` lists what is missing",
                context={"environment": name, "digest": digest},
            )
        return found

    def apply_environment(self, tx: Tx, who: Subject, made: Environment) -> Environment:
        """Make this the current version; nothing is written when it is already.

        Gives the current version with who applied it. Raises ``forbidden`` without ``environment:write``.
        """
        authorize(who, Permission.ENVIRONMENT_WRITE, EVERY, made.name)
        applied = replace(made, applied_by=who.user)
        previous = store.put_environment(tx.conn, applied, self._clock.now_us())
        if previous != applied.digest:
            before = store.get_version(tx.conn, applied.name, previous) if previous else None
            changes = differences(before.to_json() if before else None, applied.to_json(), digested=("vars",))
            data = {"environment": applied.name, "digest": applied.digest, "previous": previous, "changes": changes}
            resource = Resource("environment", applied.name)
            self._audit.record(tx, Event(Kind.ENVIRONMENT_APPLIED, who, resource, data=data))
        current = store.get_environment(tx.conn, applied.name)
        return current if current is not None else applied

    def snapshot_source(self, root: Path) -> Digest:
        """Keep the project's tree as it is now; raises ``source_invalid``."""
        return self._blobs.put(source.snapshot(root))

    def unpack_source(self, digest: Digest, dest: Path) -> None:
        """Write a kept tree into a new folder; raises ``source_invalid``, ``blob_missing``, ``blob_corrupt``."""
        source.unpack(self._blobs.get(digest), dest)

    def load(self, digest: Digest, path: str) -> Workflow:
        """The workflow at a path of a kept tree, checked; raises what ``check`` raises."""
        return self._load(digest, path)[1]

    def workflow_bytes(self, digest: Digest, path: str) -> bytes:
        """The exact bytes of a workflow file of a kept tree."""
        return self._load(digest, path)[0]

    def _load(self, digest: Digest, path: str) -> tuple[bytes, Workflow]:
        name = str(PurePosixPath(path))
        with self._lock:
            found = self._loaded.get((digest, name))
            if found is not None:
                self._loaded.move_to_end((digest, name))
                return found
        data = source.read_file(self._blobs.get(digest), name)
        made = data, workflow.read(data, name, self._validators)
        with self._lock:
            self._loaded[digest, name] = made
            while len(self._loaded) > CACHED_MAX:
                self._loaded.popitem(last=False)
        return made


def check_file(root: Path, path: Path, validators: Validators) -> Workflow:
    """Parse and check a workflow file under a project's root; needs no home."""
    resolved = path.resolve()
    if not resolved.is_relative_to(root.resolve()):
        raise MandamusError(
            Code.SOURCE_INVALID,
            f"{path} lies outside the project {root}",
            remedy="move it into the project, or run this where it belongs",
        )
    try:
        with resolved.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise _no_file(path, error) from error
    return workflow.read(data, str(path), validators)


def _no_file(path: Path, error: OSError) -> MandamusError:
    try:
        names = [entry.name for entry in path.resolve().parent.iterdir() if entry.suffix in {".yaml", ".yml"}]
    except OSError:
        names = []
    near = suggest(path.name, sorted(names))
    return MandamusError(
        Code.NOT_FOUND,
        f"cannot read {path}: {error.strerror}",
        remedy=f"did you mean `{path.with_name(near)}`?" if near else "name a workflow file, such as workflows/x.yaml",
        context={"path": str(path)},
    )


def _no_environment(name: str, known: Sequence[str]) -> MandamusError:
    otherwise = f"there is {', '.join(known)}" if known else "declare it in a file and run `mandamus env apply FILE`"
    return MandamusError(
        Code.NOT_FOUND,
        f"there is no environment {name}",
        remedy=did_you_mean(name, known, otherwise),
        context={"environment": name},
    )
