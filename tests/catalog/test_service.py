"""The catalog's verbs on both databases: versions of environments, who applied them, and kept sources."""

from __future__ import annotations

import dataclasses

import pytest
import sqlalchemy as sa

from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.catalog.model import Environment, Pool
from mandamus.catalog.service import CACHED_MAX, Catalog
from mandamus.kernel import canonical
from mandamus.kernel.access import MEMBER, OWNER, Subject
from mandamus.kernel.errors import Code, MandamusError
from mandamus.secrets.model import SecretRef
from mandamus.store.tables.audit import audit_event
from mandamus.store.tables.catalog import environment_version

ADA = Subject("ada", "os-user", frozenset(), OWNER)
BOB = Subject("bob", "os-user", frozenset(), OWNER)
FLOW = b"workflow: w\nsteps: {a: {script: {run: x}}}\n"


@pytest.fixture
def catalog(database, blobs, home, clock, entropy, validators) -> Catalog:
    audit = Audit(database, home / "log", Signer("log.example.com/home", b"\x07" * 32), clock, entropy)
    return Catalog(database, blobs, audit, clock, validators)


def made(**changes) -> Environment:
    return dataclasses.replace(
        Environment("prod", secrets={"t": SecretRef(env="T")}, pool=Pool(network=True)), **changes
    )


def apply(database, catalog, who, environment) -> Environment:
    with database.begin("test") as tx:
        return catalog.apply_environment(tx, who, environment)


def count(database, table) -> int:
    with database.read() as conn:
        return conn.scalar(sa.select(sa.func.count()).select_from(table))


def test_an_environment_keeps_who_last_changed_it(database, catalog):
    """The maker of an environment is whoever changed it last; applying the same again makes nobody a maker."""
    first = apply(database, catalog, ADA, made())
    assert first.applied_by == "ada"
    again = apply(database, catalog, BOB, made())
    assert again.applied_by == "ada"
    changed = apply(database, catalog, BOB, made(protected=True))
    assert changed.applied_by == "bob"
    assert catalog.environment("prod") == changed
    assert catalog.show_environment(ADA, "prod") == changed


def test_every_version_stays(database, catalog):
    """A run finds the version it was made with, whatever came after; going back is a new version."""
    one, two = made(), made(protected=True)
    for environment in (one, two, one, one):
        apply(database, catalog, ADA, environment)
    assert count(database, environment_version) == 3
    assert catalog.environment("prod").digest == one.digest
    assert catalog.environment_version("prod", two.digest).protected is True
    with pytest.raises(MandamusError) as caught:
        catalog.environment_version("prod", canonical.digest(b"never"))
    assert caught.value.code is Code.NOT_FOUND


def test_each_change_is_in_the_log_with_what_was_before(database, catalog):
    """A change is one event; the same content again is none."""
    for environment in (made(), made(), made(protected=True)):
        apply(database, catalog, ADA, environment)
    with database.read() as conn:
        leaves = [
            canonical.loads(leaf)
            for leaf in conn.scalars(sa.select(audit_event.c.leaf).order_by(audit_event.c.event_id))
        ]
    assert [leaf["data"]["previous"] for leaf in leaves] == [None, made().digest]
    assert {leaf["kind"] for leaf in leaves} == {"environment.applied"}


def test_a_member_may_look_but_not_apply(database, catalog):
    """Without the permission nothing is written, also inside a transaction of others."""
    member = Subject("eve", "os-user", frozenset(), MEMBER)
    with pytest.raises(MandamusError) as caught:
        apply(database, catalog, member, made())
    assert caught.value.code is Code.FORBIDDEN
    assert catalog.environments(member) == []
    with pytest.raises(MandamusError) as caught:
        catalog.environments(Subject("nobody", "os-user"))
    assert caught.value.code is Code.FORBIDDEN


