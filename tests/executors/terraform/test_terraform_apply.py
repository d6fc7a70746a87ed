from __future__ import annotations

import dataclasses
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from mandamus.executors import terraform, terraform_artifact
from mandamus.executors.model import Cancel, SandboxPolicy, State, Verdict
from mandamus.executors.process import build_runner
from mandamus.kernel.errors import Code, MandamusError

SLOW = """
resource "terraform_data" "first" { input = "quick" }
resource "terraform_data" "second" {
  input = terraform_data.first.output
  provisioner "local-exec" {
    command = "touch begun; echo all is begun; sleep 300 & sleep 300"
  }
}
"""

HALF = """
resource "terraform_data" "good" { input = "made" }
resource "terraform_data" "bad" {
  input = terraform_data.good.output
  provisioner "local-exec" {
    command = "echo no such quota >&2; exit 3"
  }
}
"""


def cancel_when(path: Path, cancel: Cancel) -> threading.Thread:
    """Cancels as soon as a file is there."""

    def wait() -> None:
        for _ in range(600):
            if path.exists():
                break
            time.sleep(0.05)
        cancel.set()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def processes_in(folder: Path) -> list[str]:
    """Whatever still runs with its working directory in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and Path(entry / "cwd").readlink().is_relative_to(folder):
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_exactly_the_saved_plan_is_applied(bench):
    """What the source says by now does not matter: the plan that was saved is applied."""
    bench.write("stack/main.tf", 'variable "v" {}\nresource "terraform_data" "x" { input = var.v }\n')
    planned = bench.plan({"v": "approved"})
    bench.write("stack/main.tf", 'resource "terraform_data" "y" {}\noutput "v" { value = "other" }\n')
    applied = bench.apply(planned, {"v": "something else"})
    assert applied.ok
    assert b"approved" in bench.state.data
    assert b"something else" not in bench.state.data
    assert b'"y"' not in bench.state.data


def test_a_second_plan_of_what_was_applied_is_empty(bench):
    """Nothing is left to do, and applying nothing changes nothing, the state's serial included."""
    bench.write(
        "stack/main.tf", 'resource "terraform_data" "x" { input = 1 }\noutput "x" { value = terraform_data.x.output }\n'
    )
    first = bench.run()
    assert (first.ok, first.outputs) == (True, {"x": 1})
    before = bench.state
    planned = bench.plan()
    assert planned.change_set.summary() == {}
    again = bench.apply(planned)
    assert (again.ok, again.outputs, again.partial) == (True, {"x": 1}, False)
    assert bench.state.ref == before.ref


def test_progress_is_told_as_it_happens(bench):
    """Each object's beginning and end is told with its address and how many are done of all."""
    bench.write(
        "stack/main.tf",
        'resource "terraform_data" "x" {}\nresource "terraform_data" "y" { input = terraform_data.x.id }\n',
    )
    planned = bench.plan()
    bench.told.clear()
    bench.apply(planned)
    told = [(each.address, each.text, each.done, each.total) for each in bench.told]
    assert told == [
        ("terraform_data.x", "terraform_data.x: creating", 0, 2),
        ("terraform_data.x", "terraform_data.x: created in 0s", 1, 2),
        ("terraform_data.y", "terraform_data.y: creating", 1, 2),
        ("terraform_data.y", "terraform_data.y: created in 0s", 2, 2),
    ]
    assert "terraform_data.y: created in 0s\n" in bench.log
    assert "{" not in bench.log


def test_half_a_failure_is_told_as_half_a_failure(bench):
    """What was made is in the state, the error names file and line, and the next plan only does the rest."""
    bench.write("stack/main.tf", HALF)
    applied = bench.run()
    assert not applied.ok
    assert applied.partial
    assert applied.error.code is Code.TOOL_FAILED
    assert "stack/main.tf:5: local-exec provisioner error" in applied.error.message
    assert "no such quota" in applied.error.message
    assert applied.error.message.endswith("; 1 of 2 changes were made")
    assert (applied.error.context["file"], applied.error.context["line"]) == ("stack/main.tf", 5)
    assert b'"tainted"' in bench.state.data
    changes = {change.address: change for change in bench.plan().change_set.changes}
    assert changes["terraform_data.good"].action == "noop"
    assert changes["terraform_data.bad"].reason == "replace_because_tainted"


