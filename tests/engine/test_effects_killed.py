"""Processes killed for real around an effect: it is made once, published before, and accounted for by the next life."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Callable

import pytest

from mandamus.audit.service import Audit
from mandamus.audit.verify import verify_log
from mandamus.engine.effect import Effects
from mandamus.engine.service import Engine
from mandamus.store.database import Database

MAKES_EFFECTS = """
import itertools
from mandamus.audit.model import Authority
from mandamus.audit.note import read_checkpoint
from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.engine.effect import EffectKey, Effects, Intent, State
from mandamus.kernel.access import OWNER, Subject

victim, fatal = arguments
mine = threading.local()

def die_at(moment, label):
    mine.commits = getattr(mine, "commits", 0) + 1
    if getattr(mine, "key", None) == victim and mine.commits == fatal:
        os.kill(os.getpid(), signal.SIGKILL)

db = Database(db.engine, die_at)
engine = Engine(db, home / "engine.lock", "node", Clock())
who = Subject("ada", "os-user", frozenset(), OWNER, "Ada Lovelace")
signer = Signer("log.example.com/home", bytes([7]) * 32)
audit = Audit(db, home / "log", signer, Clock(), os.urandom)
audit.open(who, Signer("log.example.com/home/platform", bytes([7]) * 32).vkey)
effects = Effects(db, audit, engine, Clock(), 10.0)

def acted(key):
    return (home / "acts").is_file() and key in (home / "acts").read_text().splitlines()

def act(key):
    published = read_checkpoint((home / "log" / "checkpoint").read_bytes(), signer.verifier)
    intent = audit.events(key)[-1]
    note("covered" if intent.index < published.size else "uncovered", key)
    note("acts", key)

def parts(key):
    return {"succeeded": lambda _value: True, "finish": lambda _tx, _value: {"key": key}}

def work(job):
    mine.key, mine.commits = job.key, 0
    for attempt in itertools.count(1):
        key = EffectKey(job.key, "step", attempt, "apply")
        match effects.state(key):
            case None:
                digest = f"sha256:{'a' * 64}"
                intent = Intent(who=who, authority=Authority(), binding=digest, artifact=digest)
                effects.perform(key, begin=lambda _tx: intent, act=lambda: act(job.key), **parts(job.key))
                break
            case State.INTENDED if acted(job.key):
                effects.conclude(key, who, None, by_probe=True, **parts(job.key))
                break
            case State.INTENDED:
                with db.begin("void") as tx:
                    effects.void(tx, who, key)
            case State.SUCCEEDED:
                break
    note("done", job.key)
    pipe.send(job.key)

engine.start({"run": work})
pipe.recv()
engine.stop()
"""


@pytest.fixture
def accounted(
    spawn, noted, eventually, audit: Audit, effects: Effects, engine: Engine, db: Database
) -> Callable[[list[str]], list[str]]:
    """See every key through in a last life, then check that each was made once, published before, and accounted for.

    Gives the states of all effects.
    """
    engine.stop()

    def check(keys: list[str]) -> list[str]:
        survivor = spawn(MAKES_EFFECTS, "nobody", 0)
        eventually(lambda: set(noted("done")) == set(keys), lambda: (survivor.heard(), len(noted("done"))))
        survivor.tell()
        assert survivor.wait() == 0
        assert sorted(noted("acts")) == sorted(keys)
        assert noted("uncovered") == []
        assert set(noted("covered")) == set(keys)
        assert effects.unsettled() == []
        with db.read() as conn:
            states = [row.state for row in conn.exec_driver_sql("SELECT state FROM effect")]
        assert states.count("succeeded") == len(keys)
        assert set(states) <= {"succeeded", "void"}
        audit.flush()
        assert verify_log(audit.folder, audit.vkey).ok
        assert audit.verify_database().ok
        return states

    return check


def test_a_kill_at_every_commit_loses_and_repeats_no_effect(spawn, accounted, engine: Engine, db: Database):
    """A process killed before and after every commit of its life leaves what the next one can account for."""
    keys: list[str] = []
    ended: int | None = -signal.SIGKILL
    while ended == -signal.SIGKILL:
        key = f"run_{len(keys)}"
        life = spawn(MAKES_EFFECTS, key, len(keys) + 1)
        while keys and life.ask() != keys[-1]:
            pass  # one more look at an earlier key, whose row was not yet written off
        with db.begin("enqueue") as tx:
            engine.enqueue(tx, "run", key, "1")
        keys.append(key)
        with contextlib.suppress(EOFError):
            while life.ask() != key:
                pass
            life.tell()
        ended = life.wait()
    states = accounted(keys)
    assert ended == 0
    # Before and after the commits of intent, checkpoint and result; the last life is not killed.
    assert len(keys) == 7
    assert states.count("void") == 3


@pytest.mark.parametrize("kills", [10, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_a_kill_at_any_time_loses_and_repeats_no_effect(spawn, accounted, engine: Engine, db: Database, kills: int):
    """The same for kills at random moments, with several effects under way."""
    draw = random.Random(kills)
    keys: list[str] = []
    for kill in range(kills):
        victim = spawn(MAKES_EFFECTS, "nobody", 0)
        with db.begin("enqueue") as tx:
            for number in range(3):
                keys.append(f"run_{kill}_{number}")
                engine.enqueue(tx, "run", keys[-1], "1")
        with contextlib.suppress(EOFError):
            victim.ask()
        time.sleep(draw.uniform(0, 0.03))
        victim.kill()
    accounted(keys)
