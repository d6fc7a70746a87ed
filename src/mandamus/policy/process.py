"""One worker process as its parent sees it: start, ask with a deadline, kill. Any doubt about it ends it."""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Callable, Sequence
from typing import IO

from mandamus.kernel.errors import MandamusError
from mandamus.policy import frames
from mandamus.policy.model import Fault, fault

REPLY_BYTES_MAX = 32 << 20
_CHUNK_BYTES = 1 << 18
_ENVIRONMENT = {"GOGC": "400", "GOMAXPROCS": "1", "TZ": ""}
"""Everything a worker gets to see. An empty TZ makes Go's ``Local`` UTC on every machine."""


class WorkerProcess:
    """A started worker; used by one thread at a time. After any raised error it is dead."""

    def __init__(self, command: Sequence[str], monotonic_s: Callable[[], float]) -> None:
        """Start the process; raises ``policy_unavailable`` when the machine cannot."""
        self._monotonic_s = monotonic_s
        self._sequence = 0
        self._pending = b""
        self.asked = 0
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_ENVIRONMENT,
                cwd="/",
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise _lost(f"no worker could be started: {error.strerror}") from error
        self._in = _not_blocking(self._process.stdin)
        self._out = _not_blocking(self._process.stdout)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def greet(self, timeout_s: float) -> str:
        """Wait until the worker has walled itself in; says whether its network is ``isolated``."""
        return self._guard(lambda deadline: self._receive(frames.HELLO, deadline), timeout_s).decode("ascii", "replace")

    def ask(self, operation: int, slot: int, payload: bytes, timeout_s: float) -> bytes:
        """One request and its reply. Raises ``policy_unavailable``: ``timeout``, ``worker_lost``, ``reply_invalid``."""
        self.asked += 1
        self._sequence = self._sequence % 0xFFFF_FFFF + 1

        def exchange(deadline: float) -> bytes:
            header = frames.HEADER.pack(frames.MAGIC, self._sequence, len(payload), operation, slot)
            self._transmit(header + payload, deadline)
            return self._receive(operation, deadline)

        return self._guard(exchange, timeout_s)

    def alive(self) -> bool:
        """Whether it still waits for a request: running, and with nothing to say."""
        if self._out < 0:
            return False
        poll = select.poll()
        poll.register(self._out, select.POLLIN | select.POLLHUP)
        return not poll.poll(0) and self._process.poll() is None

    def kill(self) -> None:
        """End it now and reap it; harmless when it is dead already."""
        self._process.kill()
        self._process.wait()
        # Their numbers can be those of other files from now on.
        self._in = self._out = -1
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()

    def _guard(self, action: Callable[[float], bytes], timeout_s: float) -> bytes:
        try:
            return action(self._monotonic_s() + timeout_s)
        except MandamusError:
            self.kill()
            raise
        except (OSError, ValueError) as error:
            self.kill()
            raise _lost(f"the worker went away: {error}") from error
        except BaseException:
            # Interrupted between request and reply: the next reader would get this request's reply.
            self.kill()
            raise

    def _transmit(self, data: bytes, deadline: float) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._in, view) :]
            except BlockingIOError:
                self._wait(self._in, select.POLLOUT, deadline)

    def _receive(self, operation: int, deadline: float) -> bytes:
        self._fill(frames.HEADER.size, deadline)
        magic, sequence, size, answered, _ = frames.HEADER.unpack_from(self._pending)
        if (magic, sequence, answered) != (frames.MAGIC, self._sequence, operation) or size > REPLY_BYTES_MAX:
            raise fault(
                Fault.REPLY_INVALID,
                "the worker answered something that is no reply to the request",
                "try again; when it comes back, check the machine's memory",
            )
        whole = frames.HEADER.size + size
        self._fill(whole, deadline)
        reply, self._pending = self._pending[frames.HEADER.size : whole], self._pending[whole:]
        if self._pending:
            raise fault(Fault.REPLY_INVALID, "the worker answered more than it was asked", "try again")
        return reply

    def _fill(self, size: int, deadline: float) -> None:
        parts = [self._pending]
        have = len(self._pending)
        while have < size:
            self._wait(self._out, select.POLLIN, deadline)
            part = os.read(self._out, _CHUNK_BYTES)
            if not part:
                raise _lost(f"the worker ended in the middle of its work ({self._ending()})")
            parts.append(part)
            have += len(part)
        self._pending = b"".join(parts)

    def _wait(self, descriptor: int, event: int, deadline: float) -> None:
        left_s = deadline - self._monotonic_s()
        poll = select.poll()
        poll.register(descriptor, event)
        if left_s <= 0 or not poll.poll(left_s * 1000):
            raise fault(
                Fault.TIMEOUT,
                "the policy set did not answer in time",
                "make its rules cheaper, or the input smaller; nothing is allowed meanwhile",
            )

    def _ending(self) -> str:
        self._process.kill()
        code = self._process.wait()
        return f"signal {-code}" if code < 0 else f"exit code {code}"


def _not_blocking(pipe: IO[bytes] | None) -> int:
    if pipe is None:
        raise AssertionError("the process was started with pipes")
    os.set_blocking(pipe.fileno(), False)
    return pipe.fileno()


def _lost(message: str) -> MandamusError:
    return fault(
        Fault.WORKER_LOST,
        message,
        "try again; a new worker takes over. When it comes back, look for a rule that needs too much memory",
    )
