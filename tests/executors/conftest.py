from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mandamus.executors.model import Cancel, SandboxPolicy, Task
from mandamus.executors.process import ProcessRunner, build_runner
from mandamus.kernel.redact import Redactor

KEY = b"r" * 32


class RealClock:
    """The machine's time: processes do not wait for a fake one."""

    def now_us(self) -> int:
        """The wall clock."""
        return time.time_ns() // 1000

    def monotonic_s(self) -> float:
        """The monotonic clock."""
        return time.monotonic()


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


@pytest.fixture
def real_clock() -> RealClock:
    return RealClock()


@pytest.fixture
def runner(real_clock: RealClock) -> ProcessRunner:
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
