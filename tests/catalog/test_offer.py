"""What projects offer to run: files of their own folders as they are now, for those who may know of the project."""

from __future__ import annotations

import pytest

from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.catalog.inputs import InputType
from mandamus.catalog.model import OfferedStep, Project
from mandamus.catalog.offer import files
from mandamus.catalog.service import Catalog
from mandamus.kernel import canonical
from mandamus.kernel.access import MEMBER, OWNER, Area, Grant, Subject
from mandamus.kernel.errors import Code, MandamusError

OWNS = Subject("ada", "os-user", frozenset(), OWNER)
HELD = Subject("pam", "token", frozenset(), MEMBER, grants=(Grant("member", MEMBER, Area(frozenset({"shop"}))),))
FLOW = """workflow: deploy
description: Puts the shop where people find it.
inputs:
  name: {type: string, pattern: "^[a-z]+$", description: Whose}
  count: {type: integer, default: 3}
steps:
  one: {script: {run: x}}
  two:
    needs: [one]
    if: ${{ inputs.count > 1 }}
    script: {run: x, env: {KEY: "${{ secrets.key }}"}}
"""


@pytest.fixture
def catalog(sqlite_database, blobs, home, clock, entropy, validators, tmp_path) -> Catalog:
    """Two projects, shop and bank, each with a workflow deploy; shop has one more that cannot be read."""
    audit = Audit(sqlite_database, home / "log", Signer("log.example.com/home", b"\x07" * 32), clock, entropy)
    made = Catalog(sqlite_database, blobs, audit, clock, validators)
    for name in ("shop", "bank"):
        (tmp_path / name / "workflows" / "more").mkdir(parents=True)
        (tmp_path / name / "workflows" / "deploy.yaml").write_text(FLOW)
        with sqlite_database.begin("test") as tx:
            made.apply_project(tx, OWNS, Project(name, str(tmp_path / name)))
    (tmp_path / "shop" / "workflows" / "more" / "bad.yml").write_text("workflow: bad\nsteps: {}\n")
    return made


def refused(call) -> MandamusError:
    with pytest.raises(MandamusError) as caught:
        call()
    return caught.value


def test_a_workflow_is_told_with_all_that_somebody_asks_by(catalog):
    """Name, words, inputs with their types, steps in order with what they need and read, the text and its digest."""
    found = catalog.show_workflow(OWNS, "shop", "workflows/deploy.yaml")
    assert (found.name, found.description) == ("deploy", "Puts the shop where people find it.")
    assert [(each.name, each.type, each.required) for each in found.inputs] == [
        ("name", InputType.STRING, True),
        ("count", InputType.INTEGER, False),
    ]
    assert found.steps == (
        OfferedStep("one", (), "script"),
        OfferedStep("two", ("one",), "script", "${{ inputs.count > 1 }}", ("key",)),
    )
    assert (found.text, found.digest) == (FLOW, canonical.digest(FLOW.encode()))


def test_a_workflow_that_cannot_run_says_why(catalog):
    """It is listed beside the others, with the place in the file."""
    good, bad = catalog.workflows(OWNS, "shop")
    assert (good.file, good.problem) == ("workflows/deploy.yaml", "")
    assert bad.file == "workflows/more/bad.yml"
    assert "workflows/more/bad.yml:2:" in bad.problem
    assert "workflow: bad" in bad.text


def test_what_is_told_is_as_the_file_is_now(catalog, tmp_path):
    """A changed file is read again; one that is gone is not there."""
    file = tmp_path / "shop" / "workflows" / "deploy.yaml"
    before = catalog.show_workflow(OWNS, "shop", "workflows/deploy.yaml")
    file.write_text(FLOW.replace("Puts", "Carries"))
    after = catalog.show_workflow(OWNS, "shop", "workflows/deploy.yaml")
    assert after.description.startswith("Carries")
    assert after.digest != before.digest
    file.unlink()
    error = refused(lambda: catalog.show_workflow(OWNS, "shop", "workflows/deploy.yaml"))
    assert error.code is Code.NOT_FOUND


@pytest.mark.parametrize("file", ["../bank/workflows/deploy.yaml", "/etc/passwd", "mandamus.yaml", "", "workflows"])
def test_no_path_leads_out_of_the_workflows(catalog, file):
    """Only a file that is listed can be shown."""
    assert refused(lambda: catalog.show_workflow(OWNS, "shop", file)).code is Code.NOT_FOUND


def test_a_link_offers_nothing(catalog, tmp_path):
    """Neither to a file elsewhere nor to a folder of them."""
    folder = tmp_path / "shop" / "workflows"
    (folder / "away.yaml").symlink_to(tmp_path / "bank" / "workflows" / "deploy.yaml")
    (folder / "bank").symlink_to(tmp_path / "bank" / "workflows")
    assert files(tmp_path / "shop") == ["workflows/deploy.yaml", "workflows/more/bad.yml"]


def test_a_folder_that_is_gone_is_said(catalog, tmp_path):
    """Not an empty list: somebody has to put it back. Its place on the machine is nobody's business."""
    (tmp_path / "bank").rename(tmp_path / "moved")
    error = refused(lambda: catalog.workflows(OWNS, "bank"))
    assert error.code is Code.SOURCE_INVALID
    assert str(tmp_path) not in error.message + error.remedy


def test_whoever_is_held_to_a_project_knows_of_no_other(catalog):
    """Another project is not there, in the words of one that is not, and no remedy names it."""
    assert [each.name for each in catalog.projects(HELD)] == ["shop"]
    assert len(catalog.workflows(HELD, "shop")) == 2
    for call in (
        lambda name: catalog.workflows(HELD, name),
        lambda name: catalog.show_workflow(HELD, name, "workflows/deploy.yaml"),
        lambda name: catalog.root_of(HELD, name),
    ):
        other, none = (refused(lambda name=name, call=call: call(name)) for name in ("bank", "bonk"))
        assert other.code is none.code is Code.NOT_FOUND
        assert (other.message.replace("bank", "bonk"), other.remedy) == (none.message, none.remedy)
