"""Environments as rows: versions are only ever added, one pointer says which is current."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mandamus.catalog.model import Environment, Project, environment_from, project_from
from mandamus.kernel import canonical
from mandamus.kernel.ids import Digest
from mandamus.store.tables.catalog import environment, environment_version, project

_CURRENT = sa.select(environment_version.c.document, environment_version.c.applied_by).join(
    environment, environment.c.version == environment_version.c.id
)


_CURRENT_DIGEST = (
    sa.select(environment_version.c.digest)
    .join(environment, environment.c.version == environment_version.c.id)
    .where(environment.c.name == sa.bindparam("of_name"))
)


def get_environment(conn: sa.Connection, name: str) -> Environment | None:
    """The current version of an environment, or None."""
    row = conn.execute(_CURRENT.where(environment.c.name == name)).one_or_none()
    return None if row is None else environment_from(row.document, row.applied_by)


def current_digest(conn: sa.Connection, name: str) -> Digest | None:
    """The digest of the current version of an environment, or None."""
    digest: Digest | None = conn.scalar(_CURRENT_DIGEST, {"of_name": name})
    return digest


def get_version(conn: sa.Connection, name: str, digest: Digest) -> Environment | None:
    """A version of an environment by its digest, or None; the earliest when the same content was applied again."""
    version = environment_version
    query = (
        sa.select(version.c.document, version.c.applied_by)
        .where(version.c.name == name, version.c.digest == digest)
        .order_by(version.c.id)
        .limit(1)
    )
    row = conn.execute(query).one_or_none()
    return None if row is None else environment_from(row.document, row.applied_by)


def list_environments(conn: sa.Connection) -> list[Environment]:
    """The current version of every environment, by name."""
    rows = conn.execute(_CURRENT.order_by(environment.c.name))
    return [environment_from(row.document, row.applied_by) for row in rows]


def approvers_since(conn: sa.Connection, made: Environment) -> int:
    """Since when an environment asks for the approvers it asks for now, over all its versions since."""
    version = environment_version.c
    query = sa.select(version.document, version.applied_us).where(version.name == made.name)
    since_us = 0
    for row in conn.execute(query.order_by(version.id.desc())):
        if since_us and dict(environment_from(row.document, "").approvers) != dict(made.approvers):
            break
        since_us = row.applied_us
    return since_us


def names(conn: sa.Connection) -> list[str]:
    """Names of the environments, in order."""
    return list(conn.scalars(sa.select(environment.c.name).order_by(environment.c.name)))


def put_environment(conn: sa.Connection, made: Environment, applied_us: int) -> Digest | None:
    """Add a version and make it current; gives the digest of the one before, or None.

    When the current version is the same it stays, with whoever applied it, and its own digest is given.
    """
    insert = sqlite.insert if conn.dialect.name == "sqlite" else postgresql.insert
    conn.execute(insert(environment).values(name=made.name, version=None).on_conflict_do_nothing())
    held = sa.select(environment.c.name).where(environment.c.name == made.name).with_for_update()
    conn.execute(held)
    before = get_environment(conn, made.name)
    if before is not None and before.digest == made.digest:
        return before.digest
    version = conn.scalar(
        sa.insert(environment_version)
        .values(
            name=made.name,
            digest=made.digest,
            document=canonical.dumps(made.to_json()),
            applied_by=made.applied_by,
            applied_us=applied_us,
        )
        .returning(environment_version.c.id)
    )
    conn.execute(environment.update().where(environment.c.name == made.name).values(version=version))
    return None if before is None else before.digest


def get_project(conn: sa.Connection, name: str) -> Project | None:
    """A project, or None."""
    row = conn.execute(sa.select(project).where(project.c.name == name)).one_or_none()
    return None if row is None else project_from(row.document, row.applied_by)


def project_at(conn: sa.Connection, root: str) -> Project | None:
    """The project that is registered for a folder, or None."""
    row = conn.execute(sa.select(project).where(project.c.root == root)).one_or_none()
    return None if row is None else project_from(row.document, row.applied_by)


def list_projects(conn: sa.Connection) -> list[Project]:
    """Every project, by name."""
    return [project_from(row.document, row.applied_by) for row in conn.execute(sa.select(project).order_by("name"))]


def put_project(conn: sa.Connection, made: Project, applied_us: int) -> Digest | None:
    """Make the project so; gives the digest of what it was, or None. The same content keeps whoever applied it."""
    before = get_project(conn, made.name)
    if before is not None and before.digest == made.digest:
        return before.digest
    conn.execute(sa.delete(project).where(project.c.name == made.name))
    row = {"name": made.name, "root": made.root, "document": canonical.dumps(made.to_json())}
    conn.execute(sa.insert(project).values(**row, applied_by=made.applied_by, applied_us=applied_us))
    return None if before is None else before.digest
