"""A log on either database, and what tests write into it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Leaf, Resource, Where
from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.kernel.access import OWNER, Subject
from mandamus.kernel.clock import Clock
from mandamus.kernel.ids import Entropy
from mandamus.store.database import Database

ORIGIN = "log.example.com/home"
Open = Callable[..., Audit]


@pytest.fixture
def who() -> Subject:
    return Subject("ada", "os-user", frozenset({"platform"}), OWNER, "Ada Lovelace")


@pytest.fixture
def signer() -> Signer:
    return Signer(ORIGIN, b"\x07" * 32)


@pytest.fixture
def platform() -> Signer:
    return Signer(f"{ORIGIN}/platform", b"\x08" * 32)


@pytest.fixture
def folder(home: Path) -> Path:
    return home / "log"


@pytest.fixture
def open_audit(
    database: Database, folder: Path, signer: Signer, platform: Signer, who: Subject, clock: Clock, entropy: Entropy
) -> Open:
    """Open the log as a process that starts would; several may be open at once."""

    def opened(into: Path = folder) -> Audit:
        audit = Audit(database, into, signer, clock, entropy)
        audit.open(who, platform.vkey)
        return audit

    return opened


@pytest.fixture
def audit(open_audit: Open) -> Audit:
    return open_audit()


@pytest.fixture
def write(database: Database, who: Subject) -> Callable[..., list[Leaf]]:
    """Record events, each in a transaction of its own."""

    def recorded(audit: Audit, count: int, run: str = "run_1") -> list[Leaf]:
        leaves = []
        for number in range(count):
            event = Event(
                Kind.STEP_STARTED,
                who,
                Resource("step", "build"),
                run=run,
                step="build",
                where=Where(address="192.0.2.7", agent="mandamus-cli"),
                data={"attempt": number + 1},
            )
            with database.begin("test") as tx:
                leaves.append(audit.record(tx, event))
        return leaves

    return recorded
