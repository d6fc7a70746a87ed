from __future__ import annotations

import json
import threading

import pytest
import sqlalchemy as sa

from mandamus.executors import state as states
from mandamus.executors.model import StateRef
from mandamus.executors.state import StateStore
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database
from mandamus.store.tables.executors import executor_state

AT = ("prod", "terraform/bucket")


def made(serial: int, *, lineage: str = "l1", content: object = "x", version: str = "1.9") -> bytes:
    return json.dumps(
        {"version": 4, "terraform_version": version, "serial": serial, "lineage": lineage, "resources": [content]}
    ).encode()


@pytest.fixture
def store(database: Database, blobs, clock) -> StateStore:
    return StateStore(database, blobs, clock)


@pytest.fixture
def write(database: Database, store: StateStore):
    def do(data: bytes, run: str = "r1", step: str = "s"):
        with database.begin("write") as tx:
            assert store.acquire(tx, *AT, run, step)
            return store.write(tx, *AT, data, run, step)

    return do


def refused(call, *arguments) -> Code:
    with pytest.raises(MandamusError) as error:
        call(*arguments)
    return error.value.code


def test_the_newest_version_is_what_is_read_and_none_is_lost(store, write, database, blobs):
    """Every write is a version of its own, byte for byte, and the newest is the state."""
    assert store.latest(*AT) is None
    assert store.ref(*AT) is None
    for serial in (1, 2, 7):
        written = write(made(serial))
        assert written.ref == StateRef("l1", serial)
    assert store.latest(*AT).data == made(7)
    assert store.ref(*AT) == StateRef("l1", 7)
    assert store.latest("dev", AT[1]) is None
    with database.read() as conn:
        rows = conn.execute(sa.select(executor_state).order_by(executor_state.c.version)).all()
    assert [(row.version, row.serial) for row in rows] == [(1, 1), (2, 2), (3, 7)]
    assert [blobs.get(row.digest) for row in rows] == [made(1), made(2), made(7)]


def test_another_history_or_an_older_serial_never_overwrites(store, write):
    """Another lineage, a lower serial and other content under the same serial are conflicts; nothing is written."""
    write(made(5))
    assert refused(write, made(6, lineage="l2")) is Code.STATE_CONFLICT
    assert refused(write, made(4)) is Code.STATE_CONFLICT
    assert refused(write, made(5, content="y")) is Code.STATE_CONFLICT
    assert store.latest(*AT).data == made(5)


def test_the_same_state_may_be_written_again(store, write, database):
    """A repeated write adds nothing; a newer tool that only wrote its own release adds a version."""
    write(made(5))
    write(made(5))
    write(made(5, version="1.10"))
    with database.read() as conn:
        assert conn.scalar(sa.select(sa.func.count()).select_from(executor_state)) == 2
    assert store.latest(*AT).data == made(5, version="1.10")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"lineage": "a"}',
        b'{"lineage": "", "serial": 1}',
        b'{"lineage": "a", "serial": -1}',
        b'{"lineage": "a", "serial": 1.0}',
        b'{"lineage": "a", "serial": true}',
        b'{"lineage": "a", "serial": "1"}',
        b'{"lineage": "a", "serial": 1, "serial": 2}',
        b'{"lineage": "a", "serial": 9223372036854775808}',
        b"\xff\xfe",
    ],
)
def test_bytes_that_are_no_state_are_refused(data):
    """A state has one lineage and one whole serial; anything else is refused before a row names it."""
    assert refused(states.parse, data) is Code.VALUE_INVALID


def test_numbers_of_a_state_are_never_rounded(write, store):
    """What the tool wrote comes back byte for byte, whatever its numbers look like."""
    data = b'{"serial": 9007199254740993, "lineage": "a", "n": 0.1000000000000000055511151231257827, "e": 1E400}'
    assert write(data).serial == 9007199254740993
    assert store.latest(*AT).data == data


