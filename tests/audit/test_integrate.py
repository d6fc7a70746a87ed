"""Integration: dense indices under concurrency, one root per size, waiting for a checkpoint, refusing to go back."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from mandamus.audit import note, tree
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Leaf
from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.audit.verify import verify_log
from mandamus.kernel import canonical
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database, open_sqlite
from mandamus.store.tables import audit as tables

Write = Callable[..., list[Leaf]]
Open = Callable[..., Audit]


def test_first_leaf_anchors_the_platform_key(audit: Audit, platform: Signer) -> None:
    """Leaf 0 opens the log and names the platform's key, so that one trust root is enough."""
    opened = audit.opened()
    fields = canonical.loads(opened.bytes)
    assert (opened.index, fields["kind"], fields["data"]["platform_key"]) == (0, "log.opened", platform.vkey)


def test_opening_again_changes_nothing(open_audit: Open) -> None:
    """Every start opens the log; only the first one writes."""
    assert open_audit().flush().size == open_audit().flush().size == 1


def test_wait_returns_a_published_checkpoint(audit: Audit, folder: Path, write: Write, signer: Signer) -> None:
    """When the wait ends, the leaf is in the tree that the published checkpoint signs."""
    leaf = write(audit, 5)[-1]
    checkpoint = audit.wait_checkpointed(leaf)
    assert note.read_checkpoint((folder / "checkpoint").read_bytes(), signer.verifier) == checkpoint
    assert audit.events("run_1")[-1].index < checkpoint.size
    assert verify_log(folder, audit.vkey).ok


def test_nothing_is_published_before_the_wait(audit: Audit, folder: Path, write: Write) -> None:
    """Recording alone publishes nothing: order is commit, then sign, then show."""
    before = (folder / "checkpoint").read_bytes()
    write(audit, 3)
    assert (folder / "checkpoint").read_bytes() == before


def test_many_waiters_share_integrations(audit: Audit, database: Database, write: Write) -> None:
    """Waiters that come while one integration works are served together by the next."""
    barrier = threading.Barrier(8)

    def one(number: int) -> int:
        barrier.wait()
        return max(audit.wait_checkpointed(leaf).size for leaf in write(audit, 4, run=f"run_{number}"))

    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(one, range(8)))
    with database.read() as conn:
        checkpoints = conn.scalar(sa.select(sa.func.count()).select_from(tables.audit_checkpoint))
    assert max(sizes) == 33
    assert checkpoints is not None
    assert checkpoints <= 33
    assert audit.verify_database().ok


def test_two_integrators_give_dense_indices(open_audit: Open, database: Database, folder: Path, write: Write) -> None:
    """Two processes' worth of integrators on one home: every event once, no gap, one root per size, both verify."""
    audits = [open_audit(), open_audit()]

    def work(number: int) -> None:
        audit = audits[number % 2]
        for leaf in write(audit, 25, run=f"run_{number}"):
            if leaf.seq % 5 == 0:
                audit.wait_checkpointed(leaf)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert audits[0].flush().size == audits[1].flush().size == 151
    with database.read() as conn:
        found = list(conn.scalars(sa.select(tables.audit_leaf.c.leaf_index).order_by(tables.audit_leaf.c.leaf_index)))
    assert found == list(range(151))
    assert audits[1].verify_database().problems == ()
    assert verify_log(folder, audits[0].vkey).problems == ()


def test_checkpoints_are_consistent(audit: Audit, database: Database, write: Write, signer: Signer) -> None:
    """Every checkpoint ever signed is a prefix of the newest, and every leaf is provable in it."""
    for _ in range(6):
        write(audit, 60)
        newest = audit.flush()
    with database.read() as conn:
        rows = conn.execute(sa.select(tables.audit_checkpoint)).all()
    for row in rows:
        old = note.read_checkpoint(row.note, signer.verifier)
        found = audit.consistency(old.size, newest.size)
        assert tree.verify_consistency(old.size, newest.size, old.root, newest.root, found)
    assert len(audit.prove(range(newest.size), newest)) == newest.size == 361


