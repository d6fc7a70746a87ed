"""The values of the audit log: the event as a room reports it, the leaf as it is proved, the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from mandamus.audit.kinds import Kind
from mandamus.kernel.access import Subject
from mandamus.kernel.errors import Exit

FORMAT = "leaf/1"
LEAF_BYTES_MAX = 65_535
"""An entry bundle gives each leaf a two-byte length (C2SP tlog-tiles)."""


class Follower(Protocol):
    """Works in the background on what is published, and holds up nobody."""

    def start(self) -> None:
        """Begin; once."""

    def nudge(self) -> None:
        """There is a new checkpoint; returns at once."""

    def stop(self) -> None:
        """Let go, within seconds; what is left is found again at the next start."""


class Outcome(StrEnum):
    """How what the event tells of went."""

    OK = "ok"
    DENIED = "denied"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Resource:
    """What the event is about, e.g. ``Resource("run", run_id)`` or ``Resource("environment", "prod")``."""

    type: str
    id: str


@dataclass(frozen=True)
class Authority:
    """On what the action stands: ids of decisions and approvals."""

    decisions: tuple[str, ...] = ()
    approvals: tuple[str, ...] = ()


@dataclass(frozen=True)
class Event:
    """What happened, as a room reports it.

    ``data`` holds only fields its kind allows, each in its form, beside the ticket that ``who`` acts on. ``why`` is the
    one place for words of people's own.
    """

    kind: Kind
    who: Subject
    resource: Resource
    outcome: Outcome = Outcome.OK
    run: str | None = None
    step: str | None = None
    why: str = ""
    authority: Authority = Authority()
    project: str = ""
    environment: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stream(self) -> str:
        """The chain the event belongs to: its run, or the thing it is about."""
        return f"run/{self.run}" if self.run else f"{self.resource.type}/{self.resource.id}"


@dataclass(frozen=True)
class Leaf:
    """A recorded event: ``bytes`` are the exact canonical leaf, ``hash`` its RFC 6962 leaf hash (32 bytes)."""

    stream: str
    seq: int
    hash: bytes
    bytes: bytes


@dataclass(frozen=True)
class Checkpoint:
    """A signed tree head; ``note`` is the C2SP signed note, ``root`` 32 bytes, ``size`` in leaves."""

    origin: str
    size: int
    root: bytes
    note: bytes


@dataclass(frozen=True)
class IndexedLeaf:
    """A leaf with its place in the log; ``index`` counts from 0."""

    index: int
    stream: str
    seq: int
    hash: bytes
    bytes: bytes


class Verdict(StrEnum):
    """What a verification found; also the classes of its exit codes (0, 10, 11, 12)."""

    OK = "ok"
    TAMPERED = "tampered"
    INCOMPLETE = "incomplete"
    UNTRUSTED = "untrusted"

    @property
    def exit(self) -> Exit:
        """The exit code of a command that found this."""
        return Exit[self.name]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: in which file (or table), and at which leaf index where one can be named."""

    verdict: Verdict
    message: str
    file: str = ""
    leaf: int | None = None

    def __str__(self) -> str:
        return f"{self.file}: {self.message}" if self.file else self.message


@dataclass(frozen=True)
class Report:
    """What a verification found. ``size`` is in leaves; the worst finding is the outcome.

    ``since`` counts the leaves that were verified before and were built on. Entries below ``pruned`` are gone, as leaf
    ``pruned_by`` says. ``witnessed`` is set when witnesses cosigned the first so many leaves, and not all.
    """

    size: int
    problems: tuple[Finding, ...] = ()
    origin: str = ""
    since: int = 0
    pruned: int = 0
    pruned_by: int | None = None
    witnessed: int | None = None

    @property
    def outcome(self) -> Verdict:
        """``untrusted`` before ``tampered`` before ``incomplete``: without trust nothing else means anything."""
        found = {problem.verdict for problem in self.problems}
        for verdict in (Verdict.UNTRUSTED, Verdict.TAMPERED, Verdict.INCOMPLETE):
            if verdict in found:
                return verdict
        return Verdict.OK

    @property
    def ok(self) -> bool:
        """Whether everything fits."""
        return not self.problems

    @property
    def leaf(self) -> int | None:
        """The first leaf index any finding names."""
        return min((p.leaf for p in self.problems if p.leaf is not None), default=None)

    @property
    def gone(self) -> str:
        """What is said of entries that are pruned."""
        return f"entries 0 to {self.pruned - 1} are pruned, as leaf {self.pruned_by} says; their hashes are there"

    def merge(self, other: Report) -> Report:
        """Both reports as one."""
        gone = max(self, other, key=lambda each: each.pruned)
        size, problems = max(self.size, other.size), self.problems + other.problems
        return Report(size, problems, self.origin or other.origin, 0, gone.pruned, gone.pruned_by)

    def to_json(self) -> dict[str, object]:
        """As commands print it."""
        problems = [{**vars(problem), "verdict": problem.verdict.value} for problem in self.problems]
        found = {"outcome": self.outcome.value, "origin": self.origin, "size": self.size, "since": self.since}
        cosigned = {} if self.witnessed is None else {"witnessed": self.witnessed}
        pruned = {"pruned": self.pruned, "pruned_by": self.pruned_by} if self.pruned else {}
        return {**found, **pruned, **cosigned, "problems": problems}
