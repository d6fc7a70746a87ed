"""Assessment results in the form that the OSCAL 1.2 schema of NIST asks for, with a place for every bundle."""

from __future__ import annotations

import json
import re
from datetime import datetime
from uuid import UUID

import pytest

from mandamus.evidence import oscal
from mandamus.evidence.brief import brief
from mandamus.evidence.controls import CONTROLS

TOKEN = re.compile(r"[^\W\d][\w.\-]*")

# What the schema allows and (marked with !) requires, for the objects we write; from the OSCAL 1.2.1 reference.
FORM = {
    "assessment-results": "!uuid !metadata !import-ap local-definitions !results back-matter",
    "metadata": "!title published !last-modified !version !oscal-version revisions document-ids props links roles "
    "locations parties responsible-parties actions remarks",
    "import-ap": "!href remarks",
    "result": "!uuid !title !description !start end props links local-definitions !reviewed-controls attestations "
    "assessment-log observations risks findings remarks",
    "reviewed-controls": "description props links !control-selections control-objective-selections remarks",
    "control-selection": "description props links include-all include-controls exclude-controls remarks",
    "include-control": "!control-id statement-ids",
    "observation": "!uuid title !description props links !methods types origins subjects relevant-evidence !collected "
    "expires remarks",
    "evidence": "href !description props links remarks",
    "finding": "!uuid !title !description props links origins !target implementation-statement-uuid "
    "related-observations related-risks remarks",
    "target": "!type !target-id title description props links !status implementation-status remarks",
    "status": "!state reason remarks",
    "related": "!observation-uuid",
    "prop": "!name uuid ns !value class group remarks",
    "back-matter": "resources",
    "resource": "!uuid title description props document-ids citation rlinks base64 remarks",
}


def _form(name, value):
    allowed = {field.lstrip("!") for field in FORM[name].split()}
    required = {field[1:] for field in FORM[name].split() if field.startswith("!")}
    assert required <= value.keys() <= allowed, (name, value.keys())
    for field, item in value.items():
        if field == "uuid":
            assert UUID(item).version in (4, 5)
        if field in ("last-modified", "start", "end", "collected"):
            assert datetime.fromisoformat(item).tzinfo is not None
    for prop in value.get("props", ()):
        _form("prop", prop)
        assert TOKEN.fullmatch(prop["name"])
        assert re.fullmatch(r"\S(.*\S)?", prop["value"])


def _conforms(document):
    assert document.keys() == {"assessment-results"}
    whole = document["assessment-results"]
    _form("assessment-results", whole)
    _form("metadata", whole["metadata"])
    _form("import-ap", whole["import-ap"])
    _form("back-matter", whole["back-matter"])
    for resource in whole["back-matter"]["resources"]:
        _form("resource", resource)
    assert whole["import-ap"]["href"] == f"#{whole['back-matter']['resources'][0]['uuid']}"
    (result,) = whole["results"]
    _form("result", result)
    _form("reviewed-controls", result["reviewed-controls"])
    for selection in result["reviewed-controls"]["control-selections"]:
        _form("control-selection", selection)
        for control in selection["include-controls"]:
            _form("include-control", control)
            assert TOKEN.fullmatch(control["control-id"])
    for observation in result["observations"]:
        _form("observation", observation)
        assert set(observation["methods"]) <= {"EXAMINE", "INTERVIEW", "TEST", "UNKNOWN"}
        for evidence in observation["relevant-evidence"]:
            _form("evidence", evidence)
    known = {observation["uuid"] for observation in result["observations"]}
    assert len(known) == len(result["observations"])
    for finding in result["findings"]:
        _form("finding", finding)
        _form("target", finding["target"])
        _form("status", finding["target"]["status"])
        assert finding["target"]["type"] in ("statement-id", "objective-id")
        assert finding["target"]["status"]["state"] in ("satisfied", "not-satisfied")
        for related in finding["related-observations"]:
            _form("related", related)
            assert related["observation-uuid"] in known
    return result


@pytest.fixture
def seen(governed, room, sealed, bench, tmp_path):
    """A governed run, a denied one, and a bundle that is not proved."""
    found = []
    for name, scribe in (("a.zip", governed), ("b.zip", room.begin().asked().denied().closed("denied"))):
        path = tmp_path / name
        path.write_bytes(sealed(scribe))
        _, told = brief(path, bench.vkey)
        found.append(oscal.Seen(name, told["proof"]["sha256"], (), told))
    return found, oscal.Seen("c.zip", "0" * 64, ("summary.json: it is missing",), None)


def test_proved_bundles_are_assessment_results(seen):
    """An observation for each with the bundle as its evidence; the controls of NIST SP 800-53 as findings."""
    found, _ = seen
    result = _conforms(json.loads(oscal.results(found, "log.example.com/home")))
    assert [one["relevant-evidence"][0]["href"] for one in result["observations"]] == ["a.zip", "b.zip"]
    assert found[0].sha256 in result["observations"][0]["relevant-evidence"][0]["description"]
    assert "grace said yes" in result["observations"][0]["description"]
    nist = [control for control in CONTROLS if control.framework == "NIST SP 800-53"]
    assert len(result["findings"]) == len(nist)
    assert {finding["target"]["status"]["state"] for finding in result["findings"]} == {"satisfied"}
    told = {prop["value"] for prop in result["observations"][0]["props"] if prop["name"] == "control"}
    assert told == {f"{control.framework} {control.id}" for control in CONTROLS}
    assert oscal.results(found, "log.example.com/home") == oscal.results(found, "log.example.com/home")


def test_a_bundle_that_is_not_proved_satisfies_nothing(seen):
    """It is told with what is wrong, and no finding is satisfied beside it."""
    found, broken = seen
    result = _conforms(json.loads(oscal.results([*found, broken], "log.example.com/home")))
    assert "summary.json: it is missing" in result["observations"][2]["description"]
    assert {finding["target"]["status"]["state"] for finding in result["findings"]} == {"not-satisfied"}
    _conforms(json.loads(oscal.results([broken], "log.example.com/home")))


def test_controls_have_the_names_of_the_catalogue():
    """An enhancement is behind a dot."""
    names = {oscal.control_id(control) for control in CONTROLS if control.framework == "NIST SP 800-53"}
    assert {"au-2", "au-9.3", "cm-3", "cm-5.1"} <= names
