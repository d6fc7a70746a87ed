"""The formats that leave the house are as their pages say: compared with one real, governed run."""

from __future__ import annotations

import getpass
import json
import os
import re
import zipfile
from contextlib import closing

import pytest
from jsonschema import Draft202012Validator

from mandamus.bootstrap.house import open_house
from mandamus.catalog import scaffold
from mandamus.evidence.record import RECORD, unfold
from mandamus.policy import schema
from mandamus.runs.model import Request
from mandamus.settings import Settings

PLATFORM = """
users: {ada: {}, grace: {}}
groups: {platform: [grace]}
environments:
  dev: {policies: [policies/asks], vars: {region: north}}
"""
POLICY = """
package mandamus.plan

require_approval contains {"group": "platform", "count": 1, "msg": "looked at"} if input.step.name == "bucket"
"""
PLACES = {
    "STEP": r"[a-z-]+",
    "N": r"\d+",
    "DECISION": r"dec_\w+",
    "APPROVAL": r"apr_\w+",
    "INDEX": r"\d+",
    "DIGEST": "[0-9a-f]{64}",
}
"""What stands for the capitals in the table of a bundle's files."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """The evidence of a run that asked for an approval and got it: text by file name."""
    folder = tmp_path_factory.mktemp("formats")
    for name, text in scaffold.files(getpass.getuser(), terraform=True).items():
        path = folder / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "project/policies/asks").mkdir()
    (folder / "project/policies/asks/asks.rego").write_text(POLICY)
    (folder / "project/platform.yaml").write_text(PLATFORM)

    def opened(user):
        return closing(open_house(Settings(), os.environ, folder / "home", user))

    with opened(None) as house:
        house.configure.apply(house.who, folder / "project/platform.yaml")
    with opened("ada") as house:
        request = Request("workflows/bucket.yaml", "dev", {"name": "ledger"}, reason="a place")
        run = house.runs.request(house.who, folder / "project", request)
        house.drive(run.id, lambda _notice: None)
    with opened("grace") as house:
        house.runs.approve(house.who, run.id, reason="seen")
        house.drive(run.id, lambda _notice: None)
        house.evidence.export(house.who, run.id, folder / "proof.zip")
    with zipfile.ZipFile(folder / "proof.zip") as found:
        files = {name: found.read(name) for name in found.namelist()}
    files |= unfold(files[RECORD], 1 << 24)
    del files[RECORD]
    return {name: data.decode() for name, data in files.items()}


def _rows(page, heading):
    """The first cells of the table below a heading, without their code marks."""
    _, _, below = page.text.partition(f"\n{heading}\n")
    section = re.split(r"\n#{1,6} ", below)[0]
    cells = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| `")]
    return [word.strip("` ") for cell in cells for word in cell.split(",")]


def _inputs(bundle):
    found = [json.loads(text) for name, text in bundle.items() if name.endswith(".input.json")]
    return {each["point"]: each for each in found if each.get("step", {}).get("name", "bucket") == "bucket"}


def _shape(value, depth=2):
    """The keys of a JSON value, so deep."""
    if isinstance(value, list):
        return _shape(value[0], depth) if value else None
    if not isinstance(value, dict) or depth == 0:
        return None
    return {key: _shape(item, depth - 1) for key, item in value.items()}


@pytest.mark.parametrize("point", ["trigger", "step", "plan", "apply"])
def test_policy_sees_what_its_page_shows(page, bundle, point):
    """The input of each decision point has exactly the keys that the reference shows."""
    shown = {
        each["point"]: each
        for b in page("docs/reference/policy.md").blocks
        if b.language == "json"
        if (each := json.loads(b.text))
    }
    full, real = shown[point], _inputs(bundle)[point]
    for same in ("run", "environment"):
        assert full[same].keys() <= shown["trigger"][same].keys()
        full[same] = shown["trigger"][same]
    for large in ("change_set", "native"):
        if large in full:
            full[large] = real[large]
    full["environment"] = {**full["environment"], "vars": {}}
    full["run"] = {**full["run"], "inputs": {}}
    real["environment"]["vars"], real["run"]["inputs"] = {}, {}
    assert _shape(real) == _shape(full)


def test_every_input_has_its_published_form(bundle):
    """The inputs of a governed run with a real terraform plan are valid by the schemas of their points."""
    found = [json.loads(text) for name, text in bundle.items() if name.endswith(".input.json")]
    assert any(each["native"].get("terraform") for each in found if each["point"] == "plan")
    for each in found:
        errors = Draft202012Validator(schema.of_point(each["point"])).iter_errors(each)
        assert [f"{error.json_path}: {error.message}" for error in errors] == []


def test_a_bundle_holds_the_files_of_its_page(page, bundle):
    """Every file of a bundle stands in the table, and every row of the table is there in a governed run."""
    rows = _rows(page("docs/reference/evidence.md"), "## Layout")
    patterns = {
        row: re.compile(re.sub("|".join(PLACES), lambda found: PLACES[found[0]], re.escape(row))) for row in rows
    }
    unknown = [name for name in bundle if not any(pattern.fullmatch(name) for pattern in patterns.values())]
    absent = [row for row, pattern in patterns.items() if not any(pattern.fullmatch(name) for name in bundle)]
    assert not unknown, f"in no row: {unknown}"
    assert not absent, f"in no bundle: {absent}"


def test_an_approval_has_the_fields_of_its_page(page, bundle):
    """A signed approval holds exactly the documented fields."""
    (approval,) = [json.loads(text) for name, text in bundle.items() if name.startswith("approvals/")]
    assert set(approval) == set(_rows(page("docs/reference/evidence.md"), "## The approval"))


def test_a_binding_has_the_fields_of_its_page(page, bundle):
    """What people say yes to holds exactly the documented fields."""
    bindings = [json.loads(text) for name, text in bundle.items() if name.endswith("/binding.json")]
    rows = set(_rows(page("docs/reference/change-set.md"), "## The binding"))
    assert bindings
    assert all(set(binding) == rows for binding in bindings)


def test_a_leaf_has_the_fields_of_its_page(page, bundle):
    """Every leaf holds exactly the documented fields, in the format that is frozen."""
    rows = set(_rows(page("docs/reference/audit-log.md"), "## The leaf"))
    leaves = [json.loads(text) for name, text in bundle.items() if re.fullmatch(r"events/\d+\.json", name)]
    nested = {"who", "where", "what", "authority"}
    for leaf in leaves:
        fields = {f"{key}.{inner}" for key in nested for inner in leaf[key]} | (leaf.keys() - nested)
        assert fields == rows
    assert len(leaves) > 10
