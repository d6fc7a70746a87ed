"""What an executor is, what it is given, and what it gives back: frozen values and two protocols."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from mandamus.kernel.changeset import ChangeSet
from mandamus.kernel.document import Node
from mandamus.kernel.errors import Code, MandamusError, Problem
from mandamus.kernel.redact import Redactor

GRACE_S = 60.0
"""How long a tool may take to stop cleanly after each of the two interrupts."""


class Cancel(threading.Event):
    """An event that also calls back when it is set, so that a thread blocked on file descriptors wakes at once."""

    def __init__(self) -> None:
        super().__init__()
        self._watchers: list[Callable[[], None]] = []
        self._watching = threading.Lock()

    def set(self) -> None:
        """Set the flag and call every watcher; watchers must not block."""
        super().set()
        with self._watching:
            for watcher in self._watchers:
                watcher()

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call back when set; at once when it already is."""
        with self._watching:
            self._watchers.append(watcher)
            if self.is_set():
                watcher()

    def unwatch(self, watcher: Callable[[], None]) -> None:
        """Stop calling back; when this returns the watcher is not running."""
        with self._watching:
            self._watchers.remove(watcher)


@dataclass(frozen=True)
class Limits:
    """What one step may use.

    ``memory_bytes`` and ``processes`` hold for the whole tree where a control group can be made (and ``processes`` by
    ``RLIMIT_NPROC`` besides, which the kernel ignores for root); ``files`` and ``file_bytes`` hold per process.
    ``tmp_bytes`` is the size of the step's private /tmp.
    """

    processes: int = 1024
    files: int = 8192
    file_bytes: int = 16 * 1024**3
    memory_bytes: int = 4 * 1024**3
    tmp_bytes: int = 1024**3


@dataclass(frozen=True)
class SandboxPolicy:
    """What the pool allows a step. ``mode`` is ``required`` or ``none``; ``allow_private`` holds CIDR ranges.

    ``read_only`` holds further host paths that are visible inside, read-only, at the same path (a plugin mirror).
    """

    mode: str = "required"
    network: bool = False
    allow_private: tuple[str, ...] = ()
    read_only: tuple[Path, ...] = ()
    limits: Limits = field(default_factory=Limits)


class Output(Protocol):
    """Where a step's redacted output goes."""

    @property
    def pending(self) -> bool:
        """Whether bytes wait to be stored."""
        ...

    def append(self, data: bytes) -> None:
        """Add bytes, already redacted; stored when enough have gathered. Never raises for trouble of the store."""
        ...

    def flush(self) -> None:
        """Store what waits."""
        ...

    def close(self) -> None:
        """Store what waits and mark the output complete."""
        ...


@dataclass(frozen=True)
class Progress:
    """One line of live progress: text for people and, where there is one, the object it is about."""

    text: str
    address: str | None = None
    done: int | None = None
    total: int | None = None


@dataclass(frozen=True)
class StateRef:
    """Which state a plan was made against; ``serial`` grows with every write, ``lineage`` names the history."""

    lineage: str
    serial: int


@dataclass(frozen=True)
class State:
    """A tool's state file as it is stored: raw bytes and what names them."""

    lineage: str
    serial: int
    data: bytes = field(repr=False)

    @property
    def ref(self) -> StateRef:
        """The name of this state."""
        return StateRef(self.lineage, self.serial)


@dataclass(frozen=True)
class Task:
    """One phase of one attempt.

    ``spec`` is the step's resolved JSON mapping. ``source`` is the unpacked project, read-only. ``workdir`` is a
    private folder (0700) that survives our death until the attempt is settled; the tool itself may write in ``box``
    only, while ``marks`` is ours. ``deadline_s`` counts from the start of the phase; None means no deadline.
    ``folder`` is the workflow's own folder inside the project, from which relative paths in the spec count.
    """

    run: str
    step: str
    attempt: int
    phase: str
    spec: Mapping[str, Any] = field(repr=False)
    source: Path
    workdir: Path
    secrets: Mapping[str, str] = field(repr=False)
    sandbox: SandboxPolicy
    output: Output
    progress: Callable[[Progress], None]
    redactor: Redactor
    deadline_s: float | None
    cancel: Cancel
    state: State | None = None
    folder: str = "."

    def inside(self, relative: str) -> Path:
        """A folder of the project; ``relative`` counts from ``folder``. Raises ``source_invalid`` for any other."""
        root = self.source.resolve()
        found = (root / self.folder / relative).resolve()
        if not found.is_relative_to(root) or not found.is_dir():
            raise MandamusError(
                Code.SOURCE_INVALID,
                f"step {self.step}: `dir: {relative}` is no folder of the project",
                remedy=f"give a folder inside the project, counted from {self.folder} where the workflow stands",
            )
        return found

    @property
    def box(self) -> Path:
        """The folder the tool may write in; made when first asked for."""
        return _private(self.workdir / "box")

    @property
    def marks(self) -> Path:
        """The folder of the supervisor's durable marks, which no tool can see; made when first asked for."""
        return _private(self.workdir / "marks")