def test_environments_are_listed_by_name(database, catalog):
    """The current version of each, and an unknown name gets the nearest."""
    for name in ("prod", "dev"):
        apply(database, catalog, ADA, made(name=name))
    apply(database, catalog, ADA, made(name="dev", protected=True))
    assert [(each.name, each.protected) for each in catalog.environments(ADA)] == [("dev", True), ("prod", False)]
    with pytest.raises(MandamusError) as caught:
        catalog.environment("prd")
    assert (caught.value.code, caught.value.remedy) == (Code.NOT_FOUND, "did you mean `prod`?")


def test_a_rolled_back_apply_never_was(database, catalog):
    """A failure later in the same transaction leaves the environment as it was, and no event."""
    apply(database, catalog, ADA, made())
    events = count(database, audit_event)
    with pytest.raises(RuntimeError), database.begin("test") as tx:
        catalog.apply_environment(tx, BOB, made(protected=True))
        raise RuntimeError
    assert catalog.environment("prod").protected is False
    assert count(database, audit_event) == events


def test_a_kept_source_is_read_whatever_becomes_of_the_project(catalog, tmp_path):
    """Workflow and its exact bytes come from the snapshot; later edits of the project do not show."""
    project = tmp_path / "p"
    (project / "workflows").mkdir(parents=True)
    file = project / "workflows" / "w.yaml"
    file.write_bytes(FLOW)
    digest = catalog.snapshot_source(project)
    file.write_bytes(b"changed")
    assert catalog.load(digest, "workflows/w.yaml").digest == canonical.digest(FLOW)
    assert catalog.workflow_bytes(digest, "./workflows/w.yaml") == FLOW
    catalog.unpack_source(digest, tmp_path / "copy")
    assert (tmp_path / "copy" / "workflows" / "w.yaml").read_bytes() == FLOW
    for path, code in (("workflows/x.yaml", Code.NOT_FOUND), ("../w.yaml", Code.SOURCE_INVALID)):
        with pytest.raises(MandamusError) as caught:
            catalog.load(digest, path)
        assert caught.value.code is code
    with pytest.raises(MandamusError) as caught:
        catalog.load(canonical.digest(b"nothing"), "workflows/w.yaml")
    assert caught.value.code is Code.BLOB_MISSING


def test_parsed_workflows_are_kept_and_bounded(catalog, tmp_path):
    """The same file of the same source is parsed once; a long-lived process does not keep them all."""
    (tmp_path / "p").mkdir()
    for number in range(CACHED_MAX + 5):
        (tmp_path / "p" / f"{number}.yaml").write_bytes(FLOW)
    digest = catalog.snapshot_source(tmp_path / "p")
    assert catalog.load(digest, "0.yaml") is catalog.load(digest, "0.yaml")
    for number in range(CACHED_MAX + 5):
        catalog.load(digest, f"{number}.yaml")
    assert len(catalog._loaded) == CACHED_MAX


def test_check_reads_inside_the_project_only(catalog, tmp_path):
    """A file outside the project, or none at all, is refused; a typing error gets the nearest file."""
    project = tmp_path / "p"
    project.mkdir()
    (project / "flow.yaml").write_bytes(FLOW)
    (tmp_path / "out.yaml").write_bytes(FLOW)
    (project / "link.yaml").symlink_to(tmp_path / "out.yaml")
    assert catalog.check(ADA, project, project / "flow.yaml").name == "w"
    for name in ("../out.yaml", "link.yaml"):
        with pytest.raises(MandamusError) as caught:
            catalog.check(ADA, project, project / name)
        assert caught.value.code is Code.SOURCE_INVALID
    with pytest.raises(MandamusError) as caught:
        catalog.check(ADA, project, project / "folw.yaml")
    assert caught.value.code is Code.NOT_FOUND
    assert caught.value.remedy == f"did you mean `{project}/flow.yaml`?"
    with pytest.raises(MandamusError) as caught:
        catalog.check(ADA, project, project)
    assert caught.value.code is Code.NOT_FOUND
