"""A child program: runs one command without a sandbox and leaves no process of it behind.

Run as a file by the platform's own Python with ``-I -S``; standard library only. It declares itself the subreaper of
its descendants (prctl(2)), so that a grandchild that forks twice and starts a session of its own still becomes its
child and is found at the end. It dies, and takes the tree with it, when the thread that started it does.

Arguments: three file descriptors. The first holds the command as JSON, the second gets one JSON line per fact
(``child-pid``, ``exit-code``, ``error``), one byte read from the third starts the command.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
"""Blocked and waited for, never handled: Python runs a handler between two calls, so a signal that comes right before
a call that waits would wait with it, and we are told only once that whoever started us has died."""


def main(spec_fd: int, status_fd: int, block_fd: int) -> int:
    """Run the command; the exit code is the command's, or 128 + signal."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    with os.fdopen(spec_fd, "rb") as file:
        spec = json.load(file)
    _tell(status_fd, {"child-pid": os.getpid()})
    if not os.read(block_fd, 1):
        return 137
    os.close(block_fd)
    os.set_inheritable(status_fd, False)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Before the fork, so that no signal finds a tree without anyone to end it.
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    pid = os.fork()
    if pid == 0:
        _become(spec, status_fd)
    code = _wait_for(pid)
    _kill_all()
    _tell(status_fd, {"exit-code": code})
    return code


def _become(spec: dict[str, Any], status_fd: int) -> None:
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
        for name, value in spec["limits"].items():
            _limit(getattr(resource, name), value)
        os.chdir(spec["cwd"])
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606
    except OSError as error:
        _tell(status_fd, {"error": error.strerror})
    finally:
        os._exit(127)


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def _wait_for(pid: int) -> int:
    """The code of the command's end, which is ours when whoever started us has died."""
    while True:
        heard = signal.sigwait(_HEARD)
        if heard == signal.SIGTERM:
            return 137
        if heard == signal.SIGINT:
            _interrupt(pid)
        # One SIGCHLD may tell of several.
        ended = pid if heard == signal.SIGCHLD else 0
        while ended:
            ended, status = os.waitpid(-1, os.WNOHANG)
            if ended == pid:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code


def _interrupt(pid: int) -> None:
    with contextlib.suppress(OSError):
        try:
            os.killpg(pid, signal.SIGINT)
        except ProcessLookupError:
            # It has no group of its own yet; the signal waits until it has.
            os.kill(pid, signal.SIGINT)


def _kill_all() -> None:
    """Kill children until there is none; what they leave behind becomes ours and is killed in turn."""
    while True:
        for child in _children():
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> list[int]:
    own = os.getpid()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # The second field, the program's name in parentheses, may hold anything; the parent stands after it.
                if int((entry / "stat").read_bytes().rpartition(b")")[2].split()[1]) == own:
                    found.append(int(entry.name))
    return found


def _tell(status_fd: int, fact: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        os.write(status_fd, json.dumps(fact).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:4])))
