"""Several processes on one home: one engine, commits by all, and nothing lost when any of them is killed."""

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mandamus.engine.dispatch import POLL_S
from mandamus.engine.service import Engine
from mandamus.store.database import Database

Noted = Callable[[str], list[str]]

HOLDS = """
pipe.send(engine.start({}))
pipe.recv()
engine.stop()
pipe.send("stopped")
pipe.recv()
"""

ENQUEUES = """
key, moment = arguments
with db.begin("enqueue") as tx:
    engine.enqueue(tx, "run", key, "1")
    if moment == "die before the commit":
        os.kill(os.getpid(), signal.SIGKILL)
if moment == "die after the commit":
    os.kill(os.getpid(), signal.SIGKILL)
"""

WORKS = """
def work(job):
    note("begun", job.key)
    time.sleep(arguments[0])
    note("done", job.key)

pipe.send(engine.start({"run": work}))
pipe.recv()
engine.stop()
"""


def test_two_processes_one_engine(spawn, engine: Engine):
    """While one process is the engine another is not; when it stops, the next one may be."""
    holder = spawn(HOLDS)
    assert holder.ask() is True
    assert not engine.start({})
    assert not engine.running
    holder.tell()
    assert holder.ask() == "stopped"
    assert engine.start({})


def test_a_killed_engine_frees_its_home(spawn, engine: Engine, home: Path):
    """The lock is the kernel's: it ends with its holder, whatever the file says."""
    holder = spawn(HOLDS)
    assert holder.ask() is True
    assert (home / "engine.lock").read_text() == f"{holder.pid}\n"
    holder.kill()
    assert engine.start({})
    assert engine.token() == 2


def test_a_job_of_a_process_that_is_no_engine_is_taken(spawn, engine: Engine, worker):
    """Any process may commit work; the one that is the engine takes it, soon."""
    assert engine.start({"run": worker})
    assert spawn(ENQUEUES, "foreign", "live").wait() == 0
    assert worker.wait_for(1) == ["foreign"]


def test_a_job_committed_without_an_engine_waits_for_one(spawn, engine: Engine, worker):
    """When nobody is the engine, what was committed waits for the next one that is."""
    assert spawn(ENQUEUES, "early", "live").wait() == 0
    assert engine.start({"run": worker})
    assert worker.wait_for(1) == ["early"]


@pytest.mark.parametrize(("when", "seen"), [("die before the commit", []), ("die after the commit", ["a"])])
def test_a_job_and_its_transaction_survive_a_kill_together(spawn, engine: Engine, worker, when: str, seen: list[str]):
    """A process killed right before its commit has enqueued nothing; killed right after it, everything."""
    assert spawn(ENQUEUES, "a", when).wait() == -signal.SIGKILL
    assert engine.start({"run": worker})
    assert spawn(ENQUEUES, "b", "live").wait() == 0
    assert sorted(worker.wait_for(len(seen) + 1)) == [*seen, "b"]


def test_a_job_under_way_is_found_again_after_a_kill(
    spawn, engine: Engine, worker, noted: Noted, eventually, db: Database
):
    """The next engine of the home finds every job that the killed one had in its hands, and only those."""
    victim = spawn(WORKS, 60)
    assert victim.ask() is True
    with db.begin("enqueue") as tx:
        for key in ("a", "b", "c"):
            engine.enqueue(tx, "run", key, "1")
    eventually(lambda: sorted(noted("begun")) == ["a", "b", "c"])
    victim.kill()
    assert engine.start({"run": worker})
    assert sorted(worker.wait_for(3)) == ["a", "b", "c"]
    time.sleep(6 * POLL_S)  # what would be taken twice has time to be
    assert len(worker.seen) == 3


@pytest.mark.parametrize("kills", [10, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_no_job_is_lost_over_random_kills(spawn, engine: Engine, noted: Noted, eventually, db: Database, kills: int):
    """Whenever the engine is killed, every committed job is worked on to its end in a later life."""
    draw = random.Random(kills)
    enqueued: list[str] = []
    for kill in range(kills):
        victim = spawn(WORKS, 0.01)
        assert victim.ask() is True
        for number in range(draw.randrange(1, 6)):
            key = f"k{kill}.{number}"
            with db.begin("enqueue") as tx:
                engine.enqueue(tx, "run", key, "1")
            enqueued.append(key)
        time.sleep(draw.uniform(0, 0.15))
        victim.kill()
    survivor = spawn(WORKS, 0)
    assert survivor.ask() is True
    eventually(lambda: set(noted("done")) == set(enqueued), lambda: len(noted("done")))
    survivor.tell()
    assert survivor.wait() == 0
