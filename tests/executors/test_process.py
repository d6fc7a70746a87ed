from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mandamus.executors import marks
from mandamus.executors.model import Cancel, Command, Exit, Marks, SandboxPolicy
from mandamus.executors.process import build_runner
from mandamus.kernel.errors import Code, MandamusError

ENV = {"PATH": "/usr/bin:/bin"}
MODES = ("required", "none")
LONG_S = 60.0
"""How long a busy machine may take; what is started here lasts 300 s when nothing ends it."""
SECRET = "correct-horse-battery-staple"

# Forks twice, leaves its session, and shrugs off every signal that can be shrugged off.
STUBBORN = """
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for fd in range(3):
            os.close(fd)
        open(sys.argv[1], "w").write("here")
        time.sleep(300)
    os._exit(0)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
os.write(1, b"parent ends\\n")
if len(sys.argv) > 2:
    # Python runs a handler between two calls: one that is due right before a long wait would be late by all of it.
    for _ in range(6000):
        time.sleep(0.05)
"""


UNTIL_GO = "while [ ! -e go ]; do sleep 0.02; done"


def shell(text: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", text)


def python(text: str, *arguments: str) -> tuple[str, ...]:
    return ("/usr/bin/python3", "-c", text, *arguments)


def processes_with(token: str) -> list[int]:
    """Pids of this machine whose command line holds the token."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if token.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def running(*argv: str) -> bool:
    """Whether a process of this machine has exactly this command line; who starts or holds it has another."""
    line = b"".join(word.encode() + b"\0" for word in argv)
    for pid in processes_with(argv[-1]):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes() == line:
                return True
    return False


def soon(holds: Callable[[], bool]) -> bool:
    """Whether it comes to hold."""
    end_s = time.monotonic() + LONG_S
    while not holds():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.02)
    return True


def gone(token: str) -> bool:
    return soon(lambda: not processes_with(token))


def test_exit_codes_and_output_are_those_of_the_command(run, mode):
    """The code is the command's own or 128 + signal; output and error arrive in the order they were written."""
    for text, code in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)]:
        _, done = run(*shell(text), mode=mode)
        assert (done.code, done.timed_out, done.cancelled) == (code, False, False)
        assert done.ok == (code == 0)
    assert done.signal == 15
    task, done = run(*shell("echo one; echo two >&2; echo three; cat"), stdin=b"four\n", mode=mode)
    assert task.output.text == "one\ntwo\nthree\nfour\n"
    assert done.tail == task.output.text


def test_the_environment_is_exactly_what_was_given(run, mode, monkeypatch):
    """Nothing is added to it and nothing of ours is in it."""
    monkeypatch.setenv("PLANTED", "canary")
    task, _ = run("/usr/bin/env", env={"A": "1", "B": "two words"}, mode=mode)
    lines = {line for line in task.output.text.splitlines() if not line.startswith(("PWD=", "_=", "SHLVL="))}
    assert lines == {"A=1", "B=two words", "PATH=/usr/bin:/bin"}


def test_nothing_survives_the_end_of_its_command(run, mode, tmp_path):
    """What forks twice, leaves its session and ignores signals dies with the step that started it."""
    task, done = run(*python(STUBBORN, str(tmp_path / "work" / "box" / "stubborn-a")), mode=mode)
    assert done.code == 0
    assert (task.box / "stubborn-a").read_text() == "here"
    assert not processes_with(str(task.box))


def test_nothing_survives_a_cancel(leaping, make_task, mode):
    """A cancel interrupts, waits out the grace, interrupts again, and then ends every process of the tree."""
    cancel, clock = Cancel(), leaping(b"told")
    runner = build_runner(clock, dict(os.environ), Path(sys.executable))
    task = make_task(sandbox=SandboxPolicy(mode=mode), cancel=cancel, output=clock, deadline_s=10_000)
    here = task.box / "stubborn-b"
    # Not printed: a buffered stream may be in use when the handler comes.
    hears = "import os, signal; signal.signal(signal.SIGINT, lambda *_: os.write(1, b'told\\n'))\n"
    command = Command(python(hears + STUBBORN, str(here), "stay"), task.box, ENV, b"", (task.box,))
    results: list[Exit] = []
    thread = threading.Thread(target=lambda: results.append(runner.run(task, command, grace_s=999)), daemon=True)
    thread.start()
    assert soon(lambda: "parent ends" in task.output.text)
    cancel.set()
    thread.join(LONG_S)
    assert results[0].cancelled
    assert not results[0].ok
    assert not results[0].timed_out
    assert here.exists()
    assert task.output.text.count("told") == 2
    assert not processes_with(str(task.box))


