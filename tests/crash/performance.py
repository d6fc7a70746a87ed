"""One play on one stage: a process is killed, others come back, and the stage is examined."""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import select
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import databases
import examine
import plays
from breaks import BREAKS
from examine import LOST, PARKED, Fault
from plays import Parked, Play, Stage
from points import Point, Points, killed_at
from receiver import serve

from mandamus.bootstrap.talk import talk
from mandamus.executors import marks
from mandamus.kernel.ids import RunId
from mandamus.store.database import no_hook

DEADLINE_S = 60.0
"""A child that takes longer hangs, which is a fault."""
ROUNDS_MAX = 8
ORPHANS_S = 10.0
_PR_SET_CHILD_SUBREAPER = 36

Body = Callable[[], None]


@dataclass(frozen=True)
class Kill:
    """When the first process of a play dies: at a ``point``, in an ``act``, or just ``after_s`` seconds.

    ``act`` is ``STEP.before`` or ``STEP.after``, then the act itself kills on that side of its effect, or ``STEP``,
    then the process dies ``after_s`` seconds after it has started that step's tool.
    """

    play: str
    who: str = ""
    """In the play of two processes: which one dies."""
    point: Point | None = None
    after_s: float | None = None
    act: str = ""
    again: int = 0
    """The number of the commit at which the process that comes back dies too; 0 for never."""

    def __str__(self) -> str:
        moments = [str(self.point)] if self.point else []
        moments += [f"in act {self.act}"] if self.act else []
        moments += [f"after {self.after_s} s"] if self.after_s is not None else []
        moments += [f"then commit {self.again}"] if self.again else []
        return f"{self.play}{f' ({self.who})' * bool(self.who)}: {', '.join(moments)}"

    def lay_trap(self, folder: Path) -> float | None:
        """Prepare what kills from within; gives the seconds after which to kill from outside."""
        if self.act and self.after_s is not None:
            (folder / f"late.{self.act}").write_text(str(self.after_s))
            return None
        if self.act:
            (folder / f"die.{self.act}").touch()
        return self.after_s


@dataclass
class Outcome:
    """What became of a kill: how many processes died as they should, whether at the point, and what was wrong."""

    kills: int = 0
    reached: bool = False
    parked: int = 0
    faults: list[Fault] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Ended:
    """How a child ended: ``done``, ``parked``, ``killed``, or ``failed`` with the end of what it said."""

    how: str
    text: str = ""
    parked: Parked | None = None


@dataclass(frozen=True)
class _Child:
    pid: int
    log: Path


