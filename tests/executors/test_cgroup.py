from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mandamus.executors.cgroup import ControlGroups
from mandamus.executors.model import Command, Limits

LIMITS = Limits(processes=77, memory_bytes=123_456_789)


@pytest.fixture
def ended() -> int:
    """The pid of a process that is gone."""
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    return process.pid


def unified(root: Path, path: str) -> Path:
    """A hierarchy of version 2 as the kernel shows it, as far as we look; files appear in a group as it is made."""
    (root / "cgroup.controllers").write_text("pids memory")
    folder = root / path
    folder.mkdir(parents=True)
    return folder


def test_a_step_gets_a_group_of_its_own_with_the_limits(tmp_path):
    """Version 2: the group stands below our own, holds the process, and bounds processes and memory of the tree."""
    own = unified(tmp_path, "service")
    (made,) = ControlGroups("0::/service\n", tmp_path).join(4711, LIMITS)
    assert made == own / "mandamus.4711"
    assert (made / "cgroup.procs").read_text() == "4711"
    assert (made / "pids.max").read_text() == "77"
    assert (made / "memory.max").read_text() == "123456789"


def test_version_1_has_a_group_per_controller(tmp_path):
    """Version 1: processes and memory are bounded in hierarchies of their own."""
    for name in ("pids", "memory"):
        (tmp_path / name / "own").mkdir(parents=True)
    made = ControlGroups("9:pids:/own\n4:memory:/own\n2:cpu:/\n", tmp_path).join(4711, LIMITS)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in made) == [
        "memory/own/mandamus.4711",
        "pids/own/mandamus.4711",
    ]
    assert (tmp_path / "pids/own/mandamus.4711/pids.max").read_text() == "77"
    assert (tmp_path / "memory/own/mandamus.4711/memory.limit_in_bytes").read_text() == "123456789"


def test_without_the_right_to_make_groups_steps_still_run(tmp_path):
    """No hierarchy, or one that is not ours to write: no group, no error."""
    for text in ("", "garbage", "0::/gone\n"):
        groups = ControlGroups(text, tmp_path)
        assert groups.join(os.getpid(), LIMITS) == ()
        groups.leave((tmp_path / "never",))


def test_groups_of_ended_processes_are_swept_and_those_of_living_ones_are_not(tmp_path, ended):
    """What a killed process left goes at the next start; a group that is being made right now stays."""
    own = unified(tmp_path, "service")
    stale, living = own / f"mandamus.{ended}", own / f"mandamus.{os.getpid()}"
    stale.mkdir()
    living.mkdir()
    ControlGroups("0::/service\n", tmp_path).join(4711, LIMITS)
    assert not stale.exists()
    assert living.exists()


def test_a_real_group_is_removed_with_its_step(runner, make_task):
    """After a step nothing of its groups is left on this machine."""
    made: list[tuple[Path, ...]] = []
    groups = runner._launcher._groups
    join = groups.join
    groups.join = lambda pid, limits: made.append(join(pid, limits)) or made[-1]
    task = make_task()
    runner.run(task, Command(("/bin/true",), task.box, {"PATH": "/bin"}, b"", (task.box,)))
    assert len(made) == 1
    assert not any(folder.exists() for folder in made[0])