def test_a_tool_that_stops_when_told_is_not_killed(runner, make_task, mode):
    """After the first interrupt the tool has the whole grace to finish; its own exit code is kept."""
    cancel = Cancel()
    task = make_task(sandbox=SandboxPolicy(mode=mode), cancel=cancel)
    text = "trap 'echo saving; sleep 0.3; echo saved; exit 4' INT; echo up; while :; do sleep 0.05; done"
    command = Command(shell(text), task.box, ENV, b"", (task.box,))
    results: list[Exit] = []
    thread = threading.Thread(target=lambda: results.append(runner.run(task, command, grace_s=LONG_S)))
    thread.start()
    assert soon(lambda: "up" in task.output.text)
    cancel.set()
    thread.join(LONG_S - 1)  # less than the grace
    assert results[0].code == 4
    assert results[0].cancelled
    assert task.output.text == "up\nsaving\nsaved\n"


def test_a_deadline_ends_the_step_and_says_so(run, leaping, make_task, mode):
    """Past the deadline the same escalation runs; the end is told as a time-out, not as a cancel."""
    clock = leaping(b"up")
    runner = build_runner(clock, dict(os.environ), Path(sys.executable))
    task = make_task(sandbox=SandboxPolicy(mode=mode), output=clock, deadline_s=10_000)
    command = Command(shell("trap '' INT TERM; echo up; sleep 300"), task.box, ENV, b"", (task.box,))
    done = runner.run(task, command, deadline_s=999, grace_s=0.2)
    assert done.timed_out
    assert not done.cancelled
    assert done.code == 137
    assert 999.4 < done.duration_s < 1000 + LONG_S
    _, done = run(*shell("sleep 300"), mode=mode, deadline_s=0.3, options={"grace_s": 0.2})
    assert done.timed_out
    assert done.duration_s < LONG_S


def test_cancelled_before_it_began_nothing_is_started(run, tmp_path, mode):
    """A cancel that came first starts no process and leaves no mark."""
    cancel = Cancel()
    cancel.set()
    mark = Marks(tmp_path, "apply")
    _, done = run("/bin/sh", "-c", ": > started", mode=mode, cancel=cancel, options={"marks": mark})
    assert done.cancelled
    assert not (tmp_path / "work" / "box" / "started").exists()
    assert not marks.read(mark).started


def test_a_cancel_right_at_the_start_leaves_nothing(runner, make_task, mode):
    """Whenever the cancel falls, from before the fork to after the end, the run returns soon and nothing is left."""
    for step in range(12):
        cancel = Cancel()
        task = make_task(sandbox=SandboxPolicy(mode=mode), cancel=cancel)
        timer = threading.Timer(step * 0.004, cancel.set)
        timer.start()
        command = Command(("/bin/sleep", f"300.{os.getpid():07}"), task.box, ENV, b"", (task.box,))
        done = runner.run(task, command, grace_s=0.5)
        assert done.cancelled
        assert done.duration_s < LONG_S
        timer.join()
    assert gone(f"300.{os.getpid():07}")


def test_a_command_that_cannot_be_started_is_a_missing_tool(run, tmp_path, mode):
    """Not found, not executable, no program: the error names the command, and the mark of the start is taken back."""
    (tmp_path / "work" / "box").mkdir(parents=True)
    plain = tmp_path / "work" / "box" / "plain"
    plain.write_text("no program")
    for argv0 in ("no-such-tool-4711", "/no/such/path", str(plain), str(plain.parent)):
        mark = Marks(tmp_path, "apply")
        with pytest.raises(MandamusError) as error:
            run(argv0, mode=mode, options={"marks": mark})
        assert error.value.code is Code.TOOL_MISSING
        assert argv0 in error.value.message
        assert not marks.read(mark).started


def test_start_and_end_are_marked(run, tmp_path, mode):
    """After a run the marks tell its code and whether it was stopped."""
    mark = Marks(tmp_path, "apply")
    run(*shell("exit 3"), mode=mode, options={"marks": mark})
    assert marks.read(mark) == marks.Trace(started=True, code=3)
    run(*shell("sleep 60"), mode=mode, options={"marks": mark, "deadline_s": 0.2, "grace_s": 0.1})
    found = marks.read(mark)
    assert found.started
    assert found.stopped


