"""What faults happen on: a policy service with its parts, sets that are sound, and inputs whose answer is known."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.bootstrap.tools import SystemClock
from mandamus.kernel.access import OWNER, Subject
from mandamus.kernel.attachment import Attached
from mandamus.kernel.ids import Digest, Ids
from mandamus.policy.engine import Evaluator
from mandamus.policy.model import Options, Outcome, Point, Verdict
from mandamus.policy.pool import Limits, WorkerPool, worker_command
from mandamus.policy.service import Policy
from mandamus.store.blobs import Blobs
from mandamus.store.database import Database, open_sqlite
from mandamus.store.keys import Keys
from mandamus.store.migrate import migrate

POINTS = (Point.TRIGGER, Point.STEP, Point.PLAN, Point.APPLY)
NOW_US = 1_767_225_600_000_000
WHO = Subject("ada", "os-user", frozenset({"platform"}), OWNER)

SOUND = """package mandamus.POINT

deny contains {"msg": sprintf("%s is too large", [change.address]), "address": change.address} if {
	some change in input.run.inputs.changes
	change.size > 100
}

deny contains "nothing is changed in a freeze" if input.run.inputs.frozen

require_approval contains {"group": "platform", "count": 2, "msg": "deletes are looked at"} if {
	some change in input.run.inputs.changes
	change.action == "delete"
}
"""
"""Asked at every point of `POINTS`; `Case.expected` says the same in Python."""


def everywhere(text: str) -> dict[str, str]:
    """A module per point; ``POINT`` stands for its name."""
    return {f"{point.value}.rego": text.replace("POINT", point.value) for point in POINTS}


@dataclass(frozen=True)
class Case:
    """One input, the point it is judged at, and what `SOUND` says of it."""

    number: int
    point: Point
    document: Mapping[str, Any]

    @property
    def expected(self) -> Outcome:
        """What a sound set on a sound engine must say."""
        given = self.document["run"]["inputs"]
        changes = given["changes"]
        # To Rego null is a value like any other, and only false is not true.
        if given.get("frozen", False) is not False or any(change["size"] > 100 for change in changes):
            return Outcome.DENY
        deletes = any(change["action"] == "delete" for change in changes)
        return Outcome.NEEDS_APPROVAL if deletes else Outcome.ALLOW


def cases(count: int, seed: int = 1) -> list[Case]:
    """So many inputs, of which three in four are to be allowed."""
    draw = random.Random(seed)
    return [Case(number, draw.choice(POINTS), _document(draw, number)) for number in range(count)]


def _document(draw: random.Random, number: int) -> dict[str, Any]:
    changes = [
        {
            "address": f"module.m{draw.randrange(9)}.thing[{place}]",
            "action": "create" if draw.random() < 0.97 else "delete",
            "size": draw.randrange(100) if draw.random() < 0.97 else 100 + draw.randrange(1, 1 << 70),
            "tags": {f"t{tag}": f"v{draw.randrange(50)}" for tag in range(draw.randrange(4))},
        }
        for place in range(draw.randrange(8))
    ]
    inputs: dict[str, Any] = {"changes": changes, "noise": _noise(draw, 5)}
    if draw.random() < 0.2:
        inputs["frozen"] = draw.choice([True, False, None])
    return {
        "native": {"terraform": {"format_version": "1.2", "resource_changes": []}},
        "run": {"id": f"run_{number}", "workflow": "deploy", "inputs": inputs},
        "environment": {"name": "prod", "vars": {}},
    }


def _noise(draw: random.Random, depth: int) -> Any:
    """Any JSON."""
    match draw.randrange(8 if depth else 6):
        case 0:
            return draw.choice([None, True, False])
        case 1:
            return draw.randrange(-(1 << 80), 1 << 80)
        case 2:
            return Decimal(draw.randrange(10**9)).scaleb(-draw.randrange(12))
        case 6:
            return [_noise(draw, depth - 1) for _ in range(draw.randrange(5))]
        case 7:
            return {_text(draw): _noise(draw, depth - 1) for _ in range(draw.randrange(5))}
        case _:
            return _text(draw)


def _text(draw: random.Random) -> str:
    signs = 'abc"\\/\n\t\0\u202e\u2028é漢🙂{}[]:,'
    return "".join(draw.choice(signs) for _ in range(draw.randrange(12)))


def _same(document: Mapping[str, Any]) -> Any:
    return document


@dataclass(frozen=True)
class Trial:
    """How a fault is met: by which service, with which sets, on what document, and what happens meanwhile.

    ``twin`` is the service, and ``sets_twin`` are the sets, without the fault. ``point`` is where it is asked when it
    is not the point of the case.
    """

    policy: Policy
    sets: Sequence[Attached]
    twin: Policy
    sets_twin: Sequence[Attached]
    alter: Callable[[Mapping[str, Any]], Any] = _same
    strike: Callable[[], AbstractContextManager[None]] = nullcontext
    before: Callable[[], Policy] | None = None
    point: Point | None = None

    def faulty(self, case: Case) -> Verdict:
        """The decision under the fault."""
        policy = self.before() if self.before else self.policy
        with self.strike():
            return _decide(policy, self._of(case), self.alter(case.document), self.sets)

    def sound(self, case: Case) -> Verdict:
        """The decision about the same input without it."""
        return _decide(self.twin, self._of(case), case.document, self.sets_twin)

    def _of(self, case: Case) -> Point:
        return self.point or case.point


def _decide(policy: Policy, point: Point, document: Any, sets: Sequence[Attached]) -> Verdict:
    return policy.decide(point, document, sets, protected=True, now_us=NOW_US, environment="prod")


@dataclass
class Ground:
    """A home's parts; ``pool`` is the sound engine, ``policy`` the service on it, ``calm`` a sound set."""

    folder: Path
    limits: Limits = field(default_factory=lambda: Limits(workers_max=6))

    def __post_init__(self) -> None:
        self._clock = SystemClock()
        self._db = Database(open_sqlite(self.folder / "mandamus.db"))
        migrate(self._db.engine)
        self.blobs = Blobs(self.folder / "blobs", Keys(self.folder / "keys", os.urandom), os.urandom)
        signer = Signer("log.example.com/faults", b"\x07" * 32)
        self._audit = Audit(self._db, self.folder / "log", signer, self._clock, os.urandom)
        self.pool = WorkerPool(self._clock, self.limits, worker_command(self.limits))
        self.policy = self.on(self.pool)
        self._names = iter(range(10**6))
        self.calm = Attached(self.publish(everywhere(SOUND)), "calm")

    def close(self) -> None:
        """End the sound engine."""
        self.pool.close()
        self._db.close()

    def on(self, evaluator: Evaluator) -> Policy:
        """A service on another evaluator; published sets are there."""
        ids = Ids(self._clock, os.urandom)
        return Policy(self._db, self.blobs, self._audit, evaluator, self._clock, ids)

    def publish(self, files: Mapping[str, str], options: Options | None = None) -> Digest:
        """Write files, check and publish them."""
        directory = self.folder / f"policy{next(self._names)}"
        directory.mkdir()
        for name, text in files.items():
            (directory / name).write_text(text)
        tree = self.policy.read(directory, options)
        with self._db.begin("publish") as tx:
            return self.policy.publish(tx, WHO, tree).digest

    @contextmanager
    def opened(self, limits: Limits, command: Callable[[], Sequence[str]] | None = None) -> Iterator[WorkerPool]:
        """A pool of its own, of real workers or of what the command starts."""
        pool = WorkerPool(self._clock, limits, command or worker_command(limits))
        try:
            yield pool
        finally:
            pool.close()

    def trial(self, policy: Policy | None = None, *sets: Attached | Digest, **others: Any) -> Trial:
        """The calm set judged by another service, or other sets by the sound one; the twin is sound in both."""
        attached = [each if isinstance(each, Attached) else Attached(each) for each in sets] or [self.calm]
        made = Trial(policy or self.policy, attached, self.policy, [self.calm])
        return replace(made, **others)


