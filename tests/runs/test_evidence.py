"""Every run that ends has evidence, whatever its end, and a stranger verifies it with the log's key alone."""

from __future__ import annotations

import getpass
import json
import zipfile

import pytest

from mandamus.evidence.record import RECORD, unfold
from mandamus.evidence.verify import verify
from mandamus.executors.model import Applied, Probed, Verdict
from mandamus.kernel.errors import Code, MandamusError
from mandamus.runs.lifecycle import RunState

ASK = 'package mandamus.plan\n\nrequire_approval contains {"group": "platform", "count": 1, "msg": "look"}\n'
DENY = 'package mandamus.%s\n\ndeny contains "no"\n'
ONE = "one: {retry: {attempts: 2, backoff: 0s}, act: {value: north}}"


@pytest.fixture
def proved(stage, tmp_path):
    """Export a run's bundle, verify it, and give the documents in it."""

    def prove(run, state: str, name: str = "") -> dict[str, object]:
        house, path = stage.house(), tmp_path / f"{run.id}-{state}{name}.zip"
        house.evidence.export(house.who, run.id, path)
        report = verify(path, house.audit.vkey)
        assert report.ok, [str(problem) for problem in report.problems]
        assert (report.run, report.state) == (run.id, state)
        with zipfile.ZipFile(path) as bundle:
            files = {name: bundle.read(name) for name in bundle.namelist()}
        files |= unfold(files.pop(RECORD), 1 << 24)
        return {name: _json(data) for name, data in files.items()}

    return prove


def _json(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return data


def _newest(files: dict[str, object]) -> dict:
    leaves = {int(name[7:-5]): data for name, data in files.items() if name.startswith("events/") and ".json" in name}
    return leaves[max(leaves)]


def _fault(_task: object) -> None:
    raise RuntimeError("a fault of the executor")


def _one(files, folder: str) -> dict:
    (name,) = (name for name in files if name.startswith(folder))
    return files[name]


def test_an_approved_run(stage, proved):
    """The signed yes names who could not give it: the requester, and whoever configured what it is judged by."""
    stage.policy(ASK)
    stage.workflow(ONE)
    run = stage.decide("grace", stage.ask("ada"), reason="as agreed")
    files = proved(run, "succeeded")
    yes = _one(files, "approvals/")
    assert (yes["by"], yes["reason"], yes["group"]) == ("grace", "as agreed", "platform")
    assert {"ada", getpass.getuser()} <= set(yes["makers"])
    leaves = (leaf for name, leaf in files.items() if name.startswith("events/") and name.endswith(".json"))
    (told,) = (leaf for leaf in leaves if leaf["kind"] == "approval.recorded")
    assert told["who"]["groups"] == ["platform"]
    assert files["steps/one.1/result.json"]["outputs"] == {"value": "north"}
    assert files["steps/one.1/binding.json"]["run"] == run.id


def test_runs_that_came_to_nothing(stage, proved):
    """Denied at the door, before the plan and after it, rejected, only planned: each is proved."""
    stage.workflow(ONE)
    for point, steps in (("trigger", 0), ("step", 0), ("plan", 1)):
        stage.policy(DENY % point)
        files = proved(stage.ask("ada"), "denied")
        assert sum(name.endswith("/change_set.json") for name in files) == steps
    stage.policy(ASK)
    assert _one(proved(stage.decide("grace", stage.ask("ada"), "reject"), "rejected"), "approvals/")["verdict"] == "no"
    assert "steps/one.1/binding.json" in proved(stage.ask("ada", plan_only=True), "planned")


def test_a_run_whose_effect_was_lost(stage, proved):
    """Until somebody says what became of it the run has not ended, and its bundle says so; then another tells both."""
    stage.act.script["one"] = _fault
    stage.act.probes["one"] = Probed(Verdict.UNKNOWN, "it may have")
    stage.workflow(ONE)
    run, house = stage.ask("ada"), stage.house()
    assert run.state is RunState.INDETERMINATE
    early = proved(run, "indeterminate")
    assert [row["state"] for row in early["summary.json"]["steps"]] == ["indeterminate"]
    assert early["summary.json"]["closed_us"] is None
    assert _newest(early)["kind"] == "run.unsettled"
    stage.drive(house, run.id)
    assert proved(run, "indeterminate", "again") == early
    house.runs.settle(house.who, run.id, "one", "failed", reason="looked at it")
    files = proved(stage.drive(house, run.id), "failed")
    kinds = [leaf["kind"] for name, leaf in files.items() if name.startswith("events/") and name.endswith(".json")]
    told = {"effect.intended", "effect.indeterminate", "run.unsettled", "effect.settled", "run.closed"}
    assert told <= set(kinds)
    assert files["summary.json"]["state"] == "failed"


def test_every_attempt_is_kept(stage, proved):
    """A later attempt overwrites the row of the step; what the log names of the earlier ones is shown all the same."""
    stage.workflow(ONE)
    wrong = MandamusError(Code.TOOL_FAILED, "no", remedy="mend it")
    stage.act.script["one"] = lambda task: Applied(ok=False, outputs={"half": task.attempt}, error=wrong)
    run = stage.ask("ada")
    files = proved(run, "failed")
    assert [files[f"steps/one.{n}/result.json"]["outputs"]["half"] for n in (1, 2)] == [1, 2]
    assert {f"steps/one.{n}/{what}.json" for n in (1, 2) for what in ("binding", "change_set")} <= files.keys()
    stage.act.script.clear()
    house = stage.house("grace")
    house.runs.retry(house.who, run.id)
    files = proved(stage.drive(house, run.id), "succeeded")
    assert {"steps/one.1/result.json", "steps/one.3/result.json"} <= files.keys()


def test_what_moved_while_it_waited_is_kept(stage, proved):
    """The binding that became void and the one that people approved are both in the evidence."""
    stage.policy(ASK)
    stage.workflow(ONE)
    run = stage.ask("ada")
    stage.apply((stage.project / "platform.yaml").read_text().replace("region: north", "region: south"))
    files = proved(stage.decide("joan", stage.decide("grace", run)), "succeeded")
    first, second = (files[f"steps/one.1/{name}.json"] for name in ("binding", "binding.2"))
    assert first["environment"] != second["environment"]
    given = [files[name] for name in files if name.startswith("approvals/")]
    assert {yes["by"] for yes in given} == {"grace", "joan"}