def test_the_start_is_marked_before_the_command_begins(runner, make_task, tmp_path, mode, monkeypatch):
    """While the mark is being written the command has not begun; when it cannot be written, it never does."""
    task = make_task(sandbox=SandboxPolicy(mode=mode))
    ran = task.box / "ran"
    command = Command(shell(f": > {ran}"), task.box, ENV, b"", (task.box,))
    begun: list[bool] = []
    mark_start = marks.started

    def slowly(mark: Marks) -> None:
        time.sleep(0.2)  # what would begin too early has time to do so
        begun.append(ran.exists())
        mark_start(mark)

    monkeypatch.setattr(marks, "started", slowly)
    with pytest.raises(MandamusError) as error:
        runner.run(task, command, marks=Marks(tmp_path / "missing", "apply"))
    assert error.value.code is Code.STORAGE_FULL
    assert error.value.retryable
    assert not ran.exists()
    runner.run(task, command, marks=Marks(tmp_path, "apply"))
    assert ran.exists()
    assert begun == [False, False]


def test_what_keeps_the_output_open_does_not_keep_the_step(run, mode):
    """A process left in the background ends with the command at once, though it still holds standard output."""
    task, done = run(*shell("echo one; sleep 300 & echo two"), mode=mode)
    assert done.ok
    assert done.duration_s < LONG_S
    assert task.output.text == "one\ntwo\n"


CHILD = f"""
import gc, os, sys, threading
from contextlib import suppress
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from mandamus.bootstrap.tools import SystemClock
from mandamus.executors import marks
from mandamus.executors.launch import Launched
from mandamus.executors.model import Cancel, Command, Marks, SandboxPolicy, Task
from mandamus.executors.process import build_runner
from mandamus.kernel.errors import MandamusError
from mandamus.kernel.redact import Redactor
from conftest import KEY, Kept
runner = build_runner(SystemClock(), dict(os.environ), Path(sys.executable))
root, mode = Path(sys.argv[1]), sys.argv[2]
task = Task("r", "s", 1, "apply", {{}}, root, root / "work", {{}}, SandboxPolicy(mode=mode), Kept(),
            lambda p: None, Redactor([], KEY), 300.0, Cancel())

def run(*argv, env={ENV!r}):
    runner.run(task, Command(argv, task.box, env, b"", (task.box,)), marks=Marks(task.marks, "apply"))
"""

STOPS = f"""
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
{CHILD}

class Told(Kept):
    def append(self, data):
        super().append(data)
        if b"up" in data:
            task.cancel.set()

object.__setattr__(task, "output", Told())
# A shell forgets an interrupt that comes right before it waits for a program, unless it has a trap and looks again.
text = "trap 'exit 130' INT; echo up; while :; do sleep 0.05; done"
command = Command(("/bin/sh", "-c", text), task.box, {ENV!r}, b"", (task.box,))
print(runner.run(task, command, marks=Marks(task.marks, "apply"), grace_s=200.0).code)
"""


@pytest.mark.parametrize("mode", MODES)
def test_a_process_that_ignores_interrupts_still_sends_them(tmp_path, mode):
    """A shell has background jobs ignore SIGINT; what they start must hear it, or nothing could be stopped in order."""
    words = [sys.executable, "-c", STOPS, str(tmp_path), mode]
    ended = subprocess.run(words, capture_output=True, text=True, check=True, timeout=LONG_S)
    assert ended.stdout == "130\n"


# In a process of its own: other tests open and close what they like in this one.
LEAVES = f"""{CHILD}
def held():
    gc.collect()
    found = {{str(thread) for thread in threading.enumerate()}}
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(f"{{entry.name}} {{entry.readlink()}}")
    return found

run("/bin/true")
before, refused = held(), 0
for argv0, env in 3 * [("/bin/true", {ENV!r}), ("no-such-tool-4711", {ENV!r}), ("/bin/true", {{"A": "\\0"}})]:
    try:
        run(argv0, env=env)
    except MandamusError:
        refused += 1
print(refused, sorted(held() - before))
"""


