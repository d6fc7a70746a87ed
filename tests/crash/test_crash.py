"""Kill -9 anywhere, come back, and nothing is lost and nothing repeated. The test itself is the program `crash.py`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("crash.py")
RESULT = re.compile(
    r"(?P<kills>\d+) kills over (?P<covered>\d+) of (?P<points>\d+) commit points, (?P<lost>\d+) lost, "
    r"(?P<repeated>\d+) repeated, (?P<unverified>\d+) unverified, (?P<parked>\d+) parked that a probe could settle"
)
BAD = ("lost", "repeated", "unverified", "parked")
KILLS_MIN = 200


@pytest.fixture
def crash(tmp_path, record_property):
    """Run the program; gives its numbers. Its last line, when it ran whole, is shown at the end of the session."""

    def run(*options):
        command = [sys.executable, str(PROGRAM), str(tmp_path / "stages"), *options]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        found = RESULT.fullmatch(done.stdout.splitlines()[-1])
        assert found, done.stdout
        if not options:
            record_property("says", found[0])
        numbers = {name: int(number) for name, number in found.groupdict().items()}
        assert (done.returncode == 0) == (
            numbers["covered"] == numbers["points"] and not any(numbers[name] for name in BAD)
        )
        return numbers

    return run


def test_a_few_kills(crash):
    """A sample of the commit points of a whole run, and of all the other ways to die in it."""
    numbers = crash("--play", "whole", "--counts", "1", "--sample", "8")
    assert numbers["covered"] == numbers["points"] >= 6
    assert not any(numbers[name] for name in BAD)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_commit(crash, capfd):
    """Every commit of every play: nothing lost, no effect repeated, the log verifies, only a human's part is left."""
    with capfd.disabled():
        numbers = crash()
    assert numbers["kills"] >= KILLS_MIN
    assert numbers["covered"] == numbers["points"]
    assert not any(numbers[name] for name in BAD)


@pytest.mark.slow
def test_a_few_kills_on_postgres(crash, postgres_server):
    """The same holds on Postgres, where DBOS and its queue are other code."""
    chosen = ("whole", "one", "together", "after a promise", "after an end", "after half an act")
    names = [word for name in chosen for word in ("--play", name)]
    numbers = crash("--postgres", postgres_server, "--counts", "1", "--sample", "30", *names)
    assert numbers["covered"] == numbers["points"] >= 25
    assert not any(numbers[name] for name in BAD)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broken", "only", "seen"),
    [
        ("no mark of a start", "in act one.after", "repeated"),
        ("no mark of an end", "before effect.finish 1", "parked"),
        ("a job of its own", "after admit 1", "lost"),
        ("no checkpoint", "file fsync executors.marks._sync 1", "unverified"),
    ],
)
def test_a_broken_house_is_seen(crash, broken, only, seen):
    """The crash test can fail: each column of its result counts when that promise is broken."""
    numbers = crash("--play", "one", "--counts", "1", "--only", only, "--break", broken)
    assert numbers["kills"] >= 1
    assert numbers[seen] >= 1
