"""The generic crash test: kill -9 at every commit of every play, come back, and look whether anything is lost or twice.

``python tests/crash/crash.py FOLDER``; ``--help`` says what can be left out. The last line it prints is the result.

1. Each play is played to its end with a hook that only counts: that lists the points at which a process can die.
2. For each point a fresh copy of the play's opening stage is played by a child process that dies there (SIGKILL).
3. Other children come back, as often as it takes, with nothing but the commands people would give: ask unless it was
   asked, approve unless it was approved, settle what only a human can know by looking at what happened outside.
4. The stage is examined: see ``examine``.

Beyond the commits of the first process, kills fall on those of the one that comes back, on changes to files, in the
middle of acts, and at random moments.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import re
import shutil
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import databases
import plays
from breaks import BREAKS
from examine import LOST, PARKED, REPEATED, UNVERIFIED, Fault
from performance import Kill, Outcome, Performance
from plays import PLAYS, Play
from points import AFTER, BEFORE, Point

import mandamus
from mandamus.bootstrap.tools import load_executors
from mandamus.settings import Settings

TRIES = 6
"""How often a point that threads have moved is aimed at."""
TIMED = frozenset({"audit.integrate", "output", "dbos _delete_workflows"})
"""What a thread does every so often: a busier machine, on which a play takes longer, sees more of them. One that never
comes again in all tries is no point of the play; any other label must be reached."""
AGAIN_EVERY = 5
"""Of how many kills at a commit one is followed by a kill of the process that comes back."""
FILE_KILLS = 40
"""Kills at changes to files, beyond one at each place in the code that makes one."""
RANDOM_KILLS = 40
PROGRESS_S = 5.0
SEED = 7

_TRANSACTION = re.compile(r'\.begin\(\s*"([^"]+)"')

WHO = {"together": ("ada", "grace")}
ACTS = {
    "one": [f"one.{when}" for when in (BEFORE, AFTER)],
    "whole": [f"{step}.{when}" for step in ("gate", "flaky", "left", "right", "tell") for when in (BEFORE, AFTER)],
    "world": [f"world.{when}" for when in (BEFORE, AFTER)],
    "together": [f"{step}.{when}" for step in ("gate", "slow", "last") for when in (BEFORE, AFTER)],
}
LATE = (("whole", "tell"), ("whole", "left"), ("terraform", "stack"), ("world", "world"))
LATE_S = (0.0, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5)
"""Seconds from the start of a step's tool; later than its end counts too."""
_CONFIGURE = Play("configure", lambda stage: stage.configure(), {}, "nothing")
_GATE = Play("gate", lambda stage: stage.ask("ada", "asked", "gate"), {})
_LATE = Play("late", lambda stage: stage.ask("ada", "asked late", "late"), {})
_ONE = PLAYS["one"]
OPENINGS: dict[str, tuple[Play, Kill | None]] = {
    "configured": (_CONFIGURE, None),
    "asked": (_GATE, None),
    "asked late": (_LATE, None),
    "promised": (_ONE, Kill("one", point=Point("effect.intend", 1, AFTER))),
    "ended": (_ONE, Kill("one", point=Point("effect.finish", 1, BEFORE))),
    "half": (_ONE, Kill("one", act="one.after")),
}
"""The play that leads to an opening stage, and how its process dies, if it does."""

Task = tuple[Play, Callable[[Performance], Any]]