def test_a_failure_before_anything_is_no_partial_one(bench):
    """When nothing was changed the failure says so, and no state is handed on."""
    bench.write("stack/main.tf", 'resource "terraform_data" "x" {}\n')
    saved = dataclasses.replace(terraform_artifact.unpack(bench.plan().blob), plan=b"no plan at all")
    applied = bench.executor.apply(bench.make("apply"), terraform_artifact.pack(saved))
    assert (applied.ok, applied.partial, applied.state) == (False, False, None)
    assert applied.error.code is Code.TOOL_FAILED
    assert applied.error.message.endswith("; nothing was changed")


def test_a_plan_that_was_altered_is_refused(bench):
    """Any byte that changed in between stops the apply before terraform is started."""
    bench.write("stack/main.tf", 'resource "terraform_data" "x" {}\n')
    planned = bench.plan()
    for at in (0, 30, 85, 600, len(planned.blob) // 2, len(planned.blob) - 1):
        altered = bytearray(planned.blob)
        altered[at] ^= 1
        with pytest.raises(MandamusError) as caught:
            bench.executor.apply(bench.make("apply"), bytes(altered))
        assert caught.value.code is Code.DIGEST_MISMATCH
    for cut in (b"", planned.blob[:40], planned.blob[:-1], planned.blob + b"\0"):
        with pytest.raises(MandamusError):
            bench.executor.apply(bench.make("apply"), cut)
    assert bench.log == ""


@pytest.mark.parametrize(
    ("field", "value"), [("lock_file", "sha256:00"), ("lock", {"tool": "terraform", "version": "0.1", "providers": {}})]
)
def test_another_tool_or_lock_is_refused(bench, field, value):
    """The tool's version and the lock file must be those of the plan."""
    bench.write("stack/main.tf", 'resource "terraform_data" "x" {}\n')
    saved = dataclasses.replace(terraform_artifact.unpack(bench.plan().blob), **{field: value})
    with pytest.raises(MandamusError) as caught:
        bench.executor.apply(bench.make("apply"), terraform_artifact.pack(saved))
    assert caught.value.code is Code.DIGEST_MISMATCH


def test_a_tool_that_was_exchanged_is_noticed_by_a_new_process(bench, toolbox):
    """A process that has not planned asks the tool for its version before it applies."""
    bench.write("stack/main.tf", 'resource "terraform_data" "x" {}\n')
    planned = bench.plan()
    bench.executor = type(bench.executor)(toolbox)
    assert bench.apply(planned).ok


def test_a_state_that_moved_is_refused(bench):
    """A plan against one state is not applied to another."""
    bench.write("stack/main.tf", 'resource "terraform_data" "x" {}\n')
    planned = bench.plan()
    bench.state = State("other", 3, b'{"version": 4, "lineage": "other", "serial": 3}')
    with pytest.raises(MandamusError) as caught:
        bench.apply(planned)
    assert caught.value.code is Code.STATE_CONFLICT


def test_a_cancelled_apply_tells_what_it_did(bench):
    """Terraform gets its interrupt, writes its state and ends; whatever it had started is gone."""
    bench.write("stack/main.tf", SLOW)
    planned = bench.plan()
    cancel = Cancel()
    waiting = cancel_when(bench.make("apply").box / "tree/stack/begun", cancel)
    applied = bench.apply(planned, cancel=cancel, deadline_s=200.0)
    waiting.join()
    assert not applied.ok
    assert applied.partial
    assert applied.error.code is Code.STEP_CANCELLED
    assert "; 1 of 2 changes were made" in applied.error.message
    assert b'"first"' in bench.state.data
    assert processes_in(bench.task.box) == []


def test_an_apply_past_its_time_tells_what_it_did(bench, toolbox, leaping):
    """The deadline ends it as a cancel does, with its own code."""
    bench.write("stack/main.tf", SLOW)
    planned = bench.plan()
    clock = leaping(b"all is begun")
    runner = build_runner(clock, dict(os.environ), Path(sys.executable))
    bench.executor = terraform.build(dataclasses.replace(toolbox, runner=runner))
    applied = bench.apply(planned, output=clock, deadline_s=500.0)
    assert applied.error.code is Code.STEP_TIMEOUT
    assert applied.partial
    assert b'"first"' in bench.state.data


def test_outputs_keep_their_types_and_sensitive_ones_stay_in_the_state(bench):
    """A sensitive output is named in the log and not handed on."""
    bench.write(
        "stack/main.tf",
        'output "n" { value = 1.5 }\noutput "big" { value = 100000000000000000000 }\n'
        'output "m" { value = { a = [true, null] } }\n'
        'output "s" {\n  value     = "withheld-value"\n  sensitive = true\n}\n',
    )
    applied = bench.run()
    assert applied.outputs == {"n": pytest.approx(1.5), "big": 10**20, "m": {"a": [True, None]}}
    assert not isinstance(applied.outputs["n"], float)
    assert applied.summary["withheld"] == ["s"]
    assert "sensitive outputs, which stay in the state: s" in bench.log
    assert "withheld-value" not in bench.log


def test_an_ephemeral_variable_is_given_again(bench):
    """Terraform keeps such a value out of the plan file; the apply hands it over once more, and no output shows it."""
    command = (
        'provisioner "local-exec" {\n    command = "test \\"$T\\" = sesame-open"\n    environment = { T = var.t }\n  }'
    )
    bench.write(
        "stack/main.tf",
        'variable "t" {\n  type = string\n  ephemeral = true\n}\nvariable "n" {}\n'
        f'resource "terraform_data" "x" {{\n  input = var.n\n  {command}\n}}\n',
    )
    given = {"t": "sesame-open", "n": 1}
    planned = bench.plan(given)
    assert bench.apply(planned, given).ok
    assert "sesame" not in bench.log


def test_the_environment_reaches_providers_and_provisioners(bench):
    """``env`` is there in the plan and in the apply; nothing of the platform's own environment is."""
    script = (
        'provisioner "local-exec" {\n    command = "echo region=$REGION n=$N home=$HOME path=$PATH; env | wc -l"\n  }'
    )
    bench.write("stack/main.tf", f'resource "terraform_data" "x" {{\n  {script}\n}}\n')
    assert bench.run(spec={"env": {"REGION": "eu-1", "N": True}}).ok
    assert "region=eu-1 n=true" in bench.log
    assert f"home={bench.task.box}/home" in bench.log


def test_the_source_cannot_be_changed_by_an_apply(bench):
    """Neighbours are read-only; what a module writes lands in its private copy."""
    bench.write("other/text", "as it was")
    script = 'provisioner "local-exec" {\n    command = "echo mine > here; echo changed > ../other/text"\n  }'
    bench.write("stack/main.tf", f'resource "terraform_data" "x" {{\n  {script}\n}}\n')
    applied = bench.run()
    assert not applied.ok
    assert "Read-only file system" in applied.error.message
    assert (bench.source / "other/text").read_text() == "as it was"
    assert not (bench.source / "stack/here").exists()


def test_links_left_by_the_tool_are_not_followed(bench, tmp_path):
    """A state that is a link to a file of the host is no state."""
    secret = tmp_path / "host-secret"
    secret.write_text('{"version": 4, "lineage": "x", "serial": 99, "outputs": {"o": {"value": "host"}}}')
    script = f'provisioner "local-exec" {{\n    command = "ln -sf {secret} errored.tfstate"\n  }}'
    bench.write("stack/main.tf", f'resource "terraform_data" "x" {{\n  {script}\n}}\noutput "o" {{ value = "mine" }}\n')
    applied = bench.run()
    assert applied.outputs == {"o": "mine"}
    assert bench.state.serial != 99


def test_an_apply_that_loses_its_state_is_no_success(bench):
    """Exit code 0 is not enough when objects were made and no state says so."""
    script = 'provisioner "local-exec" {\n    command = "rm -f terraform.tfstate"\n  }'
    bench.write("stack/main.tf", f'resource "terraform_data" "x" {{\n  {script}\n}}\n')
    planned = bench.plan()
    applied = bench.apply(planned)
    assert (applied.ok, applied.partial, applied.state) == (False, True, None)
    assert "terraform left no state that can be read" in applied.error.message
    probed = bench.executor.probe(bench.make("apply"), planned.blob)
    assert (probed.verdict, probed.state) == (Verdict.FAILED, None)


def test_network_and_sandbox_are_those_of_the_pool(bench):
    """Without network there is none, not even for a provisioner."""
    script = 'provisioner "local-exec" {\n    command = "tail -n +3 /proc/net/dev | wc -l"\n  }'
    bench.write("stack/main.tf", f'resource "terraform_data" "x" {{\n  {script}\n}}\n')
    assert bench.run(sandbox=SandboxPolicy(network=False)).ok
    assert "terraform_data.x: 1\n" in bench.log, "more than the loopback"
