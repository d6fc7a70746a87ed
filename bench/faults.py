"""Policy under faults: whatever is broken, nothing is an allow; without the fault every answer is as it should be."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from fault_ground import Case, Ground, cases
from fault_kinds import Kind
from fault_table import KINDS
from figures import Figure, seconds

from mandamus.policy.model import Outcome, Verdict

INPUTS = 400
THREADS = 3
_SHOWN = 10


@dataclass
class Tally:
    """What came of the cells: ``wrong`` tells of the first that are not as they should be."""

    cells: int = 0
    kinds: int = 0
    allows: int = 0
    untold: int = 0
    twins: int = 0
    allowed: int = 0
    right: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, kind: Kind, case: Case, faulty: Verdict, sound: Verdict) -> None:
        """One cell and its twin."""
        self.cells += 1
        if faulty.outcome is not Outcome.DENY:
            self.allows += 1
            self.wrong.append(f"{kind.name} x input {case.number}: {faulty.outcome.value}")
        elif kind.told and not faulty.error:
            self.untold += 1
            self.wrong.append(f"{kind.name} x input {case.number}: denied, but the verdict tells of no trouble")
        self.twins += 1
        self.allowed += case.expected is Outcome.ALLOW
        if (sound.outcome, sound.error) == (case.expected, None):
            self.right += 1
        else:
            self.wrong.append(f"twin of {kind.name} x input {case.number}: {sound.outcome.value} {sound.error}")

    def join(self, other: Tally) -> None:
        """Those of another kind, too."""
        for name in ("cells", "kinds", "allows", "untold", "twins", "allowed", "right"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.wrong += other.wrong

    def __str__(self) -> str:
        shown = "".join(f"\n  {line}" for line in self.wrong[:_SHOWN])
        return (
            f"{self.cells:,} cells over {self.kinds} faults: {self.allows} allows under a fault, "
            f"{self.right:,} of {self.twins:,} twins as they should be ({self.allowed:,} of them allows){shown}"
        )


def matrix(folder: Path, inputs: int = INPUTS, kinds: Sequence[Kind] = KINDS) -> Tally:
    """Every fault by so many inputs, each beside the same input without the fault."""
    made = cases(inputs)
    ground = Ground(folder)
    whole = Tally()
    try:
        with ThreadPoolExecutor(THREADS) as threads:
            for one in threads.map(lambda kind: row(ground, kind, made), kinds):
                whole.join(one)
    finally:
        ground.close()
    return whole


def row(ground: Ground, kind: Kind, made: Sequence[Case]) -> Tally:
    """One fault by all the inputs that it meets."""
    tally = Tally(kinds=1)
    with kind.make(ground, random.Random(kind.name)) as trial:
        for case in made[:: kind.every]:
            faulty = trial.faulty(case)
            tally.add(kind, case, faulty, trial.sound(case))
    return tally


def measure() -> Iterator[Figure]:
    """The whole matrix; what counts is that nothing is allowed and that every twin is right."""
    found: list[Tally] = []
    with tempfile.TemporaryDirectory() as folder:
        taken = seconds(lambda: found.append(matrix(Path(folder))))
    (tally,) = found
    print(tally, flush=True)
    yield Figure("cells of the fault matrix", tally.cells, "", 10_000, at_least=True, note=f"in {taken:.0f} s")
    yield Figure("allows under a fault", tally.allows, "", 0)
    share = tally.right / tally.twins * 100
    yield Figure("fault-free twins as they should be", share, "%", 100, at_least=True, note=f"{tally.twins:,} twins")
