"""Several processes on one home, ended for real: what each of them says, and that none of them loses the run."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mandamus.kernel.errors import Exit

pytestmark = pytest.mark.slow

PATIENCE_S = 20.0


@contextmanager
def _process(shell, *words: str) -> Iterator:
    """A command in a process of its own, ended with the block."""
    made = shell.start(*words)
    try:
        yield made
    finally:
        made.kill()
        made.communicate()


def _slow(shell, seconds: int, *more: str):
    return _process(shell, "run", "slow", "--env", "dev", "-i", f"long={seconds}", *more)


def _run_id(process) -> str:
    return process.stderr.readline().split()[0]


def _until(shell, run: str, state: str) -> None:
    """Until the one step of a run is in a state."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        found = shell("runs", "show", run, "--output", "json").json["steps"]
        if found and found[0]["state"] == state:
            return
        time.sleep(0.05)
    raise AssertionError(f"{run} never came to {state}: {found}")


def test_output_is_followed_while_it_is_printed(shell):
    """`runs logs --follow` in another process ends with the step and has all it printed; `watch` sees the same end."""
    with _slow(shell, 2) as engine:
        run = _run_id(engine)
        followed = shell("runs", "logs", run, "slow", "--follow")
        assert followed.out == "begun\nover\n"
        watched = shell("runs", "watch", run)
        assert watched.code == Exit.OK
        assert engine.wait(PATIENCE_S) == Exit.OK


def test_an_interrupt_cancels_and_tells_the_truth(shell):
    """Ctrl-C stops the tool, and the command ends only when what became of it is recorded."""
    with _slow(shell, 60) as engine:
        run = _run_id(engine)
        _until(shell, run, "applying")
        engine.send_signal(signal.SIGINT)
        assert engine.wait(PATIENCE_S) == Exit.FAILED
        assert "cancelling" in engine.stderr.read()
    assert shell("runs", "show", run, "--output", "json").json["state"] == "cancelled"


def test_another_process_cancels_what_runs(shell):
    """`runs cancel` from elsewhere reaches the engine, which stops the tool and records its end."""
    with _slow(shell, 60) as engine:
        run = _run_id(engine)
        _until(shell, run, "applying")
        cancelled = shell("runs", "cancel", run, "--reason", "wrong account")
        assert cancelled.code == Exit.OK, cancelled
        assert engine.wait(PATIENCE_S) == Exit.FAILED


def test_who_looks_on_leaves_the_run_alone(shell):
    """Ctrl-C in `runs watch` ends the watching; the run goes on in its engine."""
    with _slow(shell, 60) as engine:
        run = _run_id(engine)
        _until(shell, run, "applying")
        with _process(shell, "runs", "watch", run) as watcher:
            assert "applying" in watcher.stderr.readline()
            watcher.send_signal(signal.SIGINT)
            assert watcher.wait(PATIENCE_S) == Exit.FAILED
            assert f"leaving, {run} goes on" in watcher.stderr.read()
        _until(shell, run, "applying")
        assert engine.poll() is None
        assert shell("runs", "cancel", run).code == Exit.OK


def test_a_detached_run_goes_on_by_itself(shell):
    """`--detach` returns at once with the id as data; a process of its own sees the run through."""
    with _slow(shell, 1, "--detach") as asked:
        assert asked.wait(PATIENCE_S) == Exit.OK
        run = asked.stdout.read().strip()
    assert run.startswith("run_")
    assert shell("runs", "watch", run).code == Exit.OK
    assert oct((shell.home / "engine.log").stat().st_mode & 0o777) == "0o600"


def test_a_killed_engine_leaves_the_truth_to_people(shell):
    """Kill -9 while a script runs: nobody knows what it did, the run says so (6), a person settles it, it goes on."""
    with _slow(shell, 60) as engine:
        run = _run_id(engine)
        _until(shell, run, "applying")
        while "begun" not in shell("runs", "logs", run, "slow").out:
            time.sleep(0.05)
        engine.kill()
        engine.wait(PATIENCE_S)
    told = shell("runs", "watch", run)
    assert told.code == Exit.INDETERMINATE, told
    assert "effect_indeterminate" in shell("runs", "show", run).out
    assert f"runs settle {run} slow --as succeeded|failed|retry" in told.err
    refused = shell("runs", "settle", run, "slow", "--as", "succeeded", "--reason", " ")
    assert refused.code == Exit.USAGE
    member = shell("runs", "settle", run, "slow", "--as", "succeeded", "--reason", "seen", as_="ada")
    assert member.code == Exit.FAILED
    assert "ada may not run:settle" in member.err
    settled = shell("runs", "settle", run, "slow", "--as", "succeeded", "--reason", "looked at it")
    assert settled.code == Exit.OK, settled
    assert "slow  succeeded" in settled.out
