"""Starts one process, in the sandbox or explicitly without, held back until it is told to begin."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import signal
import subprocess
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mandamus.executors import orphans, reaper
from mandamus.executors.cgroup import ControlGroups
from mandamus.executors.model import Command, Limits, SandboxPolicy
from mandamus.executors.sandbox import GROUP, PASSWD, Bubblewrap, failed
from mandamus.kernel.errors import Code, MandamusError

VALUE_BYTES_MAX = 128 * 1024
"""Linux gives one environment variable no more (MAX_ARG_STRLEN, execve(2))."""

_STATUS_BYTES_MAX = 64 * 1024


class Launched:
    """A process tree that waits at the start line. Owns its file descriptors until ``close``."""

    def __init__(self, process: subprocess.Popen[bytes], status_fd: int, block_fd: int, *, isolated: bool) -> None:
        self.process = process
        self.isolated = isolated
        self.groups: tuple[Path, ...] = ()
        self._status_fd = status_fd
        self._block_fd = block_fd
        self._status = b""
        self._begun = False
        self.exit_fd = os.pidfd_open(process.pid)
        self.root_fd = -1
        self.root_pid = self._root()

    def begin(self) -> None:
        """Let it go."""
        self._begun = True
        with contextlib.suppress(BrokenPipeError):
            os.write(self._block_fd, b"x")

    def interrupt(self) -> None:
        """SIGINT to the command's process group, as a terminal's Ctrl-C would; nothing has begun yet: the end."""
        with contextlib.suppress(OSError):
            if self.isolated and self._childless():
                # The first process of a pid namespace ignores SIGINT, so the signal would be lost.
                self.kill()
            elif self.isolated:
                os.killpg(self.root_pid, signal.SIGINT)
            else:
                self.process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL to the whole tree: the death of a pid namespace's first process is the death of all in it."""
        if self.isolated and self.root_fd >= 0:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self.root_fd, signal.SIGKILL)
        elif self.isolated or not self._begun:
            self.process.kill()
        else:
            self.process.terminate()

    def facts(self) -> Mapping[str, Any]:
        """What the launcher reported: ``exit-code`` is there exactly when the command itself was started and ended."""
        while chunk := os.read(self._status_fd, 4096):
            self._status += chunk
            if len(self._status) > _STATUS_BYTES_MAX:
                break
        found: dict[str, Any] = {}
        for line in self._status.splitlines():
            with contextlib.suppress(ValueError):
                found |= json.loads(line)
        return found

    def close(self) -> None:
        """Give the file descriptors back."""
        for fd in (self._status_fd, self._block_fd, self.exit_fd, self.root_fd):
            if fd >= 0:
                os.close(fd)

    def _childless(self) -> bool:
        try:
            return not Path(f"/proc/{self.root_pid}/task/{self.root_pid}/children").read_bytes().strip()
        except OSError:
            return False

    def _root(self) -> int:
        """The pid of the tree's first process, or -1 when the launcher ended before there was one."""
        while b"\n" not in self._status:
            chunk = os.read(self._status_fd, 4096)
            if not chunk:
                return -1
            self._status += chunk
        pid = int(json.loads(self._status.splitlines()[0])["child-pid"])
        with contextlib.suppress(OSError):
            self.root_fd = os.pidfd_open(pid)
        return pid