class Theatre:
    """The folder of all stages. Forks a process for each performance, a few at a time, and never has a thread."""

    def __init__(self, folder: Path, jobs: int, *, server: str, broken: str) -> None:
        self._folder = folder
        self._jobs = jobs
        self._server = server
        self._broken = broken
        self._made = 0
        plays.write_project(folder / "openings" / "nothing" / "project")
        # Executors are found by name, at first use: load them once, not in every process that is forked.
        executors = load_executors(Settings(), {"PATH": os.environ["PATH"]})
        for name in ("script", "http", "terraform"):
            executors.get(name)

    def count(self, play: Play, who: str, times: int) -> list[Point]:
        """The points that a play has each time it is counted."""
        counts = self._run_all([(play, lambda performance: performance.count(who))] * times)
        return sorted(set.intersection(*({Point(**point) for point in points} for points in counts)))

    def perform(self, kills: Sequence[Kill]) -> Iterator[tuple[Kill, Outcome]]:
        """Every kill, in the order in which they end."""
        tasks: list[Task] = [
            (PLAYS[kill.play], lambda performance, kill=kill: performance.perform(kill)) for kill in kills
        ]
        for index, fields in self._run(tasks):
            faults = [Fault(**fault) for fault in fields.pop("faults")]
            yield kills[index], Outcome(**fields, faults=faults)

    def _opening(self, name: str) -> Path:
        """The stage that plays start from, made when first asked for; some are those of processes that died."""
        stage = self._folder / "openings" / name
        if not stage.exists():
            play, kill = OPENINGS[name]
            self._run_all([(play, lambda performance: performance.open(kill))], keep=stage)
        return stage

    def _run_all(self, tasks: Sequence[Task], keep: Path | None = None) -> list[Any]:
        return [found for _, found in self._run(tasks, keep)]

    def _run(self, tasks: Sequence[Task], keep: Path | None = None) -> Iterator[tuple[int, Any]]:
        """Give each task's place and what it gave; a stage without faults is removed, or kept as an opening."""
        for play, _ in tasks:
            self._opening(play.opening)
        waiting = list(enumerate(tasks))[::-1]
        running: dict[int, tuple[int, Path]] = {}
        while waiting or running:
            while waiting and len(running) < self._jobs:
                index, (play, task) = waiting.pop()
                self._made += 1
                stage = self._folder / f"stage.{self._made}"
                running[self._fork(play, task, stage)] = (index, stage)
            pid, _ = os.wait()
            index, stage = running.pop(pid)
            result = stage / "result"
            if not result.exists():
                raise AssertionError(f"a performance failed: {(stage / 'fault').read_text()}")
            found = json.loads(result.read_text())
            result.unlink()
            if keep is not None:
                stage.rename(keep)
                databases.rename(self._server, stage, keep)
            elif isinstance(found, list) or not found["faults"]:
                shutil.rmtree(stage)
                databases.drop(self._server, stage)
            yield index, found

    def _fork(self, play: Play, task: Callable[[Performance], Any], stage: Path) -> int:
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            return pid
        try:
            opening = self._opening(play.opening)
            performance = Performance(play, stage, opening, server=self._server, broken=self._broken)
            try:
                found = task(performance)
            finally:
                performance.close()
            (stage / "result").write_text(json.dumps(found, default=dataclasses.asdict))
        except BaseException:  # noqa: BLE001 - it is told, and the process ends
            (stage / "fault").write_text(traceback.format_exc())
        finally:
            os._exit(0)


def kills_of(theatre: Theatre, names: Sequence[str], times: int) -> tuple[list[Kill], list[Kill]]:
    """The kills at every commit point of the named plays, and all the others."""
    chance = random.Random(SEED)
    commits: list[Kill] = []
    files: list[Kill] = []
    for name in names:
        for who in WHO.get(name, ("",)):
            points = theatre.count(PLAYS[name], who, times)
            here = [Kill(name, who, point) for point in points if point.is_commit]
            commits += here
            files += [Kill(name, who, point) for point in points if not point.is_commit]
            say(f"{name} {who}: {len(here)} commit points, {len(points) - len(here)} changes to files")
    places: dict[str, Kill] = {}
    for kill in files:
        places.setdefault(str(kill.point).rpartition(" ")[0], kill)
    more = [
        *(dataclasses.replace(kill, again=1 + number % 40) for number, kill in enumerate(commits[::AGAIN_EVERY])),
        *places.values(),
        *chance.sample(files, min(FILE_KILLS, len(files))),
        *(Kill(name, WHO.get(name, ("",))[0], act=act) for name in names for act in ACTS.get(name, ())),
        *(Kill(name, act=step, after_s=s) for name, step in LATE if name in names for s in LATE_S),
    ]
    if "whole" in names:
        moments_s = [round(chance.uniform(0.02, 1.2), 3) for _ in range(RANDOM_KILLS)]
        more += [Kill("whole", after_s=s, again=number % 4 * 9) for number, s in enumerate(moments_s)]
    return commits, more


