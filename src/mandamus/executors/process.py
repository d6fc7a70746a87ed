"""The supervisor: runs one process to its end, keeps what it says, and leaves nothing of it behind."""

from __future__ import annotations

import os
import selectors
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from mandamus.executors import launch
from mandamus.executors import marks as durable
from mandamus.executors.cgroup import ControlGroups
from mandamus.executors.launch import Launched, Launcher
from mandamus.executors.model import GRACE_S, Command, Exit, Marks, SandboxPolicy, Task
from mandamus.executors.sandbox import Bubblewrap
from mandamus.kernel.clock import Clock
from mandamus.kernel.redact import RedactStream

CHUNK_BYTES = 64 * 1024
FLUSH_S = 0.2
"""How long output may wait before it is stored."""

_TAIL_BYTES = 4096
_LINGER_S = 2.0


class ProcessRunner:
    """The one way a step's processes are started; see ``model.Runner`` for the contract."""

    def __init__(self, launcher: Launcher, clock: Clock) -> None:
        self._launcher = launcher
        self._clock = clock

    def check(self, policy: SandboxPolicy) -> None:
        """Raise ``sandbox_unavailable`` when the policy's sandbox cannot be made here; tried once per process."""
        self._launcher.check(policy)

    def sweep(self) -> None:
        """End what a killed process of ours left behind; contract in ``model.Runner.sweep``."""
        self._launcher.sweep()

    def run(
        self,
        task: Task,
        command: Command,
        *,
        on_stdout: Callable[[bytes], None] | None = None,
        log_stdout: bool = True,
        marks: Marks | None = None,
        deadline_s: float | None = None,
        grace_s: float = GRACE_S,
    ) -> Exit:
        """Run to the end; contract in ``model.Runner.run``."""
        if task.cancel.is_set():
            return Exit(code=130, duration_s=0.0, cancelled=True)
        with ExitStack() as stack:
            log = _Log(task)
            separate = on_stdout is not None or not log_stdout
            outlets, write_ends = _pipes(log, stack, separate=separate, tell=on_stdout, log_stdout=log_stdout)
            try:
                launched = self._launcher.launch(command, task.sandbox, write_ends[0], write_ends[-1])
            finally:
                for fd in set(write_ends):
                    os.close(fd)
            stack.callback(self._launcher.ended, launched)
            limit_s = task.deadline_s if deadline_s is None else deadline_s
            watch = _Watch(task, launched, outlets, log, self._clock, limit_s, grace_s)
            stack.callback(watch.bury)
            if marks is not None:
                durable.started(marks)
            launched.begin()
            watch.through()
            done = watch.verdict()
            if done is None:
                if marks is not None:
                    durable.unstarted(marks)
                raise launch.unstarted(command, watch.facts, log.tail())
            if marks is not None:
                durable.ended(marks, done)
            return done


