"""What every database must do for the rooms above, on SQLite and on Postgres alike."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database, open_sqlite
from mandamus.store.migrate import HEAD, VERSION_TABLE, migrate
from mandamus.store.schema import metadata

counter = sa.Table(
    "test_counter", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("n", sa.Integer)
)


@pytest.fixture
def counting(database: Database) -> Database:
    with database.begin("make") as tx:
        counter.create(tx.conn)
        tx.conn.execute(counter.insert().values(id=1, n=0))
    return database


def _count(database: Database) -> int:
    with database.read() as conn:
        return conn.scalar(sa.select(counter.c.n))


def test_a_failed_block_leaves_nothing(counting: Database):
    """An exception inside a transaction rolls back everything in it."""
    with pytest.raises(RuntimeError), counting.begin("fail") as tx:
        tx.conn.execute(counter.update().values(n=7))
        raise RuntimeError
    assert _count(counting) == 0


def test_what_is_left_for_after_the_commit_runs_only_then(counting: Database):
    """An after-commit action sees the committed row, and never runs after a rollback."""
    seen: list[int] = []
    with counting.begin("ok") as tx:
        tx.conn.execute(counter.update().values(n=1))
        tx.after_commit(lambda: seen.append(_count(counting)))
        assert seen == []
    with pytest.raises(RuntimeError), counting.begin("fail") as tx:
        tx.after_commit(lambda: seen.append(-1))
        raise RuntimeError
    assert seen == [1]


def test_concurrent_read_modify_write_loses_nothing(counting: Database):
    """A hundred increments from ten threads are a hundred: writers queue, they do not overwrite each other."""

    def add() -> None:
        for _ in range(10):
            with counting.begin("add") as tx:
                n = tx.conn.scalar(sa.select(counter.c.n).with_for_update())
                tx.conn.execute(counter.update().values(n=n + 1))

    threads = [threading.Thread(target=add) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _count(counting) == 100


def test_transactions_do_not_nest(counting: Database):
    """A transaction inside a transaction is a mistake in the program and says so."""
    with counting.begin("outer"), pytest.raises(AssertionError, match="inside 'outer'"), counting.begin("inner"):
        pass
    assert not counting.in_transaction


def test_commit_hooks_see_every_commit(sqlite_database: Database):
    """The hook is called right before and right after each commit, with the transaction's label."""
    seen: list[tuple[str, str]] = []
    hooked = Database(sqlite_database.engine, lambda moment, label: seen.append((moment, label)))
    with hooked.begin("one"):
        pass
    assert seen == [("before", "one"), ("after", "one")]


def test_the_migrated_schema_is_the_declared_schema(database: Database):
    """After migrating, Alembic finds no difference between the database and the declared tables."""
    with database.engine.connect() as conn:
        context = MigrationContext.configure(
            conn,
            opts={
                "version_table": VERSION_TABLE,
                "include_object": lambda _o, name, kind, _r, _c: kind != "table" or name in metadata.tables,
            },
        )
        assert compare_metadata(context, metadata) == []


def test_migrating_twice_changes_nothing_and_a_newer_schema_is_refused(database: Database):
    """Migration is idempotent; a database from a later release is never touched."""
    migrate(database.engine)
    with database.begin("newer") as tx:
        tx.conn.execute(sa.text("UPDATE mandamus_schema SET version_num = '9999'"))
    with pytest.raises(MandamusError) as caught:
        migrate(database.engine)
    assert caught.value.code is Code.SCHEMA_UNKNOWN
    assert HEAD in caught.value.message


def test_a_killed_writer_leaves_the_last_commit(home: Path):
    """SQLite with synchronous FULL keeps what was committed and drops what was not when the process is killed."""
    path = home / "kill.db"
    script = f"""
import os, signal, sqlalchemy as sa
from pathlib import Path
from mandamus.store.database import Database, open_sqlite
db = Database(open_sqlite(Path({str(path)!r})))
with db.begin("a") as tx:
    tx.conn.exec_driver_sql("CREATE TABLE t (n INTEGER)")
    tx.conn.exec_driver_sql("INSERT INTO t VALUES (1)")
with db.begin("b") as tx:
    tx.conn.exec_driver_sql("INSERT INTO t VALUES (2)")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, env=dict(os.environ))
    assert done.returncode == -signal.SIGKILL
    with Database(open_sqlite(path)).read() as conn:
        assert [row.n for row in conn.exec_driver_sql("SELECT n FROM t")] == [1]


def test_a_full_disk_is_a_retryable_error_with_a_remedy(sqlite_database: Database):
    """A full disk surfaces as `storage_full`, and the transaction leaves nothing behind."""
    with sqlite_database.begin("make") as tx:
        tx.conn.exec_driver_sql("CREATE TABLE fill (data BLOB)")
    with sqlite_database.engine.connect() as conn:
        pages = conn.exec_driver_sql("PRAGMA page_count").scalar()
    with pytest.raises(MandamusError) as caught, sqlite_database.begin("fill") as tx:
        tx.conn.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
        tx.conn.exec_driver_sql("INSERT INTO fill VALUES (zeroblob(1000000))")
    assert caught.value.code is Code.STORAGE_FULL
    assert caught.value.retryable
    with sqlite_database.read() as conn:
        assert conn.exec_driver_sql("SELECT count(*) FROM fill").scalar() == 0