def test_large_batches_are_split(audit: Audit, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long queue takes several integrations, and a wait covers all of them."""
    monkeypatch.setattr("mandamus.audit.integrator.BATCH_MAX", 7)
    leaf = write(audit, 30)[-1]
    assert audit.wait_checkpointed(leaf).size == 31
    assert audit.verify_database().ok


def test_background_thread_publishes(audit: Audit, folder: Path, write: Write) -> None:
    """With the thread running, events are published without anyone waiting, and stop publishes the rest."""
    audit.start()
    audit.start()
    leaf = write(audit, 3)[-1]
    done = threading.Event()

    def seen() -> None:
        while audit.events("run_1") == []:
            done.wait(0.01)
        done.set()

    watcher = threading.Thread(target=seen)
    watcher.start()
    watcher.join(60)
    assert done.is_set()
    audit.wait_checkpointed(leaf)
    write(audit, 2)
    audit.stop()
    assert verify_log(folder, audit.vkey).size == 6


def test_silence_is_proved(audit: Audit, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle long-lived process records a heartbeat, so that silence differs from truncation."""
    monkeypatch.setattr("mandamus.audit.service.HEARTBEAT_S", 0.05)
    audit.start()
    pause = threading.Event()
    for _ in range(1200):
        pause.wait(0.05)
        if verify_log(folder, audit.vkey).size > 1:
            break
    audit.stop()
    kinds = [canonical.loads(leaf.bytes)["kind"] for leaf in audit.stream(audit.opened().stream)]
    assert kinds[:2] == [Kind.LOG_OPENED.text, Kind.LOG_HEARTBEAT.text]


def test_waiting_inside_a_transaction_is_a_mistake(audit: Audit, database: Database, write: Write) -> None:
    """A leaf whose transaction is open cannot be covered; waiting for it would wait for ever."""
    leaf = write(audit, 1)[0]
    with pytest.raises(AssertionError), database.begin("test"):
        audit.wait_checkpointed(leaf)


def test_wait_ends_in_time(audit: Audit, write: Write) -> None:
    """When the log is busy for too long the wait ends with a retryable error: nothing may be applied."""
    leaf = write(audit, 1)[0]
    with audit._turn, pytest.raises(MandamusError) as caught:
        audit.wait_checkpointed(leaf, timeout_s=0.01)
    assert caught.value.code is Code.AUDIT_UNAVAILABLE
    assert caught.value.retryable


def test_an_unwritable_log_stops_everything(audit: Audit, folder: Path, write: Write) -> None:
    """No checkpoint without a place to publish it; once the place is back, the same path catches up."""
    leaf = write(audit, 1)[0]
    moved = folder.rename(folder.with_name("away"))
    folder.write_text("in the way")
    with pytest.raises(MandamusError) as caught:
        audit.wait_checkpointed(leaf)
    assert caught.value.code is Code.AUDIT_UNAVAILABLE
    folder.unlink()
    moved.rename(folder)
    assert audit.wait_checkpointed(leaf).size == 2
    assert verify_log(folder, audit.vkey).ok


def test_a_database_behind_its_published_log_is_refused(
    sqlite_database: Database, home: Path, folder: Path, signer: Signer, platform: Signer, who, clock, entropy, tmp_path
) -> None:
    """Restoring an old database below the published checkpoint refuses to start, and signs nothing."""
    audit = Audit(sqlite_database, folder, signer, clock, entropy)
    audit.open(who, platform.vkey)
    sqlite_database.close()
    old = tmp_path / "old.db"
    shutil.copy(home / "mandamus.db", old)
    audit.verify(who)
    audit.flush()
    restored = Database(open_sqlite(old))
    before = (folder / "checkpoint").read_bytes()
    with pytest.raises(MandamusError) as caught:
        Audit(restored, folder, signer, clock, entropy).open(who, platform.vkey)
    assert caught.value.code is Code.AUDIT_TAMPERED
    assert (folder / "checkpoint").read_bytes() == before
    with restored.read() as conn:
        assert conn.scalar(sa.select(tables.audit_head.c.size)) == 1
    restored.close()


def test_two_histories_are_refused(open_audit: Open, audit: Audit, folder: Path, write: Write, signer: Signer) -> None:
    """A published checkpoint that this database never signed refuses to start, although its signature is good."""
    write(audit, 4)
    audit.flush()
    (folder / "checkpoint").write_bytes(note.sign_checkpoint(signer, 3, tree.leaf_hash(b"other")).note)
    for attempt in (audit.flush, open_audit):
        with pytest.raises(MandamusError) as caught:
            attempt()
        assert caught.value.code is Code.AUDIT_TAMPERED


def test_a_log_of_another_key_is_refused(open_audit: Open, audit: Audit, folder: Path, signer: Signer) -> None:
    """A home whose log.vkey or checkpoint is of another key does not start."""
    (folder / "log.vkey").write_text(Signer(signer.name, b"\x09" * 32).vkey)
    with pytest.raises(MandamusError) as caught:
        open_audit()
    assert caught.value.code is Code.AUDIT_UNTRUSTED


def test_an_unopened_log_says_so(database: Database, folder: Path, signer: Signer, clock, entropy) -> None:
    """A log without leaves has no checkpoint; the error names the next command."""
    with pytest.raises(MandamusError) as caught:
        Audit(database, folder, signer, clock, entropy).flush()
    assert caught.value.code is Code.AUDIT_INCOMPLETE
    assert "mandamus init" in caught.value.remedy