class Launcher:
    """Knows how processes are started on this machine; ``python`` is the interpreter that runs the reaper."""

    def __init__(self, sandbox: Bubblewrap, groups: ControlGroups, python: Path) -> None:
        self._sandbox = sandbox
        self._groups = groups
        self._python = python
        self._lock = threading.Lock()
        self._swept = False

    def check(self, policy: SandboxPolicy) -> None:
        """Raise ``sandbox_unavailable`` when the policy asks for a sandbox that this machine cannot make."""
        if policy.mode != "none":
            self._sandbox.check()

    def sweep(self) -> None:
        """End what a killed process of ours left behind; looks once per process."""
        with self._lock:
            if not self._swept:
                orphans.remove()
                self._swept = True

    def launch(self, command: Command, policy: SandboxPolicy, stdout: int, stderr: int) -> Launched:
        """Start, set limits, and hold; raises ``sandbox_unavailable`` and ``value_invalid``."""
        for name, value in command.env.items():
            check_variable(name, value)
        self.sweep()
        isolated = policy.mode != "none"
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as stack:
            status_read, status_write = os.pipe()
            ours.callback(os.close, status_read)
            stack.callback(os.close, status_write)
            block_read, block_write = _gate(isolated=isolated)
            ours.callback(os.close, block_write)
            stack.callback(os.close, block_read)
            stdin = stack.enter_context(_memory(command.stdin))
            passed = [status_write, block_read]
            if isolated:
                argv = self._isolated(command, policy, stack, passed)
            else:
                argv = self._bare(command, policy, stack, passed)
            try:
                process = subprocess.Popen(
                    argv,
                    env={},
                    cwd="/",
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    pass_fds=passed,
                    start_new_session=True,
                )
            except OSError as error:
                raise _unstartable(command, error) from error
            ours.pop_all()
        launched = Launched(process, status_read, block_write, isolated=isolated)
        self._bound(launched, policy.limits)
        return launched

    def ended(self, launched: Launched) -> None:
        """Clean up after a tree that is gone."""
        self._groups.leave(launched.groups)
        launched.close()

    def _isolated(
        self, command: Command, policy: SandboxPolicy, stack: contextlib.ExitStack, passed: list[int]
    ) -> list[str]:
        passwd, group = stack.enter_context(_memory(PASSWD)), stack.enter_context(_memory(GROUP))
        words = self._sandbox.arguments(command, policy, passwd, group)
        status, block = passed
        words += ["--json-status-fd", str(status), "--block-fd", str(block)]
        arguments = stack.enter_context(_memory(b"".join(os.fsencode(word) + b"\0" for word in words)))
        passed += [passwd, group, arguments]
        return [str(self._sandbox.binary), "--args", str(arguments), "--", *command.argv]

    def _bare(
        self, command: Command, policy: SandboxPolicy, stack: contextlib.ExitStack, passed: list[int]
    ) -> list[str]:
        spec = {
            "argv": command.argv,
            "env": dict(command.env),
            "cwd": str(command.cwd),
            "limits": {f"RLIMIT_{name}": value for name, value in _rlimits(policy.limits)},
        }
        status, block = passed
        text = stack.enter_context(_memory(json.dumps(spec).encode()))
        passed.append(text)
        return [str(self._python), "-I", "-S", str(reaper.__file__), str(text), str(status), str(block)]

    def _bound(self, launched: Launched, limits: Limits) -> None:
        if launched.root_pid < 0:
            return
        with contextlib.suppress(OSError):
            for name, value in _rlimits(limits) if launched.isolated else ():
                _rlimit(launched.root_pid, getattr(resource, f"RLIMIT_{name}"), value)
        launched.groups = self._groups.join(launched.root_pid, limits)


def unstarted(command: Command, facts: Mapping[str, Any], tail: str) -> MandamusError:
    """Why the command itself never ran."""
    line = next((line for line in reversed(tail.splitlines()) if line.startswith("bwrap: ")), tail.strip()[-300:])
    if "error" in facts or line.startswith("bwrap: execvp"):
        why = facts.get("error") or line.rpartition(": ")[2]
        return MandamusError(
            Code.TOOL_MISSING,
            f"{command.argv[0]} cannot be executed: {why}",
            remedy="install it on the worker under /usr, or name its path in the settings",
        )
    return failed(line or "bwrap ended without a word")


def _gate(*, isolated: bool) -> tuple[int, int]:
    """A pipe at whose read end a process waits to begin, and its write end.

    When we die, the write end closes. The reaper takes that for the end; bwrap takes it for the signal to begin, and
    the command would run though nothing marked its start. So bwrap reads from an end that is its own writer too: no
    close of ours ends that wait, only a byte does. What is left waiting after our death, `orphans` removes.
    """
    read, write = os.pipe()
    if not isolated:
        return read, write
    try:
        return os.open(f"/proc/self/fd/{read}", os.O_RDWR | os.O_CLOEXEC), write
    finally:
        os.close(read)


def _unstartable(command: Command, error: OSError) -> MandamusError:
    if error.errno == errno.E2BIG:
        return MandamusError(
            Code.VALUE_INVALID,
            f"the arguments of {command.argv[0]} are longer than Linux can pass",
            remedy="put large data in a file",
        )
    return MandamusError(
        Code.UNAVAILABLE,
        f"no process could be started for {command.argv[0]}: {error.strerror}",
        remedy="free processes, memory or file descriptors of this machine, then try again",
        retryable=True,
    )


def check_variable(name: str, value: str) -> None:
    """Raise ``value_invalid`` for what Linux cannot hand to a process as an environment variable."""
    size = len(name.encode("utf-8", "surrogatepass")) + len(value.encode("utf-8", "surrogatepass")) + 2
    if not name or "=" in name or "\0" in name or "\0" in value or size > VALUE_BYTES_MAX:
        raise MandamusError(
            Code.VALUE_INVALID,
            f"the environment variable {name[:80]!r} cannot be passed to a process",
            remedy=f"use a name without = and a value of at most {VALUE_BYTES_MAX} bytes without NUL; "
            "put larger data in a file",
        )


def _rlimits(limits: Limits) -> Iterable[tuple[str, int]]:
    return (
        ("CORE", 0),
        ("NOFILE", limits.files),
        ("FSIZE", limits.file_bytes),
        ("NPROC", limits.processes),
    )


def _rlimit(pid: int, kind: int, value: int) -> None:
    hard = resource.prlimit(pid, kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.prlimit(pid, kind, (value, value))


@contextlib.contextmanager
def _memory(data: bytes) -> Any:
    """A file descriptor that reads these bytes and has no name in any file system."""
    fd = os.memfd_create(orphans.MEMORY)
    try:
        with os.fdopen(os.dup(fd), "wb") as file:
            file.write(data)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)
