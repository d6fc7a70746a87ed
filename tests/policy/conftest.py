"""A real OPA behind a real pool, a service on either database, and a way to write policy sets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.kernel.access import OWNER, Subject
from mandamus.kernel.attachment import Attached
from mandamus.kernel.clock import Clock
from mandamus.kernel.ids import Digest, Entropy, Ids
from mandamus.policy import bundle, check, schema
from mandamus.policy.model import Bundle, Options, Point, PolicySet, Verdict
from mandamus.policy.pool import Limits, WorkerPool, worker_command
from mandamus.policy.service import Policy
from mandamus.store.blobs import Blobs
from mandamus.store.database import Database

Write = Callable[[Mapping[str, str]], Path]
Publish = Callable[..., Digest]
Made = Callable[[Mapping[str, str]], Bundle]

SYSTEM_NOW_US = 1_767_225_600_000_000


@pytest.fixture(scope="module", autouse=True)
def any_input() -> Iterator[None]:
    """Sets of these tests are asked with documents as small as a test needs; files about real inputs override this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "of_point", lambda _point: {"type": "object", "properties": {}})
        yield


class RealClock:
    """Deadlines of real processes need time that passes."""

    def now_us(self) -> int:
        """One moment for ever, so that records are the same in every run."""
        return SYSTEM_NOW_US

    def monotonic_s(self) -> float:
        """The machine's own."""
        return time.monotonic()


@pytest.fixture(scope="session")
def real_clock() -> Clock:
    return RealClock()


@pytest.fixture
def who() -> Subject:
    return Subject("ada", "os-user", frozenset({"platform"}), OWNER)


@pytest.fixture(scope="session")
def pool(real_clock: Clock) -> Iterator[WorkerPool]:
    """One pool for all tests of a process: workers are per set, so tests do not meet."""
    limits = Limits(workers_max=3)
    made = WorkerPool(real_clock, limits, worker_command(limits))
    yield made
    made.close()


@pytest.fixture
def own_pool(real_clock: Clock) -> Iterator[Callable[..., WorkerPool]]:
    """A pool with limits of its own."""
    opened = []

    def make(**changes: float) -> WorkerPool:
        limits = Limits(**changes)  # type: ignore[arg-type]
        opened.append(WorkerPool(real_clock, limits, worker_command(limits)))
        return opened[-1]

    yield make
    for pool in opened:
        pool.close()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write files into a new policy directory."""
    count = iter(range(1000))

    def written(files: Mapping[str, str]) -> Path:
        directory = tmp_path / f"policy{next(count)}"
        directory.mkdir()
        for name, text in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return directory

    return written


@pytest.fixture
def made(write: Write, pool: WorkerPool) -> Made:
    """A checked bundle without a database."""

    def make(files: Mapping[str, str]) -> Bundle:
        tree = bundle.read(write(files))
        found = check.check(tree, pool)
        assert found.problems == ()
        return bundle.unpack(bundle.pack(tree.files, found.entries, tree.options, found.modules, found.older))

    return make


@pytest.fixture
def audit(sqlite_database: Database, home: Path, clock: Clock, entropy: Entropy) -> Audit:
    return Audit(sqlite_database, home / "log", Signer("log.example.com/home", b"\x07" * 32), clock, entropy)


@pytest.fixture
def policy(
    sqlite_database: Database, blobs: Blobs, audit: Audit, pool: WorkerPool, real_clock: Clock, entropy: Entropy
) -> Policy:
    return Policy(sqlite_database, blobs, audit, pool, real_clock, Ids(real_clock, entropy))


@pytest.fixture
def publish(policy: Policy, sqlite_database: Database, write: Write, who: Subject) -> Publish:
    """Publish files as a set and return its digest."""

    def published(files: Mapping[str, str], options: Options | None = None) -> Digest:
        with sqlite_database.begin("test.publish") as tx:
            made: PolicySet = policy.publish(tx, who, policy.read(write(files), options))
        return made.digest

    return published


@pytest.fixture
def decide(policy: Policy) -> Callable[..., Verdict]:
    """Decide at the plan point of a protected environment."""

    def decided(document, sets, point=Point.PLAN, *, protected=True) -> Verdict:
        attached = [each if isinstance(each, Attached) else Attached(each) for each in sets]
        return policy.decide(point, document, attached, protected=protected, now_us=SYSTEM_NOW_US, environment="prod")

    return decided