def test_no_descriptor_and_no_thread_is_left_behind(tmp_path, mode):
    """A thousand steps cost no more than one: what a run opens it closes, also when it fails."""
    command = [sys.executable, "-c", LEAVES, str(tmp_path), mode]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=2 * LONG_S)
    assert (done.returncode, done.stdout) == (0, "6 []\n"), done.stderr


def test_side_by_side_runs_do_not_hold_each_other_up(runner, make_task):
    """Descriptors of one step are not inherited by another: each ends when its own command does."""
    tasks = [dataclasses.replace(make_task(), workdir=make_task().workdir / str(n), deadline_s=300) for n in range(6)]
    threads = []
    for task in tasks:
        command = Command(shell(f"echo up; {UNTIL_GO}"), task.box, ENV, b"", (task.box,))
        threads.append(threading.Thread(target=runner.run, args=(task, command)))
        threads[-1].start()
    try:
        assert soon(lambda: all(task.output.text for task in tasks))
        for index, task in enumerate(tasks):
            (task.box / "go").touch()
            threads[index].join(LONG_S)
            assert [thread.is_alive() for thread in threads] == [place > index for place in range(6)]
    finally:
        for task, thread in zip(tasks, threads, strict=True):
            (task.box / "go").touch()
            thread.join()


OWNER = f"""{CHILD}
if sys.argv[3] == "die":
    marks.started = lambda _marks: os.kill(os.getpid(), 9)
if sys.argv[3] == "let go":
    begin = Launched.begin
    Launched.begin = lambda launched: (begin(launched), os.kill(os.getpid(), 9))
    # The moment is short: many deaths hit it.
    while (number := globals().get("number", 0) + 1) <= 60 and (child := os.fork()):
        os.waitpid(child, 0)
    if number > 60:
        sys.exit()
run(*sys.argv[4:])
"""


def own(root: Path, mode: str, end: str, *argv: str) -> subprocess.Popen[bytes]:
    """A process of its own that runs a command; it kills itself before (``die``) or when (``let go``) it begins."""
    return subprocess.Popen([sys.executable, "-c", OWNER, str(root), mode, end, *argv])


@pytest.mark.parametrize("mode", MODES)
def test_the_tree_dies_with_us(tmp_path, mode):
    """When this process is killed outright, every process of its steps is gone soon after."""
    here = tmp_path / "work" / "box" / "stubborn-c"
    owner = own(tmp_path, mode, "live", *python(STUBBORN, str(here), "stay"))
    try:
        assert soon(here.exists)
        assert len(processes_with(str(here))) > 1
    finally:
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait()
    assert gone(str(here))


@pytest.mark.parametrize("mode", MODES)
def test_what_was_not_let_begin_never_begins(tmp_path, mode):
    """Killed between the start of a sandbox and the mark of its command's start, we leave a command that never ran."""
    for attempt in range(3):
        root = tmp_path / str(attempt)
        root.mkdir()
        ran = root / "work" / "box" / "ran"
        owner = own(root, mode, "die", "/bin/touch", str(ran))
        assert owner.wait() == -signal.SIGKILL
        time.sleep(0.3)  # what would begin after all has time to do so
        assert not ran.exists()
        assert not marks.read(Marks(root / "work" / "marks", "apply")).started


def test_a_sandbox_left_waiting_is_removed_by_the_next_process_and_a_living_one_is_not(tmp_path):
    """Orphans of a killed process end when another one starts its first step; steps of living processes go on."""
    for name in ("live", "dead", "next"):
        (tmp_path / name).mkdir()
    sleeper = ("/bin/sleep", f"301.{os.getpid():07}")
    living = own(tmp_path / "live", "required", "live", *sleeper)
    token = str(tmp_path / "dead")
    try:
        assert soon(lambda: running(*sleeper))
        own(tmp_path / "dead", "required", "die", "/bin/touch", f"{token}/work/box/ran").wait()
        assert own(tmp_path / "next", "required", "live", "/bin/true").wait() == 0
        assert gone(token)
        assert running(*sleeper)
    finally:
        living.kill()
        living.wait()
    assert gone(sleeper[1])


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_what_began_when_we_died_is_ended_before_anybody_looks_at_it(tmp_path, mode, runner):
    """A probe's answer holds: whatever a killed process let go in its last moment has ended when the probe looks."""
    own(tmp_path, mode, "let go", "/bin/sh", "-c", f": {tmp_path}; sleep 300").wait()
    runner.sweep()
    assert gone(f": {tmp_path}; sleep")