def uncovered(covered: set[Kill]) -> list[str]:
    """The transactions of the code at which nobody was killed."""
    sources = Path(mandamus.__file__).parent.rglob("*.py")
    labels = {label for source in sources for label in _TRANSACTION.findall(source.read_text())}
    return sorted(labels - {kill.point.label for kill in covered if kill.point is not None})


class Tally:
    """What all kills add up to."""

    def __init__(self) -> None:
        self.kills = 0
        self.parked = 0
        self.covered: set[Kill] = set()
        self.faults: Counter[str] = Counter()
        self._begun_s = self._said_s = time.monotonic()

    def add(self, kill: Kill, outcome: Outcome, left: int) -> None:
        """Count one, tell its faults, and now and then how far we are."""
        self.kills += outcome.kills
        self.parked += outcome.parked
        if outcome.reached:
            self.covered.add(kill)
        for fault in outcome.faults:
            self.faults[fault.kind] += 1
            say(f"FAULT {kill}: {fault.kind}: {fault.text}")
        if time.monotonic() - self._said_s > PROGRESS_S:
            self._said_s = time.monotonic()
            took_s = self._said_s - self._begun_s
            say(f"{self.kills} kills in {took_s:.0f} s, {left} to go, {sum(self.faults.values())} faults")

    def line(self, commits: Sequence[Kill]) -> str:
        """The result."""
        covered = len(self.covered & set(commits))
        return (
            f"{self.kills} kills over {covered} of {len(commits)} commit points, {self.faults[LOST]} lost, "
            f"{self.faults[REPEATED]} repeated, {self.faults[UNVERIFIED]} unverified, "
            f"{self.faults[PARKED]} parked that a probe could settle"
        )


def main() -> int:
    """Run it; the exit code is 0 when every point was covered and nothing is wrong."""
    options = _options()
    theatre = Theatre(options.folder, options.jobs, server=options.postgres, broken=options.broken)
    commits, more = kills_of(theatre, options.play or list(PLAYS), options.counts)
    if options.only:
        commits, more = ([kill for kill in kills if options.only in str(kill)] for kills in (commits, more))
    if options.sample:
        commits = random.Random(SEED).sample(commits, options.sample)
        more = random.Random(SEED).sample(more, options.sample // 2)
    tally = Tally()
    kills = [*commits, *more]
    for _ in range(TRIES):
        for number, (kill, outcome) in enumerate(theatre.perform(kills)):
            tally.add(kill, outcome, len(kills) - number - 1)
        kills = [kill for kill in commits if kill not in tally.covered]
    gone = [kill for kill in kills if kill.point is not None and kill.point.label in TIMED]
    for kill in gone:
        say(f"came only while it was counted: {kill}")
    kills, commits = ([kill for kill in found if kill not in gone] for found in (kills, commits))
    missing = [] if options.play or options.only or options.sample else uncovered(tally.covered)
    for what in (*kills, *missing):
        say(f"NOT REACHED {what}")
    say(f"{tally.parked} effects were under way when their process died, and a human settled them")
    sys.stdout.write(f"{tally.line(commits)}\n")
    return 1 if kills or missing or tally.faults else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, help="where the stages are; those with faults are kept")
    parser.add_argument("--play", action="append", choices=list(PLAYS), help="only this play; may be given again")
    parser.add_argument("--only", default="", help="only kills whose name holds this text")
    parser.add_argument("--sample", type=int, default=0, help="only so many kills at commits, half as many others")
    parser.add_argument("--counts", type=int, default=3, help="how often a play is counted; threads move a few points")
    parser.add_argument("--postgres", default="", help="the URL of a Postgres server; without one, SQLite")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many plays at once")
    parser.add_argument("--break", dest="broken", default="", choices=["", *BREAKS], help="break the house first")
    return parser.parse_args()


def say(text: str) -> None:
    """Progress; only the result goes to standard output."""
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