def build_runner(clock: Clock, environ: Mapping[str, str], python: Path) -> ProcessRunner:
    """The supervisor of this machine; ``python`` is the interpreter that runs child programs (``sys.executable``).

    Built in the main thread by a process that ignores interrupts, as shells have background jobs do, it has the process
    hear them and do nothing. What is ignored stays ignored in every program that is started, and then no tool could be
    told to stop; what is heard does not.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, lambda _number, _frame: None)
    groups = ControlGroups(Path("/proc/self/cgroup").read_text())
    return ProcessRunner(Launcher(Bubblewrap(environ), groups, python), clock)


class _Log:
    """The redacted output and its last bytes."""

    def __init__(self, task: Task) -> None:
        self.output = task.output
        self._redactor = task.redactor
        self._tail = b""

    def stream(self) -> RedactStream:
        return self._redactor.stream()

    def add(self, data: bytes) -> None:
        if data:
            self.output.append(data)
            self._tail = (self._tail + data)[-_TAIL_BYTES:]

    def tail(self) -> str:
        return self._tail.decode("utf-8", "replace")


class _Outlet:
    """One pipe from the child: raw to whoever listens, redacted to the log."""

    def __init__(self, fd: int, log: _Log, tell: Callable[[bytes], None] | None, *, logged: bool) -> None:
        self.fd = fd
        self._log = log
        self._tell = tell
        self._stream = log.stream() if logged else None

    def read(self) -> bool:
        """Take one chunk; False at the end."""
        chunk = os.read(self.fd, CHUNK_BYTES)
        if not chunk:
            self.finish()
            return False
        if self._stream is not None:
            self._log.add(self._stream.feed(chunk))
        if self._tell is not None:
            self._tell(chunk)
        return True

    def finish(self) -> None:
        """Let go of what the redactor held back."""
        if self._stream is not None:
            self._log.add(self._stream.close())


class _Watch:
    """Waits, without polling, for output, the end, a cancel or a moment in time; numbers the moments of a stop.

    1. A cancel or the deadline: SIGINT to the process group. 2. After the grace: SIGINT once more, since tools give up
    an orderly stop at the second. 3. After the grace: SIGKILL to the whole tree.
    """

    def __init__(
        self,
        task: Task,
        launched: Launched,
        outlets: list[_Outlet],
        log: _Log,
        clock: Clock,
        limit_s: float | None,
        grace_s: float,
    ) -> None:
        self.facts: Mapping[str, object] = {}
        self._task = task
        self._launched = launched
        self._log = log
        self._clock = clock
        self._grace_s = grace_s
        self._started_s = clock.monotonic_s()
        self._stop_s = None if limit_s is None else self._started_s + limit_s
        self._flush_s: float | None = None
        self._linger_s: float | None = None
        self._stage = 0
        self._timed_out = self._cancelled = self._ended = False
        self._open = {outlet.fd: outlet for outlet in outlets}
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._selector = selectors.DefaultSelector()
        task.cancel.watch(self._wake)

    def through(self) -> None:
        """Wait until the process has ended and everything it said is read."""
        for outlet in self._open.values():
            self._selector.register(outlet.fd, selectors.EVENT_READ)
        self._selector.register(self._launched.exit_fd, selectors.EVENT_READ)
        self._selector.register(self._wake_fd, selectors.EVENT_READ)
        while not self._ended or self._open:
            due_s = self._due_s()
            events = self._selector.select(None if due_s is None else max(0.0, due_s - self._now()))
            for key, _ in events:
                self._ready(key.fd)
            # The kernel measured the wait: without events the next moment has come, whatever the clock says.
            self._moments(self._now() if events or due_s is None else max(due_s, self._now()))

    def verdict(self) -> Exit | None:
        """How it ended; None when the command itself never ran. Call after ``through``."""
        self._finish()
        self._log.output.flush()
        code = self._launched.process.wait()
        self.facts = self._launched.facts()
        code = 128 - code if code < 0 else code
        never_ran = "exit-code" not in self.facts and code != 137 and self._stage == 0
        if never_ran or "error" in self.facts:
            return None
        return Exit(
            code=code,
            duration_s=self._clock.monotonic_s() - self._started_s,
            timed_out=self._timed_out,
            cancelled=self._cancelled,
            tail=self._log.tail(),
        )

    def bury(self) -> None:
        """See that nothing is left, however we got here."""
        self._finish()
        self._launched.process.wait()
        self._task.cancel.unwatch(self._wake)
        self._selector.close()
        os.close(self._wake_fd)

    def _finish(self) -> None:
        # bwrap ends as soon as its command does; the first process of the namespace, and with it everything else in
        # there, is only gone when its own file descriptor says so.
        self._launched.kill()
        if self._launched.root_fd >= 0:
            with selectors.DefaultSelector() as selector:
                selector.register(self._launched.root_fd, selectors.EVENT_READ)
                selector.select()

    def _ready(self, fd: int) -> None:
        if fd == self._launched.exit_fd:
            self._ended = True
            self._selector.unregister(fd)
            self._launched.kill()
            self._linger_s = self._now() + _LINGER_S
        elif fd == self._wake_fd:
            self._selector.unregister(fd)
            self._cancelled = self._stage == 0
            self._escalate()
        elif not self._open[fd].read():
            self._drop(fd)
        if self._log.output.pending and self._flush_s is None:
            self._flush_s = self._now() + FLUSH_S

    def _moments(self, now: float) -> None:
        if self._flush_s is not None and now >= self._flush_s:
            self._log.output.flush()
            self._flush_s = None
        if self._stop_s is not None and not self._ended and now >= self._stop_s:
            self._timed_out = self._timed_out or self._stage == 0
            self._escalate()
        if self._linger_s is not None and now >= self._linger_s:
            for fd in list(self._open):
                self._open[fd].finish()
                self._drop(fd)

    def _escalate(self) -> None:
        self._stage += 1
        if self._stage <= 2:
            self._launched.interrupt()
            self._stop_s = self._now() + self._grace_s
        else:
            self._launched.kill()
            self._stop_s = None

    def _due_s(self) -> float | None:
        stop_s = None if self._ended else self._stop_s
        moments = [moment for moment in (self._flush_s, stop_s, self._linger_s) if moment is not None]
        return min(moments) if moments else None

    def _drop(self, fd: int) -> None:
        self._selector.unregister(fd)
        del self._open[fd]

    def _now(self) -> float:
        return self._clock.monotonic_s()

    def _wake(self) -> None:
        os.eventfd_write(self._wake_fd, 1)


def _pipes(
    log: _Log, stack: ExitStack, *, separate: bool, tell: Callable[[bytes], None] | None, log_stdout: bool
) -> tuple[list[_Outlet], list[int]]:
    """Outlets for our ends, and the write ends for standard output and error (one pipe keeps their order)."""
    outlets, write_ends = [], []
    for stdout in (True, False) if separate else (False,):
        read_fd, write_fd = os.pipe()
        stack.callback(os.close, read_fd)
        outlets.append(_Outlet(read_fd, log, tell if stdout else None, logged=log_stdout or not stdout))
        write_ends.append(write_fd)
    return outlets, write_ends