def stand_in(script: str, *, when: str = "asked") -> Callable[[], Sequence[str]]:
    """Starts what speaks as a worker does until it is ``asked``, ``loading`` or ``starting``, and then runs the script.

    The script finds the request's ``seq`` and ``op``, and in ``OK`` the reply that would be an allow.
    """
    parts = dict.fromkeys(("starting", "loading", "asked"), "") | {when: script}
    source = _STAND_IN.replace("STARTING", parts["starting"])
    for name in ("loading", "asked"):
        source = source.replace(name.upper(), parts[name].replace("\n", "\n        "))
    return lambda: [sys.executable, "-ISc", source]


_STAND_IN = """
import os, struct, sys, time
H = struct.Struct("<4sIIBB")
def read(n):
    data = b""
    while len(data) < n:
        part = os.read(0, n - len(data))
        if not part:
            os._exit(0)
        data += part
    return data
def send(seq, op, payload, magic=b"MPW1", size=None):
    data = H.pack(magic, seq, len(payload) if size is None else size, op, 0) + payload
    while data:
        data = data[os.write(1, data):]
def rows(value):
    return ('{"result":[{"expressions":[{"value":' + value + '}]}]}').encode()
def die(signal=9):
    os.kill(os.getpid(), signal)
    time.sleep(9)  # a signal may be delivered late; nothing below may run meanwhile
STARTING
NAMES = [(p, r) for p in ("apply", "plan", "step", "trigger") for r in ("deny", "require_approval")]
send(0, 0, b"isolated")
while True:
    _, seq, size, op, slot = H.unpack(read(H.size))
    data = read(size)
    if op == 1:
        LOADING
        send(seq, op, b'{"result":true}')
    else:
        point = next(p for p in ("trigger", "step", "plan", "apply") if f'"point":"{p}"'.encode() in data)
        given = (f'"mandamus.{p}.{r}":' + ('[["set",[]]]' if p == point else "[]") for p, r in NAMES)
        OK = rows("{" + ",".join(given) + "}")
        ASKED
"""
