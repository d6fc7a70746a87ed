"""The record under tampering: every change is found, and a million clean entries raise no alarm."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path

import tamper_kinds as kinds
from figures import Figure
from tamper_ground import Ground
from tamper_pruned import TABLES as PRUNED_TABLES
from tiled import Tiled

from mandamus.audit.verify import verify_log

MUTATIONS = 1_000
CLEAN = 1_000_000
DRAWS_MAX = 60
"""Draws for one mutation: some change nothing, and some a constraint of the database refuses."""

Make = Callable[[Ground, random.Random], kinds.Hit]


@dataclass
class Tally:
    """What came of it; ``missed`` and ``apart`` count by kind."""

    mutations: int = 0
    detected: int = 0
    kinds: int = 0
    missed: Counter[str] = field(default_factory=Counter)
    apart: Counter[str] = field(default_factory=Counter)
    clean: int = 0
    alarms: int = 0

    def __str__(self) -> str:
        told = (
            f"{self.mutations:,} mutations over {self.kinds} kinds: {self.detected:,} detected, "
            f"{self.missed.total():,} missed; {self.clean:,} clean entries: {self.alarms} alarms"
        )
        told += "".join(f"\n  missed {count}: {kind}" for kind, count in self.missed.items())
        return told + "".join(f"\n  not to be seen, by design: {kind}: {seen}" for kind, seen in self.apart.items())


LOG_KINDS = (
    *product(("entries", "hashes", "checkpoint"), (*kinds.BYTES, "remove", "roll back")),
    *product(("entries", "hashes"), ("items: drop", "items: insert", "items: swap")),
)
"""What is done to which part of a log."""


def table() -> dict[str, Make]:
    """Every kind of mutation by its name."""
    made: dict[str, Make] = {}
    for log, make in (("log", _log), ("pruned log", _pruned_log)):
        made |= {f"{log}, {part}: {how}": partial(make, part, how) for part, how in LOG_KINDS}
    for name in kinds.PROVED:
        for how in kinds.ROWS:
            if (name, how) not in kinds.APART_ROWS:
                made[f"database, {name}: {how}"] = partial(_row, name, how)
    for how in (*kinds.BYTES, "remove", "another"):
        made[f"blob: {how}"] = partial(_blob, how)
    for how in (*kinds.BYTES, "files: drop", "files: insert", "files: swap", "files: roll back"):
        made[f"bundle: {how}"] = partial(_bundle, how)
    for name, how in product(PRUNED_TABLES, kinds.ROWS):
        made[f"pruned database, {name}: {how}"] = partial(_pruned_row, name, how)
    made["pruned log, entries: forge"] = lambda ground, draw: ground.pruned.forged(draw)
    made["pruned log, entries: prune more"] = lambda ground, _draw: ground.pruned.unsaid()
    return made | {"log: roll back": _whole_log, "database: roll back": _whole_database}


def _log(part: str, how: str, ground: Ground, draw: random.Random) -> kinds.Hit:
    return kinds.log_file(ground, part, how, draw)


def _row(name: str, how: str, ground: Ground, draw: random.Random) -> kinds.Hit:
    return kinds.row(ground, name, how, draw)


def _pruned_log(part: str, how: str, ground: Ground, draw: random.Random) -> kinds.Hit:
    return kinds.log_file(ground.pruned, part, how, draw)


def _pruned_row(name: str, how: str, ground: Ground, draw: random.Random) -> kinds.Hit:
    return kinds.row(ground.pruned, name, how, draw)


def _blob(how: str, ground: Ground, draw: random.Random) -> kinds.Hit:
    return kinds.blob(ground, how, draw)


def _bundle(how: str, ground: Ground, draw: random.Random) -> kinds.Hit:
    return kinds.bundle(ground, how, draw)


def _whole_log(ground: Ground, _draw: random.Random) -> bool:
    return _with_old_log(ground, ground.log_wrong)


def _whole_database(ground: Ground, _draw: random.Random) -> bool:
    return ground.old_database_wrong()


def _with_old_log(ground: Ground, found: Callable[[], bool]) -> bool:
    aside = ground.folder / "aside"
    ground.log.rename(aside)
    try:
        shutil.copytree(ground.old_log, ground.log)
        return found()
    finally:
        shutil.rmtree(ground.log)
        aside.rename(ground.log)


def mutate(folder: Path, mutations: int = MUTATIONS, seed: int = 1) -> Tally:
    """So many mutations, in turn of every kind, each of a sound home and undone."""
    tally, draw = Tally(), random.Random(seed)
    ground = Ground(folder)
    try:
        tally.alarms += _alarms(ground)
        made = table()
        possible = dict.fromkeys(made)
        while tally.mutations < mutations and possible:
            for kind in list(possible):
                if tally.mutations == mutations:
                    break
                hit = _one(ground, made[kind], draw)
                if hit is None:
                    del possible[kind]
                    continue
                tally.mutations += 1
                tally.detected += hit
                tally.missed.update([] if hit else [kind])
                possible[kind] = None
        tally.kinds = len(possible)
        tally.apart.update(_apart(ground, draw))
        tally.alarms += _alarms(ground)
    finally:
        ground.close()
    return tally


def _one(ground: Ground, make: Make, draw: random.Random) -> kinds.Hit:
    for _ in range(DRAWS_MAX):
        hit = make(ground, draw)
        if hit is not None:
            return hit
    return None


def _alarms(ground: Ground) -> int:
    """What is said of the sound home."""
    with ground.changed(lambda _conn: None) as conn:
        rows = ground.rows_wrong(conn)
    with ground.pruned.changed(lambda _conn: None) as conn:
        rows += ground.pruned.rows_wrong(conn)
    rows += ground.pruned.log_wrong()
    blobs = sum(ground.blob_wrong(digest) for digest, _ in ground.blobs())
    return rows + ground.log_wrong() + ground.bundle_wrong(ground.bundle) + blobs


def _apart(ground: Ground, draw: random.Random) -> Iterator[str]:
    """Changes that a copy alone cannot show, and whether they were seen after all."""
    for name, how in sorted(kinds.APART_ROWS):
        hit = kinds.row(ground, name, how, draw)
        yield f"{name}: {how}, which is what an erasure does: {'seen' if hit else 'not seen'}"
    hit = _with_old_log(ground, ground.log_wrong_alone)
    yield f"the log set back as a whole, without a kept checkpoint, witness or anchor: {'seen' if hit else 'not seen'}"


def clean(folder: Path, entries: int) -> int:
    """How many problems a log of so many sound entries has."""
    log = Tiled(folder)
    log.write(entries)
    log.sign(entries)
    report = verify_log(log.folder, log.vkey, procs=os.cpu_count() or 1)
    return len(report.problems) + (report.size != entries)


def run(folder: Path, mutations: int = MUTATIONS, entries: int = CLEAN) -> Tally:
    """The whole matrix."""
    tally = mutate(folder / "home", mutations)
    tally.clean, found = entries, clean(folder / "clean", entries)
    tally.alarms += found
    return tally


def measure() -> Iterator[Figure]:
    """What counts is that nothing is missed and that there is no false alarm."""
    with tempfile.TemporaryDirectory() as folder:
        tally = run(Path(folder))
    print(tally, flush=True)
    yield Figure("mutations of the record missed", tally.missed.total(), "", 0, note=f"of {tally.mutations:,}")
    yield Figure("false alarms", tally.alarms, "", 0, note=f"on {tally.clean:,} clean entries")
