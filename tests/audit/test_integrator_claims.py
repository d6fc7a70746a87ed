"""What the integrator promises, each promise by itself: see the docstring of ``Integrator.integrate``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from mandamus.audit import note, store, tree
from mandamus.audit.integrator import Integrator
from mandamus.audit.keyring import keyring_of
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Leaf, Resource
from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database
from mandamus.store.tables import audit as tables

Write = Callable[..., list[Leaf]]
Open = Callable[..., Audit]

ON_POSTGRES = pytest.mark.parametrize("database", ["postgres"], indirect=True)
"""SQLite lets one writer in at a time: there nobody can be beside another."""


class StopError(Exception):
    """The transaction ends here."""


@ON_POSTGRES
def test_writers_never_wait_for_an_integrator(open_audit: Open, database: Database, write: Write) -> None:
    """While one holds the head for as long as it likes, events commit."""
    audit = open_audit()
    done = threading.Event()

    def writer() -> None:
        write(audit, 20)
        done.set()

    with database.begin("holds the head") as tx:
        store.lock_head(tx.conn, audit._keys.name)
        store.take_queue(tx.conn, 10)
        thread = threading.Thread(target=writer)
        thread.start()
        assert done.wait(60), "a writer waits for the head's lock"
        thread.join()
    assert audit.waiting() == 20


def test_a_second_integrator_waits_for_the_first(open_audit: Open, database: Database, write: Write) -> None:
    """The head row lets one through at a time, and the second goes on from what the first one committed."""
    audit, other = open_audit(), open_audit()
    write(audit, 10)
    sizes: list[int] = []
    with database.begin("integrates") as tx:
        done = Integrator(audit._keys, audit._clock).integrate(tx, None)
        thread = threading.Thread(target=lambda: sizes.append(other.flush().size))
        thread.start()
        thread.join(0.3)
        assert sizes == []
    thread.join(60)
    assert done.checkpoint is not None
    assert sizes == [done.checkpoint.size] == [11]
    assert audit.verify_database().problems == ()


@ON_POSTGRES
def test_what_comes_meanwhile_gets_the_next_places(open_audit: Open, database: Database, write: Write) -> None:
    """Events that commit while one integrates are taken by the next, at the indices behind."""
    audit, other = open_audit(), open_audit()
    write(audit, 4)
    sizes: list[int] = []
    with database.begin("integrates") as tx:
        assert Integrator(audit._keys, audit._clock).integrate(tx, None).first == 1
        threads = [
            threading.Thread(target=lambda: write(audit, 3, run="run_2")),
            threading.Thread(target=lambda: sizes.append(other.flush().size)),
        ]
        for thread in threads:
            thread.start()
            thread.join(1.0)
    for thread in threads:
        thread.join(60)
    assert sizes == [8]
    assert [leaf.index for leaf in audit.stream("run/run_2")] == [5, 6, 7]
    assert audit.verify_database().problems == ()


def test_what_is_rolled_back_was_never_there(audit: Audit, database: Database, folder: Path, write: Write) -> None:
    """An integration that does not commit shows nobody anything, and the same size may then get another root."""
    write(audit, 3)
    before = (folder / "checkpoint").read_bytes()
    lost = None
    with pytest.raises(StopError), database.begin("integrates") as tx:
        lost = audit._integrator.integrate(tx, None).checkpoint
        raise StopError
    assert (folder / "checkpoint").read_bytes() == before
    write(audit, 2, run="run_2")
    newest = audit.flush()
    assert lost is not None
    assert (lost.size, newest.size) == (4, 6)
    assert audit.verify_database().problems == ()
    with database.read() as conn:
        assert store.checkpoint_at(conn, lost.size, newest.origin) is None


def test_one_size_never_gets_two_roots(audit: Audit, database: Database, write: Write, signer: Signer) -> None:
    """Even who ignores the lock and signs cannot write a second root beside the first: the database refuses it."""
    write(audit, 3)
    newest = audit.flush()
    forged = note.sign_checkpoint(signer, newest.size, tree.leaf_hash(b"another history"))
    with pytest.raises(exc.IntegrityError), database.begin("forges") as tx:
        store.move_head(tx.conn, forged, 1)
    with pytest.raises(exc.DBAPIError, match="append-only"), database.begin("forges") as tx:
        tx.conn.execute(sa.update(tables.audit_checkpoint).values(root=forged.root))
    assert audit.flush() == newest


def test_an_index_is_given_once(audit: Audit, database: Database, write: Write) -> None:
    """No event gets two places and no place two events, whoever writes the rows."""
    write(audit, 2)
    audit.flush()
    for row in ((1, 99, b""), (99, 1, b"")):
        with pytest.raises(exc.IntegrityError), database.begin("forges") as tx:
            store.insert_leaves(tx.conn, [row])


@ON_POSTGRES
def test_late_commits_come_later(database: Database, audit: Audit, write: Write, who) -> None:
    """An event that got its id early and commits late is neither skipped nor waited for."""
    event = Event(Kind.STEP_PLANNED, who, Resource("step", "s"), run="run_slow", step="s", data={"attempt": 1})
    began, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        with database.begin("slow") as tx:
            audit.record(tx, event)
            # The id is drawn here, the commit comes much later.
            tx.complete()
            tx._before.clear()
            began.set()
            go_on.wait(100)

    thread = threading.Thread(target=slow)
    thread.start()
    assert began.wait(60)
    write(audit, 3)
    assert audit.flush().size == 4
    go_on.set()
    thread.join()
    assert audit.flush().size == 5
    assert [leaf.index for leaf in audit.stream("run/run_slow")] == [4]
    assert audit.verify_database().problems == ()


def test_a_head_behind_the_published_checkpoint_is_refused(
    open_audit: Open, database: Database, folder: Path, write: Write, signer: Signer
) -> None:
    """On either database: a published checkpoint that is ahead of the head stops the start and every integration."""
    audit = open_audit()
    write(audit, 3)
    newest = audit.flush()
    ahead = note.sign_checkpoint(signer, newest.size + 1, tree.leaf_hash(b"lost"))
    (folder / "checkpoint").write_bytes(ahead.note)
    write(audit, 5)
    for attempt in (open_audit, audit.flush, lambda: audit.wait_checkpointed(write(audit, 1)[-1])):
        with pytest.raises(MandamusError) as caught:
            attempt()
        assert caught.value.code is Code.AUDIT_TAMPERED
    assert (folder / "checkpoint").read_bytes() == ahead.note
    with database.read() as conn:
        assert store.read_head(conn)[0] == newest.size


def test_a_tree_that_was_changed_is_not_signed_on(
    database: Database, audit: Audit, write: Write, signer, clock
) -> None:
    """A new process computes the tree's edge from the rows: when it has not the head's root, nothing more is signed."""
    write(audit, 5)
    audit.flush()
    write(audit, 1)
    with database.begin("tampers") as tx:
        tx.conn.execute(sa.update(tables.audit_head).values(root=tree.leaf_hash(b"other")))
    with pytest.raises(MandamusError) as caught, database.begin("integrates") as tx:
        Integrator(keyring_of(signer), clock).integrate(tx, None)
    assert caught.value.code is Code.AUDIT_TAMPERED