@dataclass(frozen=True)
class Planned:
    """What apply would do.

    ``blob`` is what apply gets back, byte for byte (stored encrypted; it may hold secrets only if the tool's own plan
    format does). ``lock`` names the tool, its version and its locked dependencies. ``native`` is the tool's own plan as
    redacted JSON bytes. ``state_read`` is the state the plan was made against.
    """

    change_set: ChangeSet
    blob: bytes = field(repr=False)
    lock: Mapping[str, Any]
    native: bytes | None = field(default=None, repr=False)
    state_read: StateRef | None = None


@dataclass(frozen=True)
class Applied:
    """What an apply did.

    ``outputs`` is a JSON-ready mapping. ``state`` is the tool's new state, given whenever the tool wrote one, also
    after a failure. ``partial`` says that some of the change happened though the apply failed. ``error`` is None
    exactly when ``ok``.
    """

    ok: bool
    outputs: Mapping[str, Any] = field(default_factory=dict)
    state: bytes | None = field(default=None, repr=False)
    error: MandamusError | None = None
    partial: bool = False
    summary: Mapping[str, Any] = field(default_factory=dict)


class Verdict(StrEnum):
    """What a probe found out about an apply whose result was never recorded."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    NOT_STARTED = "not_started"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Probed:
    """The verdict, in ``detail`` the reason in one sentence; outputs and state as in ``Applied``."""

    verdict: Verdict
    detail: str
    outputs: Mapping[str, Any] = field(default_factory=dict)
    state: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Command:
    """One process to run. ``argv`` is visible in the process list and must hold no secret; ``env`` and ``stdin`` may.

    ``argv[0]`` is an absolute path or a name found on the ``PATH`` in ``env``. ``env`` is the complete environment.
    ``cwd`` lies inside ``writable`` or ``read_only``: host paths visible at the same path, the rest of the host is not.
    """

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    stdin: bytes = field(default=b"", repr=False)
    writable: tuple[Path, ...] = ()
    read_only: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Exit:
    """How a process ended: ``code`` as a shell would show it (128 + signal when killed by one).

    ``tail`` is the end of its logged output, redacted, at most 4,096 bytes.
    """

    code: int
    duration_s: float
    timed_out: bool = False
    cancelled: bool = False
    tail: str = field(default="", repr=False)

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with code 0."""
        return self.code == 0 and not self.timed_out and not self.cancelled

    @property
    def signal(self) -> int | None:
        """The signal that ended it, as far as the code tells."""
        return self.code - 128 if 128 < self.code < 160 else None


@dataclass(frozen=True)
class Marks:
    """Durable evidence of a start and an end, by which a probe settles an apply after our death.

    ``name`` is the phase. ``results`` are files the tool writes that must be durable before its end is marked.
    """

    folder: Path
    name: str
    results: tuple[Path, ...] = ()


class Runner(Protocol):
    """Starts processes under the pool's sandbox and sees to their end."""

    def check(self, policy: SandboxPolicy) -> None:
        """Raise ``sandbox_unavailable`` when the sandbox cannot be made here, so that a plan says so, not an apply."""
        ...

    def sweep(self) -> None:
        """End every process that a killed process of ours left behind, so that what a probe sees does not change.

        ``run`` does so too before it starts the first one; costs nothing after that.
        """
        ...

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
        """Run to the end; when this returns or raises, no process of the tree is left.

        ``deadline_s`` is what is left of the phase's time; without it ``task.deadline_s`` counts from now.
        Output (standard output and error) is redacted by ``task.redactor`` and appended to ``task.output``.
        ``on_stdout`` gets standard output raw, in chunks of up to 64 KiB that split lines anywhere, and must redact
        what it keeps; ``log_stdout=False`` keeps standard output (not error) out of the log. On cancel or deadline:
        SIGINT to the process group, ``grace_s``, SIGINT, ``grace_s``, then SIGKILL to the whole tree. Raises
        ``sandbox_unavailable``, and ``tool_missing`` when ``argv[0]`` cannot be executed.
        """
        ...


@dataclass(frozen=True)
class Toolbox:
    """What an executor is built from.

    ``environ`` is the platform's environment as bootstrap read it (never passed to a step whole), ``options`` the
    platform's settings by name, e.g. ``terraform_path``.
    """

    runner: Runner
    environ: Mapping[str, str] = field(repr=False)
    options: Mapping[str, str] = field(default_factory=dict)


class Executor(Protocol):
    """Five functions; cancelling is ``task.cancel``, which the runner honours.

    An entry point of the group ``mandamus.executors`` names a function ``build(toolbox: Toolbox) -> Executor``.
    """

    @property
    def name(self) -> str:
        """The key under which a step asks for this executor."""
        ...

    def validate(self, node: Node) -> list[Problem]:
        """Every problem of a step's spec as written, before any value is resolved."""
        ...

    def plan(self, task: Task) -> Planned:
        """Say what apply would do, without doing it. Raises what stops it."""
        ...

    def apply(self, task: Task, blob: bytes) -> Applied:
        """Do exactly what ``blob`` says. A failure of the tool is an ``Applied``, not an exception.

        Raises ``effect_indeterminate`` when it was begun and nobody can tell what came of it; then ``probe`` is asked.
        """
        ...

    def probe(self, task: Task, blob: bytes) -> Probed:
        """Find out, without changing anything, what became of an apply whose result was never recorded."""
        ...


def _private(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
