"""Every kind of fault of the matrix, in the groups that are promised: what is broken, and in how many of the inputs."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from fault_ground import SOUND, WHO, Ground, Trial, everywhere, stand_in

from mandamus.kernel import canonical
from mandamus.kernel.attachment import Attached, Level
from mandamus.kernel.errors import MandamusError
from mandamus.policy.model import Bundle, Fault, Options, Point, Query, fault
from mandamus.policy.pool import Limits, WorkerPool
from mandamus.policy.service import Policy

Make = Callable[[Ground, random.Random], AbstractContextManager[Trial]]
USUAL = Limits()


@dataclass(frozen=True)
class Kind:
    """One fault. ``every`` says that it meets every so-manieth input only, because one meeting takes long.

    ``told`` is whether the verdict says the trouble; where a set that does not bind is in trouble, another set denies.
    """

    group: str
    name: str
    make: Make
    every: int = 1
    told: bool = True


SPIN = """package mandamus.POINT

deny contains "slow" if count([1 | some i in numbers.range(1, 20000); some j in numbers.range(1, 20000); i == j]) > 1e9
"""
HUNGRY = """package mandamus.POINT

deny contains "big" if {
	text := concat("", [sprintf("%064d", [i]) | some i in numbers.range(1, 40000)])
	count([s | some i in numbers.range(1, 4000); s := sprintf("%d%s", [i, text])]) > 1e9
}
"""


def stood_in(script: str, *, when: str = "asked", limits: Limits = USUAL) -> Make:
    """A worker that misbehaves; it answers an allow where the script lets it."""

    @contextmanager
    def make(ground: Ground, _draw: random.Random) -> Iterator[Trial]:
        with ground.opened(limits, stand_in(script, when=when)) as pool:
            yield ground.trial(ground.on(pool))

    return make


def started(command: Callable[[], Sequence[str]], limits: Limits = USUAL) -> Make:
    """A worker that is not even one."""

    @contextmanager
    def make(ground: Ground, _draw: random.Random) -> Iterator[Trial]:
        with ground.opened(limits, command) as pool:
            yield ground.trial(ground.on(pool))

    return make


def no_engine() -> Sequence[str]:
    """Nothing is installed."""
    raise fault(Fault.ENGINE_MISSING, "no engine", "install one")


def real(text: str, limits: Limits = USUAL) -> Make:
    """A real worker that runs into a limit."""

    @contextmanager
    def make(ground: Ground, _draw: random.Random) -> Iterator[Trial]:
        bad = ground.publish(everywhere(text))
        with ground.opened(limits) as pool:
            yield ground.trial(ground.on(pool), bad)

    return make


def killed(text: str, within_s: float, *, freeze: bool = False) -> Make:
    """A real worker that is killed within so many seconds of the question, or was frozen before.

    The twin is asked of the same service, right after.
    """

    @contextmanager
    def make(ground: Ground, draw: random.Random) -> Iterator[Trial]:
        # A set of its own: whatever worker is new is its.
        bad = ground.publish(everywhere(f"{text}# {draw.random()}\n"))
        with ground.opened(Limits()) as pool:
            policy = ground.on(pool)
            bundle = policy.bundle(WHO, bad)

            @contextmanager
            def strike() -> Iterator[None]:
                known = set(pool.pids())
                pool.evaluate(bundle, b'{"point":""}')
                (pid,) = set(pool.pids()) - known
                if freeze:
                    os.kill(pid, signal.SIGSTOP)
                killer = threading.Thread(target=_kill_at_work, args=(pool, pid, draw.uniform(0, within_s)))
                killer.start()
                yield
                killer.join()

            yield ground.trial(policy, bad, strike=strike, twin=policy)

    return make


@contextmanager
def frozen(ground: Ground, draw: random.Random) -> Iterator[Trial]:
    """A real worker that stands still, and the deadline passes."""
    calm = ground.publish(everywhere(f"{SOUND}# {draw.random()}\n"))
    with ground.opened(Limits(decide_s=0.03)) as pool:
        policy = ground.on(pool)
        bundle = policy.bundle(WHO, calm)

        @contextmanager
        def strike() -> Iterator[None]:
            while not pool.pids():
                with suppress(MandamusError):
                    pool.evaluate(bundle, b'{"point":""}')
            (pid,) = pool.pids()
            os.kill(pid, signal.SIGSTOP)
            yield

        yield ground.trial(policy, calm, strike=strike)


def _kill_at_work(pool: WorkerPool, pid: int, after_s: float) -> None:
    """Not before it has been taken for a decision: a worker that is dead by then is replaced, which is no fault."""
    while pid in pool.pids():
        time.sleep(0.0002)  # the pool tells nobody that it takes a worker; a look is cheap and a decision is short
    time.sleep(after_s)  # where in the decision the kill comes is what the fault is about
    _kill(pid)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextmanager
def all_busy(ground: Ground, _draw: random.Random) -> Iterator[Trial]:
    """The only worker that the set may have is at work on something that does not end."""
    spin = Attached(ground.publish(everywhere(SPIN)))
    with ground.opened(Limits(workers_per_set=1, wait_s=0.002, decide_s=600)) as pool:
        policy = ground.on(pool)
        bundle = policy.bundle(WHO, spin.set)
        pool.evaluate(bundle, b'{"point":""}')
        (pid,) = pool.pids()
        busy = threading.Thread(target=_ask_in_vain, args=(pool, bundle))
        busy.start()
        try:
            while pool.pids():
                time.sleep(0.001)  # until the thread above has taken it; the pool tells nobody
            yield ground.trial(policy, spin)
        finally:
            _kill(pid)
            busy.join()


def _ask_in_vain(pool: WorkerPool, bundle: Bundle) -> None:
    with suppress(MandamusError):
        pool.evaluate(bundle, b'{"point":"plan"}')


def damaged(damage: Callable[[random.Random, bytes], bytes]) -> Make:
    """The file of a published set is not what it was, each time in another way."""

    @contextmanager
    def make(ground: Ground, draw: random.Random) -> Iterator[Trial]:
        digest = ground.publish(everywhere(f"{SOUND}# {draw.random()}\n"))
        name = digest.removeprefix("sha256:")
        path = ground.folder / "blobs" / name[:2] / name
        whole = path.read_bytes()

        def before() -> Policy:
            path.write_bytes(damage(draw, whole))
            return ground.on(ground.pool)

        yield ground.trial(None, digest, before=before)

    return make


def flipped(draw: random.Random, data: bytes) -> bytes:
    """One bit is another."""
    at = draw.randrange(8 * len(data))
    return data[: at // 8] + bytes([data[at // 8] ^ (1 << at % 8)]) + data[at // 8 + 1 :]


def cut(draw: random.Random, data: bytes) -> bytes:
    """It ends early."""
    return data[: draw.randrange(len(data))]


def rewritten(change: Callable[[dict[str, Any]], None]) -> Make:
    """A snapshot that says something else and has the digest of what it says."""

    @contextmanager
    def make(ground: Ground, _draw: random.Random) -> Iterator[Trial]:
        document = canonical.loads(ground.blobs.get(ground.calm.set))
        change(document)
        digest = ground.blobs.put(canonical.dumps(document))
        yield ground.trial(None, digest, before=lambda: ground.on(ground.pool))

    return make


def calls_nobody(document: dict[str, Any]) -> None:
    """A rule that no OPA compiles."""
    for file in document["files"]:
        file["content"] += '\ndeny contains "x" if nobody(1)\n'


def speaks_strangely(document: dict[str, Any]) -> None:
    """Rules of a kind that a later release may know."""
    for entry in document["entries"]:
        entry["kind"] = "forbid"


@contextmanager
def nowhere(ground: Ground, _draw: random.Random) -> Iterator[Trial]:
    """A digest without a set."""
    yield ground.trial(None, canonical.digest(b"nobody has this"))


def ruled(rule: str, *, beside: bool = True) -> Make:
    """A real engine and a rule that gives what nobody understands; beside it a sound set that has no objection."""

    @contextmanager
    def make(ground: Ground, _draw: random.Random) -> Iterator[Trial]:
        digest = ground.publish(everywhere(f"package mandamus.POINT\n\n{rule}\n"))
        yield ground.trial(None, digest, *([ground.calm] if beside else []))

    return make


def foreign(profile: str, bad: str, good: str, *, alter: Callable[[Any], Any] | None = None, kind: str = "") -> Make:
    """The same in a set of another convention, which is asked about plans."""
    queries = (Query("q", "data.terraform.deny"),) if profile == "hcp" else ()
    options = Options(profile=profile, queries=queries, kind=kind)

    @contextmanager
    def make(ground: Ground, _draw: random.Random) -> Iterator[Trial]:
        wrong, right = (ground.publish({"p.rego": text}, options) for text in (bad, good))
        twin = [Attached(right), ground.calm]
        others: dict[str, Any] = {"alter": alter} if alter else {}
        yield ground.trial(None, wrong, ground.calm, sets_twin=twin, point=Point.PLAN, **others)

    return make


def altered(alter: Callable[[Mapping[str, Any]], Any]) -> Make:
    """An input that cannot be judged."""

    @contextmanager
    def make(ground: Ground, _draw: random.Random) -> Iterator[Trial]:
        yield ground.trial(alter=alter)

    return make


def odd(value: Any) -> Callable[[Mapping[str, Any]], Any]:
    """Puts a value beside all else in the input."""
    return lambda document: {**document, "odd": value}


def deep(levels: int) -> Any:
    """So many arrays, one in the other."""
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


_BROKEN = 'deny contains "x" if 1 / input.run.inputs.nought > 0\n\ndeny contains "x" if to_number(input.run.id) > 1'


def levelled(level: Level, override: Mapping[str, int] | None = None) -> Make:
    """Trouble in a set that binds, beside a sound one."""

    @contextmanager
    def make(ground: Ground, _draw: random.Random) -> Iterator[Trial]:
        digest = ground.publish(everywhere(f"package mandamus.POINT\n\n{_BROKEN}\n"))
        yield ground.trial(None, Attached(digest, "soft", level, override or {}), ground.calm)

    return make


def beside_a_no(level: Level) -> Make:
    """Trouble in a set that does not bind, beside one that denies: it takes nothing back."""

    @contextmanager
    def make(ground: Ground, _draw: random.Random) -> Iterator[Trial]:
        broken = ground.publish(everywhere(f"package mandamus.POINT\n\n{_BROKEN}\n"))
        no = ground.publish(everywhere('package mandamus.POINT\n\ndeny contains "always" if input.run.id\n'))
        calm = ground.publish(everywhere('package mandamus.POINT\n\ndeny contains "never" if not input.run.id\n'))
        twin = [Attached(calm, "tried", level), ground.calm]
        yield ground.trial(None, Attached(broken, "tried", level), Attached(no), sets_twin=twin)

    return make


def without(level: Level | None, point: Point | None = None) -> Make:
    """A protected environment in which nothing binds, or nothing speaks where changes are judged."""

    @contextmanager
    def make(ground: Ground, _draw: random.Random) -> Iterator[Trial]:
        sets = [Attached(ground.calm.set, "calm", level)] if level else []
        if point:
            rule = 'package mandamus.access\n\ndeny contains "never" if input.run.inputs.never\n'
            sets = [Attached(ground.publish({"p.rego": rule}))]
        yield ground.trial(sets=sets, point=point)

    return make
