"""The pool while its workers are killed at any instant: right or denied by a fault, and nothing is left behind."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from mandamus.kernel.attachment import Attached
from mandamus.kernel.ids import Ids
from mandamus.policy.model import Outcome, Point
from mandamus.policy.service import Policy

RULES = """package mandamus.plan

deny contains sprintf("%d is odd", [input.n]) if {
	input.n % 2 == 1
	count([i | some i in numbers.range(1, 2000)]) == 2000
}

require_approval contains {"group": "platform", "msg": sprintf("%d is looked at", [input.n])} if input.n % 4 == 0
"""
THREADS = 4
FAULTS = ("worker_lost: ", "engine_busy: ")


def children():
    """The processes that this one has started and that still run, or are dead and not yet taken leave of."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):
            found.update(int(pid) for pid in (task / "children").read_text().split())
    return found


def wrong(number, verdict):
    """Why a verdict is neither right nor a deny with a fault; empty when it is one of them."""
    if verdict.error is not None:
        told = verdict.error.startswith(FAULTS)
        return "" if verdict.outcome is Outcome.DENY and told else f"{number}: {verdict.outcome} {verdict.error}"
    if number % 2:
        right = verdict.outcome is Outcome.DENY and [v.msg for v in verdict.violations] == [f"{number} is odd"]
    elif number % 4:
        right = verdict.outcome is Outcome.ALLOW
    else:
        msgs = [one.msg for one in verdict.requires]
        right = verdict.outcome is Outcome.NEEDS_APPROVAL and msgs == [f"{number} is looked at"]
    return "" if right else f"{number}: {verdict}"


class Killer(threading.Thread):
    """Kills one worker after the other, at instants that nobody can foresee, and spares what was there before."""

    def __init__(self, spared, longest_s):
        super().__init__()
        self._spared = spared
        self._longest_s = longest_s
        self._draw = random.Random(5)
        self.over = threading.Event()
        self.killed = 0

    def run(self):
        """Until `over` is set."""
        while not self.over.wait(self._draw.uniform(0, self._longest_s)):
            workers = sorted(children() - self._spared)
            if workers:
                with suppress(ProcessLookupError):
                    os.kill(self._draw.choice(workers), signal.SIGKILL)
                    self.killed += 1


@pytest.mark.parametrize(
    ("lasts_s", "least"), [(1.5, 10), pytest.param(20, 150, marks=[pytest.mark.slow, pytest.mark.timeout(180)])]
)
def test_a_pool_survives_being_killed_at_any_instant(own_pool, on, publish, record_property, lasts_s, least):
    """While it starts, loads, waits, answers: no decision is wrong, none hangs, and no worker stays behind."""
    digests = [publish({"p.rego": f"{RULES}# {number}\n"}) for number in range(2)]
    spared = children()
    pool = own_pool(decide_s=30, wait_s=30, workers_max=3)
    policy = on(pool)
    killer = Killer(spared, longest_s=0.06)
    end = time.monotonic() + lasts_s

    def decide(thread):
        verdicts = []
        number = thread
        while time.monotonic() < end or killer.killed < least:  # on a busy machine that takes longer
            sets = [Attached(digests[number // 8 % 2])]
            verdict = policy.decide(Point.PLAN, {"n": number}, sets, protected=True, now_us=0)
            verdicts.append((number, verdict))
            number += THREADS + 1
        return verdicts

    killer.start()
    with ThreadPoolExecutor(THREADS) as threads:
        given = [each for found in threads.map(decide, range(THREADS)) for each in found]
    killer.over.set()
    killer.join()
    faults = sum(verdict.error is not None for _, verdict in given)
    record_property(
        "says", f"{len(given)} decisions while {killer.killed} workers were killed: {faults} denied by a fault"
    )
    assert [why for why in (wrong(*each) for each in given) if why] == []
    assert killer.killed >= least
    assert 0 < faults < len(given)
    for digest in digests:
        again = policy.decide(Point.PLAN, {"n": 2}, [Attached(digest)], protected=True, now_us=0)
        assert (again.outcome, again.error) == (Outcome.ALLOW, None)
    pool.close()
    assert children() - spared == set()


@pytest.fixture
def on(sqlite_database, blobs, audit, real_clock, entropy):
    """A service on another evaluator."""
    return lambda evaluator: Policy(sqlite_database, blobs, audit, evaluator, real_clock, Ids(real_clock, entropy))
