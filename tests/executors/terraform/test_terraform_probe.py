from __future__ import annotations

import fcntl
import os
import re
import signal
import time

import pytest

from mandamus.executors import marks, terraform, terraform_folder
from mandamus.executors.model import Toolbox, Verdict
from mandamus.kernel.errors import Code, MandamusError

CONTAINED = """
resource "terraform_data" "x" {
  count = 60
  input = count.index
}
output "count" { value = length(terraform_data.x) }
"""

WORLDLY = """
variable "v" { default = "1" }
resource "terraform_data" "first" { input = var.v }
resource "terraform_data" "second" {
  input = "second"
  depends_on = [terraform_data.first]
  provisioner "local-exec" {
    command = "touch begun; sleep 60"
  }
}
output "v" { value = var.v }
"""

QUIET = WORLDLY.replace("sleep 60", "true")


def left(bench):
    """The folder of the last apply."""
    return terraform_folder.at(bench.make("apply"), bench.make("apply").box)


def mark(bench):
    """The marks of the last apply."""
    return terraform._marks(bench.make("apply"), left(bench))


def unsee(bench) -> None:
    """As if we had died before the end was marked."""
    (path,) = bench.make("apply").marks.iterdir()
    path.write_bytes(b"")


def kill_during(bench, planned, ready, variables=None) -> None:
    """Apply in another process and kill that one, and with it terraform, as soon as ``ready`` says so."""
    task = bench.make("apply", variables)
    child = os.fork()
    if child == 0:
        try:
            bench.executor.apply(task, planned.blob)
        finally:
            os._exit(0)
    until_s = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < until_s, "never came to the moment to kill at"
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def probe(bench, planned, variables=None):
    """What another process finds out; it may have to wait until the kernel has ended everything."""
    for _ in range(1000):
        try:
            return bench.executor.probe(bench.make("apply", variables), planned.blob)
        except MandamusError as error:
            if not error.retryable:
                raise
            time.sleep(0.05)
    raise AssertionError("terraform outlived us")


def test_an_apply_that_was_never_started(bench):
    """Without a mark nothing ran, whatever else is there."""
    bench.write("stack/main.tf", CONTAINED)
    planned = bench.plan()
    assert probe(bench, planned).verdict is Verdict.NOT_STARTED
    left(bench).module.mkdir(parents=True)
    assert probe(bench, planned).verdict is Verdict.NOT_STARTED


def test_an_apply_that_was_seen_to_end_well(bench):
    """Outputs and state come from the state file it left, and probing twice says the same."""
    bench.write("stack/main.tf", QUIET)
    planned = bench.plan()
    applied = bench.executor.apply(bench.make("apply"), planned.blob)
    for _ in range(2):
        probed = probe(bench, planned)
        assert (probed.verdict, probed.outputs, probed.state) == (Verdict.SUCCEEDED, {"v": "1"}, applied.state)


def test_an_apply_that_was_seen_to_fail(bench):
    """Its state is handed on, as the apply itself would have."""
    bench.write("stack/main.tf", QUIET.replace("true", "exit 7"))
    planned = bench.plan()
    applied = bench.executor.apply(bench.make("apply"), planned.blob)
    probed = probe(bench, planned)
    assert (probed.verdict, probed.state) == (Verdict.FAILED, applied.state)
    assert probed.state is not None
    assert probed.detail == "terraform apply ended with exit code 1"


def test_an_apply_that_ended_unseen_and_left_nothing_to_do(bench):
    """When a new plan is empty, everything is there: it succeeded, though there are provisioners."""
    bench.write("stack/main.tf", QUIET)
    planned = bench.plan()
    applied = bench.executor.apply(bench.make("apply"), planned.blob)
    unsee(bench)
    for _ in range(2):
        probed = probe(bench, planned)
        assert (probed.verdict, probed.outputs, probed.state) == (Verdict.SUCCEEDED, {"v": "1"}, applied.state)


def test_a_kill_amid_what_only_the_state_knows(bench):
    """Built-in resources live in the state alone: what was half done is dropped with it, and can be done again."""
    bench.write("stack/main.tf", CONTAINED)
    planned = bench.plan()
    state = left(bench).state
    kill_during(bench, planned, lambda: state.exists() and state.stat().st_size > 5_000)
    assert marks.read(mark(bench)) == marks.Trace(started=True)
    probed = probe(bench, planned)
    assert probed.verdict is Verdict.NOT_STARTED
    assert probed.state is None
    assert bench.run().outputs == {"count": 60}


def test_a_kill_amid_a_creation_outside(bench):
    """What was being made may exist without being in the state: nobody here can know, and it is named."""
    bench.write("stack/main.tf", WORLDLY)
    planned = bench.plan()
    begun = left(bench).module / "begun"
    kill_during(bench, planned, begun.exists)
    probed = probe(bench, planned)
    assert probed.verdict is Verdict.UNKNOWN
    assert "terraform_data.second" in probed.detail
    assert "terraform_data.first" not in probed.detail
    assert b'"first"' in probed.state


def test_a_kill_before_an_update_that_only_the_state_knows(bench):
    """Nothing outside has begun, so the step can be done again; it did not fail."""
    bench.write("stack/main.tf", CONTAINED.replace("count.index", '"${count.index} old"').replace("60", "2"))
    assert bench.run().ok
    bench.write("stack/main.tf", CONTAINED.replace("60", "2"))
    planned = bench.plan()
    assert planned.change_set.summary() == {"update": 2}
    terraform_folder.lay_out(left(bench), bench.state.data)
    marks.started(mark(bench))
    assert probe(bench, planned).verdict is Verdict.NOT_STARTED