class Performance:
    """One play on one stage, in a process of its own that takes in the orphans of its children."""

    def __init__(self, play: Play, folder: Path, opening: Path, *, server: str = "", broken: str = "") -> None:
        self.play = play
        self.broken = broken
        self.folder = folder
        self.settled: set[examine.Attempt] = set()
        self.faults: list[Fault] = []
        self.parked = 0
        self._heads: list[examine.Head] = []
        self._count = 0
        shutil.copytree(opening, folder)
        databases.copy(server, opening, folder)
        self._database = databases.url_of(server, folder)
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._receiver, self._url = serve(folder)

    def count(self, who: str = "") -> list[Point]:
        """Play to the end and list the points that were reached."""
        points = Points(self.folder / "killed")
        ended = self._first(points, who)
        if ended.how != "done":
            raise AssertionError(f"{self.play.name} cannot even be played: {ended.how}: {ended.text}")
        return [Point(**fields) for fields in json.loads((self.folder / "points").read_text())]

    def perform(self, kill: Kill) -> Outcome:
        """Kill, come back until the play has ended, and examine."""
        begun_s = time.monotonic()
        killed = self.folder / "killed"
        after_s = kill.lay_trap(self.folder)
        first = self._first(Points(killed, kill.point), kill.who, after_s)
        at = killed_at(killed)
        killed.unlink(missing_ok=True)
        outcome = Outcome(
            kills=first.how == "killed", reached=at == kill.point if kill.point else first.how == "killed"
        )
        if first.how == "failed":
            self.faults.append(Fault(LOST, f"the first process failed: {first.text}"))
        outcome.kills += self._come_back(kill.again, first)
        self.close()
        outcome.faults = [*self.faults, *self._examine()]
        outcome.parked = self.parked
        outcome.seconds = time.monotonic() - begun_s
        return outcome

    def close(self) -> None:
        """End the receiver; afterwards no process may be left. Harmless when repeated."""
        if self._receiver:
            os.kill(self._receiver, signal.SIGKILL)
            self._receiver = 0
        end_s = time.monotonic() + ORPHANS_S
        while time.monotonic() < end_s:
            try:
                if os.waitpid(-1, os.WNOHANG) == (0, 0):
                    time.sleep(0.005)
            except ChildProcessError:
                return
        self.faults.append(Fault(LOST, "a process that worked for the dead one is still there"))

    def open(self, kill: Kill | None) -> None:
        """Only play, or only die, so that the stage is the opening of another play."""
        if kill is None:
            self.count()
            return
        kill.lay_trap(self.folder)
        killed = self.folder / "killed"
        first = self._first(Points(killed, kill.point), kill.who)
        if first.how != "killed":
            raise AssertionError(f"{kill} did not happen: {first.how}: {first.text}")
        killed.unlink(missing_ok=True)

    def _first(self, points: Points, who: str, after_s: float | None = None) -> Ended:
        """The process that is to die, with the other one beside it where the play has two."""
        if not who:
            return self._wait(self._child(lambda: self.play.go(self._stage(points)), points), after_s)
        two: dict[str, Callable[[Stage], None]] = {"ada": plays.ada_together, "grace": plays.grace_together}
        go, other_go = two.pop(who), two.popitem()[1]
        victim = self._child(lambda: go(self._stage(points)), points)
        other = self._child(lambda: other_go(self._stage(None)), None)
        ended = self._wait(victim, after_s)
        (self.folder / "dead").touch()
        if ended.how != "done" and who == "grace":
            (self.folder / "told").touch()
        beside = self._wait(other)
        if beside.how not in {"done", "parked"}:
            self.faults.append(Fault(LOST, f"the other process: {beside.how}: {beside.text}"))
        return ended

    def _come_back(self, again: int, first: Ended) -> int:
        """Until the play has ended; gives how many more processes died."""
        kills = 0
        last = first
        for _ in range(ROUNDS_MAX):
            self._remember()
            if last.parked is not None:
                self._settle(last.parked)
            last = self._first(Points(self.folder / "killed", at_commit=again), "")
            again = 0
            kills += last.how == "killed"
            if last.how == "done":
                return kills
            if last.how == "failed":
                self.faults.append(Fault(LOST, f"who came back failed: {last.text}"))
                return kills
        self.faults.append(Fault(LOST, "it does not come to an end"))
        return kills

    def _settle(self, parked: Parked) -> None:
        """A human's part; and the question whether a human was needed."""
        for step, attempt in parked.steps:
            self.settled.add((parked.run, step, str(attempt)))
            self.parked += 1
            if self._could_be_known(parked.run, step, attempt):
                self.faults.append(Fault(PARKED, f"{step}, attempt {attempt}"))
        ended = self._wait(self._child(lambda: plays.settle_by_ledger(self._stage(None), parked), None))
        if ended.how != "done":
            self.faults.append(Fault(LOST, f"who settled: {ended.how}: {ended.text}"))

    def _could_be_known(self, run: RunId, step: str, attempt: int) -> bool:
        """Whether a probe could tell what became of it: only of an act that was under way it may not know."""
        acts = self.folder / "acts"
        lines = acts.read_text().splitlines() if acts.exists() else []
        under_way = f"begun {run} {step}.{attempt}" in lines and f"ended {run} {step}.{attempt}" not in lines
        box = self.folder / "home" / "work" / run / f"{step}.{attempt}" / "box"
        answer = box / "answer"
        answered = answer.exists() and json.loads(answer.read_bytes()).get("status") is not None
        unsent = step == "tell" and not (box / "sent").exists()
        return not under_way or step in examine.CONTAINED or answered or unsent

    def _remember(self) -> None:
        """What must hold right now, and what must still hold at the end."""
        self.faults += examine.standing(self.folder, self._database)
        found = examine.head(self.folder / "home")
        if found is not None:
            self._heads.append(found)

    def _examine(self) -> list[Fault]:
        try:
            ledger = plays.lines(self.folder)
            return examine.examine(self.folder, self._database, self.play.ends, ledger, self.settled, self._heads)
        except Exception:  # noqa: BLE001 - a stage that cannot even be read is lost
            return [Fault(LOST, f"the stage cannot be examined: {traceback.format_exc()}")]

    def _stage(self, points: Points | None) -> Stage:
        return Stage(self.folder, self._database, self._url, points.hook if points else no_hook)

    def _child(self, body: Body, points: Points | None) -> _Child:
        """Fork; nothing here has a thread."""
        self._count += 1
        log = self.folder / f"log.{self._count}"
        pid = os.fork()
        if pid == 0:
            self._be_child(log, body, points)
        return _Child(pid, log)

    def _wait(self, child: _Child, after_s: float | None = None) -> Ended:
        """Until the child has ended; after a time it is killed, as a plan or as a hang."""
        pid, log = child.pid, child.log
        fd = os.pidfd_open(pid)
        try:
            if select.select([fd], [], [], DEADLINE_S if after_s is None else after_s)[0]:
                return self._ended(os.waitpid(pid, 0)[1], log)
            if after_s is None:
                os.kill(pid, signal.SIGUSR1)
                time.sleep(0.5)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return Ended("killed") if after_s is not None else Ended("failed", f"it hangs: {log.read_text()[-6000:]}")
        finally:
            os.close(fd)

    def _ended(self, status: int, log: Path) -> Ended:
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            return Ended("done")
        if code == -signal.SIGKILL:
            return Ended("killed")
        if code == 3:
            run, steps = json.loads((self.folder / "parked").read_text())
            return Ended("parked", parked=Parked(run, tuple((step, attempt) for step, attempt in steps)))
        return Ended("failed", f"exit {code}: {log.read_text()[-3000:]}")

    def _be_child(self, log: Path, body: Body, points: Points | None) -> None:
        """Play a part to its end, in a process of its own that never returns."""
        folder = self.folder
        code = 1
        try:
            fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for standard in (1, 2):
                os.dup2(fd, standard)
            faulthandler.enable(sys.stderr)
            faulthandler.register(signal.SIGUSR1, sys.stderr, all_threads=True)
            talk(debug=True)
            if self.broken:
                BREAKS[self.broken]()
            _witness_acts(folder)
            if points is not None:
                (folder / "victim").write_text(str(os.getpid()))
                points.install()
            body()
            if points is not None:
                (folder / "points").write_text(json.dumps([vars(point) for point in points.seen]))
            code = 0
        except Parked as parked:
            (folder / "parked").write_text(json.dumps([parked.run, parked.steps]))
            code = 3
        except BaseException:  # noqa: BLE001 - it is told, and the process ends
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)


def _witness_acts(folder: Path) -> None:
    """Note when an act is under way, by when marks are made and not by what they say; and kill late, if asked to."""
    started, ended = marks.started, marks.ended

    def note(word: str, made: marks.Marks) -> str:
        attempt = made.folder.parent
        with (folder / "acts").open("a") as opened:
            opened.write(f"{word} {attempt.parent.name} {attempt.name}\n")
        return attempt.name.partition(".")[0]

    def noted_start(made: marks.Marks) -> None:
        late = folder / f"late.{note('begun', made)}"
        started(made)
        if late.exists():
            after_s = float(late.read_text())
            late.unlink()
            threading.Timer(after_s, os.kill, (os.getpid(), signal.SIGKILL)).start()

    def noted_end(made: marks.Marks, done: marks.Exit) -> None:
        ended(made, done)
        note("ended", made)

    marks.started = noted_start
    marks.ended = noted_end
