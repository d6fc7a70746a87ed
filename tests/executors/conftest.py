from __future__ import annotations

import os
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mandamus.bootstrap.tools import SystemClock
from mandamus.executors.http import build as build_http
from mandamus.executors.model import Applied, Cancel, Command, Executor, SandboxPolicy, Task, Toolbox
from mandamus.executors.process import ProcessRunner, build_runner
from mandamus.kernel.clock import Clock
from mandamus.kernel.redact import Redactor

KEY = b"r" * 32
ENV = {"PATH": "/usr/bin:/bin"}


class Kept:
    """An output that keeps everything."""

    def __init__(self) -> None:
        self.data = b""
        self.appends = 0
        self.closed = False
        self.pending = False

    def append(self, data: bytes) -> None:
        """Keep it."""
        self.data += data
        self.appends += 1

    def flush(self) -> None:
        """Nothing waits."""
        self.pending = False

    def close(self) -> None:
        """Remember it."""
        self.closed = True

    @property
    def text(self) -> str:
        """All of it."""
        return self.data.decode()


class Leaping(Kept):
    """An output that is a clock: each time the command says the word, a thousand seconds have passed."""

    def __init__(self, word: bytes) -> None:
        super().__init__()
        self._word = word
        self._clock = SystemClock()

    def now_us(self) -> int:
        """The machine's."""
        return self._clock.now_us()

    def monotonic_s(self) -> float:
        """The machine's, and what was leapt."""
        return self._clock.monotonic_s() + 1000.0 * self.data.count(self._word)


@pytest.fixture
def leaping() -> type[Leaping]:
    return Leaping


@pytest.fixture
def real_clock() -> Clock:
    """The machine's time: processes do not wait for a fake one."""
    return SystemClock()


@pytest.fixture
def runner(real_clock: Clock) -> ProcessRunner:
    return build_runner(real_clock, dict(os.environ), Path(sys.executable))


MakeTask = Callable[..., Task]


@pytest.fixture
def make_task(tmp_path: Path) -> MakeTask:
    """Makes a task with its own folders; every field can be given."""

    def make(**fields: Any) -> Task:
        source = tmp_path / "source"
        source.mkdir(exist_ok=True)
        secrets = fields.pop("secrets", {})
        given = {
            "run": "run_0",
            "step": "step",
            "attempt": 1,
            "phase": "apply",
            "spec": {},
            "source": source,
            "workdir": tmp_path / "work",
            "secrets": secrets,
            "sandbox": SandboxPolicy(),
            "output": Kept(),
            "progress": lambda _progress: None,
            "redactor": Redactor(secrets.values(), KEY),
            "deadline_s": 30.0,
            "cancel": Cancel(),
        }
        return Task(**{**given, **fields})

    return make


class Receiver:
    """A loopback listener that keeps every request, byte for byte, and answers what it is told to."""

    def __init__(self, context: ssl.SSLContext | None, talk: Callable[[socket.socket], None] | None) -> None:
        self.requests: list[bytes] = []
        self.answer: bytes | Callable[[socket.socket], None] = self.reply(204)
        self._context = context
        self._talk = talk or self._take
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def url(self, path: str = "/", host: str = "127.0.0.1", scheme: str = "http") -> str:
        """Where it listens."""
        return f"{scheme}://{host}:{self.port}{path}"

    @staticmethod
    def reply(status: int, body: bytes = b"", **headers: str) -> bytes:
        """A whole answer; an underscore in the name of a header is a dash."""
        lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + body

    @property
    def head(self) -> dict[str, str]:
        """The headers of the last request."""
        lines = self.requests[-1].split(b"\r\n\r\n")[0].decode().split("\r\n")
        return {"": lines[0], **dict(line.split(": ", 1) for line in lines[1:])}

    @property
    def body(self) -> bytes:
        """The body of the last request."""
        return self.requests[-1].split(b"\r\n\r\n", 1)[1]

    def close(self) -> None:
        """Stop listening; not before nobody waits on the descriptor, whose number the next receiver gets."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _one(self, sock: socket.socket) -> None:
        try:
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            with sock:
                self._talk(sock)
        except OSError:
            return

    def _take(self, sock: socket.socket) -> None:
        self.requests.append(_read(sock))
        if callable(self.answer):
            self.answer(sock)
        else:
            sock.sendall(self.answer)


def _read(sock: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(65536)
        if not part:
            return data
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line[:15] == b"Content-Length:"), 0)
    while len(body) < length:
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def receive() -> Iterator[Callable[..., Receiver]]:
    """Makes receivers: ``context`` for TLS, ``talk`` for one that does not even read the request."""
    made: list[Receiver] = []

    def make(context: ssl.SSLContext | None = None, talk: Callable[[socket.socket], None] | None = None) -> Receiver:
        made.append(Receiver(context, talk))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def receiver(receive: Callable[..., Receiver]) -> Receiver:
    return receive()


@pytest.fixture
def http(runner: ProcessRunner) -> Executor:
    return build_http(Toolbox(runner, {}))


@pytest.fixture
def play_http(http: Executor, make_task: MakeTask, tmp_path: Path) -> Callable[..., tuple[Task, Applied]]:
    """Plans and applies a request as a run does, where loopback is open."""
    count = iter(range(1_000_000))

    def do(spec: dict[str, Any], *, executor: Executor = http, **fields: Any) -> tuple[Task, Applied]:
        sandbox = SandboxPolicy(network=True, allow_private=("127.0.0.0/8",))
        fields = {"sandbox": sandbox, "workdir": tmp_path / f"work{next(count)}", **fields}
        planned = executor.plan(make_task(phase="plan", spec=spec, **fields))
        task = make_task(spec=spec, **fields)
        return task, executor.apply(task, planned.blob)

    return do


@pytest.fixture(params=["required", "none"])
def mode(request) -> str:
    return request.param


@pytest.fixture
def run(runner, make_task):
    """Runs a program in either mode and gives the task and how it ended."""

    def go(*argv: str, env=None, stdin=b"", task=None, mode="required", options=None, **fields):
        task = task or make_task(sandbox=SandboxPolicy(mode=mode), **fields)
        command = Command(argv, task.box, {**ENV, **(env or {})}, stdin, (task.box,))
        return task, runner.run(task, command, **(options or {}))

    return go