def test_one_step_holds_a_state_at_a_time(store, database):
    """The lock is the step's: it may ask again, others may not have it, and only its holder gives it back."""
    with database.begin("lock") as tx:
        assert store.acquire(tx, *AT, "r1", "a")
        assert store.acquire(tx, *AT, "r1", "a")
        assert not store.acquire(tx, *AT, "r1", "b")
        assert not store.acquire(tx, *AT, "r2", "a")
        assert store.acquire(tx, "dev", AT[1], "r2", "a")
    held = store.holder(*AT)
    assert (held.run, held.step) == ("r1", "a")
    with database.begin("release") as tx:
        store.release(tx, *AT, "r2", "a")
        store.release(tx, *AT, "r1", "b")
        assert not store.acquire(tx, *AT, "r2", "a")
        store.release(tx, *AT, "r1", "a")
        assert store.acquire(tx, *AT, "r2", "a")
    assert store.holder("dev", AT[1]).run == "r2"


def test_only_the_holder_writes(store, database):
    """A step that lost its lock, or never had it, cannot write a state."""

    def write(run: str, step: str) -> None:
        with database.begin("write") as tx:
            store.write(tx, *AT, made(1), run, step)

    assert refused(write, "r1", "a") is Code.STATE_LOCKED
    with database.begin("lock") as tx:
        store.acquire(tx, *AT, "r1", "a")
    assert refused(write, "r2", "a") is Code.STATE_LOCKED
    assert refused(write, "r1", "b") is Code.STATE_LOCKED
    write("r1", "a")
    assert store.latest(*AT).serial == 1


def test_a_write_that_is_rolled_back_never_was(store, database):
    """The version appears with the caller's transaction or not at all."""
    with pytest.raises(RuntimeError), database.begin("write") as tx:
        store.acquire(tx, *AT, "r1", "a")
        store.write(tx, *AT, made(1), "r1", "a")
        raise RuntimeError
    assert store.latest(*AT) is None
    assert store.holder(*AT) is None


def test_of_many_that_race_for_a_lock_exactly_one_gets_it(store, database):
    """Whatever the interleaving, one holder."""
    for number in range(5):
        barrier = threading.Barrier(8)
        won: list[str] = []

        def race(run: str, barrier=barrier, won=won, name=f"state{number}") -> None:
            barrier.wait()
            with database.begin("lock") as tx:
                if store.acquire(tx, "prod", name, run, "a"):
                    won.append(run)

        threads = [threading.Thread(target=race, args=(f"r{index}",)) for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert won == [store.holder("prod", f"state{number}").run]


def test_who_queues_up_is_seen_by_the_release(store, database):
    """Between "another holds it" and the end of that transaction the holder cannot slip away unseen."""
    with database.begin("lock") as tx:
        store.acquire(tx, *AT, "r1", "a")
    released = threading.Event()

    def release() -> None:
        with database.begin("release") as tx:
            store.release(tx, *AT, "r1", "a")
        released.set()

    with database.begin("queue") as tx:
        assert not store.acquire(tx, *AT, "r2", "a")
        other = threading.Thread(target=release)
        other.start()
        assert not released.wait(0.3)
    other.join()
    assert released.is_set()


def test_counting_up_in_many_threads_loses_no_write(store, database):
    """Read, count up and write under the lock, from many threads: every serial is written once."""
    per_thread = 4

    def count(run: str) -> None:
        left = per_thread
        while left:
            with database.begin("count") as tx:
                if not store.acquire(tx, *AT, run, "a"):
                    continue
                before = store.ref(*AT) if database.is_sqlite else states._newest(tx.conn, *AT)
                found = 0 if before is None else getattr(before, "ref", before).serial
                store.write(tx, *AT, made(found + 1), run, "a")
                store.release(tx, *AT, run, "a")
                left -= 1

    threads = [threading.Thread(target=count, args=(f"r{index}",)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.latest(*AT).serial == 4 * per_thread