def test_a_kill_before_an_update(bench):
    """Left are only updates of objects the apply has not touched: it did not finish, and nothing is lost."""
    bench.write("stack/main.tf", QUIET)
    assert bench.run({"v": "1"}).ok
    planned = bench.plan({"v": "2"})
    folder = left(bench)
    terraform_folder.lay_out(folder, bench.state.data)
    marks.started(mark(bench))
    probed = probe(bench, planned, {"v": "2"})
    assert probed.verdict is Verdict.FAILED
    assert probed.detail == "terraform apply was killed before it changed terraform_data.first"
    assert probed.state is None


@pytest.mark.parametrize("value", ["uuid()", "length(uuid())"])
def test_what_always_differs_is_no_proof_of_a_failure(bench, value):
    """An update that every plan would show says nothing about whether this apply came to its end."""
    bench.write("stack/main.tf", re.sub(r'input += "second"', f"input = {value}", QUIET))
    assert bench.run().ok
    planned = bench.plan()
    assert bench.executor.apply(bench.make("apply"), planned.blob).ok
    unsee(bench)
    probed = probe(bench, planned)
    assert probed.verdict is Verdict.UNKNOWN
    assert "what it had begun cannot be told from what is left" in probed.detail


def test_an_object_the_apply_has_touched_is_no_proof_of_a_failure(bench):
    """The same difference may be back, as with an attribute that never settles, though the apply was complete."""
    bench.write("stack/main.tf", re.sub(r'input += "second"', "input = plantimestamp()", QUIET))
    assert bench.run().ok
    time.sleep(1.1)
    planned = bench.plan()
    assert bench.executor.apply(bench.make("apply"), planned.blob).ok
    unsee(bench)
    time.sleep(1.1)
    assert probe(bench, planned).verdict is Verdict.UNKNOWN


def test_what_was_never_planned_is_no_proof_of_a_failure(bench):
    """Something else moved since; that does not say whether this apply came to its end."""
    bench.write("stack/main.tf", QUIET)
    assert bench.run({"v": "1"}).ok
    planned = bench.plan({"v": "1"})
    assert bench.executor.apply(bench.make("apply", {"v": "1"}), planned.blob).ok
    unsee(bench)
    probed = probe(bench, planned, {"v": "2"})
    assert probed.verdict is Verdict.UNKNOWN
    assert "what it had begun cannot be told from what is left" in probed.detail


def test_a_state_cut_short_is_not_taken_for_one(bench):
    """A torn state file is worth nothing: a creation may have been lost with it."""
    bench.write("stack/main.tf", QUIET)
    planned = bench.plan()
    applied = bench.executor.apply(bench.make("apply"), planned.blob)
    unsee(bench)
    left(bench).state.write_bytes(applied.state[: len(applied.state) // 2])
    probed = probe(bench, planned)
    assert probed.verdict is Verdict.UNKNOWN
    assert probed.state is None


def test_a_plan_without_changes_does_not_heal_a_torn_state(bench):
    """That nothing is left to do by the state of before says nothing about the outputs, which were in the torn one."""
    bench.write("stack/main.tf", QUIET)
    assert bench.run().ok
    planned = bench.plan()
    folder = left(bench)
    terraform_folder.lay_out(folder, bench.state.data)
    marks.started(mark(bench))
    folder.state.write_bytes(bench.state.data[:99])
    probed = probe(bench, planned)
    assert (probed.verdict, probed.state) == (Verdict.UNKNOWN, None)


def test_a_terraform_that_still_runs_is_waited_for(bench):
    """While somebody holds terraform's lock on the state file, the question is put off, not answered."""
    bench.write("stack/main.tf", CONTAINED)
    planned = bench.plan()
    folder = left(bench)
    terraform_folder.lay_out(folder, None)
    folder.state.write_bytes(b"")
    marks.started(mark(bench))
    child = os.fork()
    if child == 0:
        fd = os.open(folder.state, os.O_RDWR)
        fcntl.lockf(fd, fcntl.LOCK_EX)
        (folder.module / "held").touch()
        signal.pause()
    try:
        while not (folder.module / "held").exists():
            time.sleep(0.01)
        with pytest.raises(MandamusError) as caught:
            bench.executor.probe(bench.make("apply"), planned.blob)
        assert caught.value.code is Code.UNAVAILABLE
        assert caught.value.retryable
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert probe(bench, planned).verdict is Verdict.NOT_STARTED


def test_without_the_tool_a_probe_says_what_it_can(bench, toolbox, monkeypatch):
    """A missing terraform leaves the question open, unless the apply could touch nothing but its state."""
    answers = {}
    for text in (CONTAINED, QUIET):
        bench.executor = terraform.build(toolbox)
        bench.write("stack/main.tf", text)
        planned = bench.plan()
        terraform_folder.lay_out(left(bench), None)
        marks.started(mark(bench))
        monkeypatch.setitem(toolbox.options, "terraform_path", "/nowhere/terraform")
        answers[text] = probe(bench, planned).verdict
        monkeypatch.undo()
    assert answers == {CONTAINED: Verdict.NOT_STARTED, QUIET: Verdict.UNKNOWN}


def test_a_probe_looks_in_a_folder_of_its_own(bench):
    """What the apply left stays as it is until the attempt is settled."""
    bench.write("stack/main.tf", QUIET)
    planned = bench.plan()
    applied = bench.executor.apply(bench.make("apply"), planned.blob)
    unsee(bench)
    before = {path: path.read_bytes() for path in left(bench).module.rglob("*") if path.is_file()}
    probe(bench, planned)
    assert {path: path.read_bytes() for path in left(bench).module.rglob("*") if path.is_file()} == before
    assert applied.state in before.values()
    assert isinstance(bench.toolbox, Toolbox)
