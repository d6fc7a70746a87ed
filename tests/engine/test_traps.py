"""Traps of DBOS and of SQLite that were measured once, kept as tests that run against each new release."""

import contextlib
import logging
import threading
import time

import dbos._dbos
import pytest
import sqlalchemy as sa
import structlog
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from mandamus.engine import dispatch, service
from mandamus.engine.service import Engine
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database
from mandamus.store.migrate import VERSION_TABLE, migrate
from mandamus.store.schema import metadata

NO_LIMIT = 1_000_000_000


@pytest.fixture
def often(monkeypatch) -> None:
    """Have the housekeeping done at every second look at the queue instead of every twentieth."""
    monkeypatch.setattr(dispatch, "HOUSEKEEPING_TURNS", 2)


def _columns(db: Database, row: str, *names: str) -> tuple[object, ...]:
    table = "workflow_status" if db.is_sqlite else "dbos.workflow_status"
    with db.read() as conn:
        query = sa.text(f"SELECT {', '.join(names)} FROM {table} WHERE workflow_uuid = :row")
        return tuple(conn.execute(query, {"row": row}).one())


def test_both_schemas_live_side_by_side(empty_sqlite: Database):
    """DBOS migrates first, then we do: each has its own version table, and neither sees to the other's tables."""
    for _ in range(2):
        dispatch.migrate(empty_sqlite.engine)
        migrate(empty_sqlite.engine)
    with empty_sqlite.engine.connect() as conn:
        tables = set(sa.inspect(conn).get_table_names())
        assert {VERSION_TABLE, "dbos_migrations", "workflow_status", "effect"} <= tables
        options = {
            "version_table": VERSION_TABLE,
            "include_object": lambda _o, name, kind, _r, _c: kind != "table" or name in metadata.tables,
        }
        assert compare_metadata(MigrationContext.configure(conn, opts=options), metadata) == []


OPENS = """
from mandamus.engine import dispatch
from mandamus.store.migrate import migrate

pipe.send("ready")
pipe.recv()
fresh = open_sqlite(home / "fresh.db")
dispatch.migrate(fresh)
migrate(fresh)
"""


@pytest.mark.parametrize("db", ["sqlite"], indirect=True)  # the embedded home is the one that several open unprepared
def test_a_fresh_home_may_be_opened_by_several_at_once(spawn):
    """Processes that open a fresh home together do not fall over each other's tables."""
    others = [spawn(OPENS) for _ in range(6)]
    for other in others:
        assert other.ask() == "ready"
    for other in others:
        other.tell()
    assert [other.wait() for other in others] == [0] * 6


def test_every_connection_is_durable_dbos_included(empty_sqlite: Database, engine: Engine, db: Database):
    """WAL, synchronous FULL and foreign keys hold on every connection, and DBOS has no connections of its own."""
    connections = [empty_sqlite.engine.connect() for _ in range(5)]
    for conn in connections:
        found = [conn.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
        assert found == ["wal", 2]
        conn.close()
    assert engine.start({})
    assert dbos._dbos._get_dbos_instance()._sys_db.engine.pool is db.engine.pool
    assert engine._dispatch._client._sys_db.engine.pool is db.engine.pool


def test_dbos_writers_take_the_lock_at_once(sqlite_db: Database):
    """A transaction of DBOS begins IMMEDIATE like ours: a plain BEGIN loses updates."""
    seen: list[str] = []
    sa.event.listen(sqlite_db.engine, "checkout", lambda driver, *_: driver.set_trace_callback(seen.append))
    with sqlite_db.engine.begin() as conn:
        conn.exec_driver_sql("SELECT 1")
    with sqlite_db.read() as conn:
        conn.exec_driver_sql("SELECT 2")
    assert [statement for statement in seen if statement.startswith("BEGIN")] == ["BEGIN IMMEDIATE", "BEGIN"]


def test_rows_carry_our_version_and_node(engine: Engine, worker, enqueue, db: Database):
    """The version is a constant of ours and the executor our node: an upgrade or a restart strands nothing."""
    enqueue("a")
    assert _columns(db, "run/a/1", "application_version", "name") == ("1", "dispatch")
    worker.gate.clear()
    assert engine.start({"run": worker})
    worker.wait_for(1)
    assert _columns(db, "run/a/1", "executor_id", "serialization") == ("node", "mandamus_json")
    worker.gate.set()


def test_restarts_do_not_use_a_job_up(engine: Engine, worker, enqueue, db: Database):
    """DBOS counts every restart as a recovery; however many there are, the job is never given up."""
    enqueue("a")
    table = "workflow_status" if db.is_sqlite else "dbos.workflow_status"
    with db.begin("old") as tx:
        tx.conn.exec_driver_sql(
            f"UPDATE {table} SET recovery_attempts = 100000, status = 'PENDING', executor_id = 'node'"
        )
    assert engine.start({"run": worker})
    assert worker.wait_for(1) == ["a"]


def test_a_whole_slate_of_claimed_jobs_is_taken_up_at_a_start(engine: Engine, worker, db: Database, often):
    """After crash upon crash many rows are ours and PENDING: a start gives all of them back, and each runs once."""
    table = "workflow_status" if db.is_sqlite else "dbos.workflow_status"
    with db.begin("old") as tx:
        for number in range(60):
            engine.enqueue(tx, "run", f"k{number}", "1")
        tx.conn.exec_driver_sql(f"UPDATE {table} SET status = 'PENDING', executor_id = 'node'")
    with structlog.testing.capture_logs() as logs:
        assert engine.start({"run": worker})
        assert sorted(worker.wait_for(60)) == sorted(f"k{number}" for number in range(60))
        engine.stop()
    assert len(worker.seen) == 60
    assert "engine.astray" not in {entry["event"] for entry in logs}


def test_another_nodes_jobs_are_left_alone(engine: Engine, worker, enqueue, db: Database, rows, often):
    """A node takes up its own jobs after a crash, never those that another node has in its hands."""
    enqueue("theirs")
    enqueue("free")
    table = "workflow_status" if db.is_sqlite else "dbos.workflow_status"
    with db.begin("claimed") as tx:
        query = f"UPDATE {table} SET status = 'PENDING', executor_id = 'other' WHERE workflow_uuid = 'run/theirs/1'"
        tx.conn.exec_driver_sql(query)
    assert engine.start({"run": worker})
    assert worker.wait_for(1) == ["free"]
    time.sleep(0.6)
    engine.stop()
    assert worker.seen == ["free"]
    assert rows()["run/theirs/1"] == "PENDING"


def test_a_claimed_row_that_was_never_begun_is_taken_up(engine: Engine, worker, enqueue, db: Database, often):
    """When the connection breaks between claim and begin, the row is found and goes back to the queue."""
    assert engine.start({"run": worker})
    table = "workflow_status" if db.is_sqlite else "dbos.workflow_status"
    with db.begin("astray") as tx:
        engine.enqueue(tx, "run", "a", "1")
        tx.conn.exec_driver_sql(f"UPDATE {table} SET status = 'PENDING', executor_id = 'node'")
    assert worker.wait_for(1) == ["a"]


def test_a_row_whose_end_is_not_yet_written_down_is_not_astray(engine: Engine, worker, enqueue, often, monkeypatch):
    """While the database takes its time over the end of a job, the job is not worked on once more."""
    assert engine.start({"run": worker})
    system = dbos._dbos._get_dbos_instance()._sys_db
    real = system.update_workflow_outcome

    def slow(*arguments: object, **options: object) -> object:
        time.sleep(0.8)
        return real(*arguments, **options)

    monkeypatch.setattr(system, "update_workflow_outcome", slow)
    enqueue("a")
    worker.wait_for(1)
    time.sleep(1)
    engine.stop()
    assert worker.seen == ["a"]


def test_a_parked_row_is_not_taken_up_before_the_next_start(engine: Engine, worker, enqueue, often):
    """Looking for rows astray does not spin on those whose job met a fault."""

    def fails(_job: object) -> None:
        raise ZeroDivisionError

    worker.does = fails
    assert engine.start({"run": worker})
    enqueue("a")
    worker.wait_for(1)
    time.sleep(0.6)
    assert worker.seen == ["a"]


@pytest.mark.slow
@pytest.mark.parametrize("db", ["postgres"], indirect=True)
def test_connections_that_break_strand_no_job(
    engine: Engine, worker, db: Database, rows, eventually, often, monkeypatch
):
    """Postgres ends every connection again and again, through recovery, claims, work and ends: no job is stranded."""
    monkeypatch.setattr(service, "RETRY_S_FIRST", 0.05)
    monkeypatch.setattr(dispatch, "TAKEN_UP_MAX", 100)
    done: set[str] = set()

    def writes(job: service.Job) -> None:
        with db.begin("work") as tx:
            tx.conn.exec_driver_sql("UPDATE engine_epoch SET epoch = epoch")
        done.add(job.key)

    worker.does = writes
    wanted = {f"early{number}" for number in range(20)}
    with db.begin("claimed by a life before") as tx:
        for key in wanted:
            engine.enqueue(tx, "run", key, "1")
        tx.conn.exec_driver_sql("UPDATE dbos.workflow_status SET status = 'PENDING', executor_id = 'node'")
    killer = sa.create_engine(db.engine.url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    for number in range(80):
        with contextlib.suppress(MandamusError):
            engine.start({"run": worker})
        with contextlib.suppress(MandamusError):
            with db.begin("enqueue") as tx:
                engine.enqueue(tx, "run", f"late{number}", "1")
            wanted.add(f"late{number}")
        time.sleep(0.001 * (number % 20))
        with killer.connect() as conn:
            conn.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
    killer.dispose()
    if not engine.running:
        assert engine.start({"run": worker})
    eventually(lambda: wanted <= done, lambda: len(done))
    eventually(lambda: set(rows().values()) <= {"SUCCESS"}, rows)


@pytest.mark.parametrize("db", ["sqlite"], indirect=True)  # a Postgres server's disk cannot be filled from here
def test_a_full_disk_is_no_outcome(engine: Engine, worker, enqueue, db: Database, rows, eventually, monkeypatch):
    """A disk that is full for a while ends no job: not one in work, not one that waits, not one just done."""
    monkeypatch.setattr(service, "RETRY_S_FIRST", 0.05)
    pages = {"max": NO_LIMIT}

    @sa.event.listens_for(db.engine, "checkout")
    def _limit(dbapi_connection, _record, _proxy) -> None:
        dbapi_connection.execute(f"PRAGMA max_page_count={pages['max']}").close()

    with db.begin("make") as tx:
        tx.conn.exec_driver_sql("CREATE TABLE fill (data BLOB)")

    def writes(_job: object) -> None:
        with db.begin("fill") as tx:
            tx.conn.exec_driver_sql("INSERT INTO fill VALUES (zeroblob(100000))")

    worker.does = writes
    for key in ("a", "b", "c"):
        enqueue(key)
    with db.read() as conn:
        pages["max"] = conn.exec_driver_sql("PRAGMA page_count").scalar()
    assert engine.start({"run": worker})
    worker.wait_for(4)
    assert "ERROR" not in rows().values()
    pages["max"] = NO_LIMIT
    for key in ("a", "b", "c"):
        engine.wait_idle("run", key, lambda: True)
    eventually(lambda: not rows())
    with db.read() as conn:
        assert conn.exec_driver_sql("SELECT count(*) FROM fill").scalar() == 3


@pytest.mark.parametrize("db", ["sqlite"], indirect=True)
def test_more_writers_than_connections_do_not_starve_each_other(db: Database):
    """A hundred threads that write, and read within their transaction, get through a pool of half their number."""
    slowest = 0.0

    def write() -> None:
        nonlocal slowest
        for _ in range(10):
            began_s = time.monotonic()
            with db.begin("write") as tx:
                tx.conn.exec_driver_sql("UPDATE engine_epoch SET epoch = epoch")
                with db.read() as conn:
                    conn.exec_driver_sql("SELECT 1")
            slowest = max(slowest, time.monotonic() - began_s)

    threads = [threading.Thread(target=write) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # The pool gives up after 30 s: that is what starving looks like.
    assert slowest < 25


@pytest.mark.parametrize(("python", "sqlite"), [((3, 11), (3, 40, 1)), ((3, 12), (3, 42, 0)), ((3, 14), (3, 51))])
def test_a_sqlite_that_dbos_can_use_is_taken(python, sqlite):
    """Python 3.11 works with any SQLite, later ones with 3.42 and newer."""
    dispatch.check_sqlite(python, sqlite)


def test_an_old_sqlite_is_refused_where_dbos_cannot_use_it():
    """From Python 3.12 on DBOS asks for a function that SQLite has since 3.42; the refusal says what to do."""
    with pytest.raises(MandamusError) as caught:
        dispatch.check_sqlite((3, 12), (3, 40, 1))
    assert caught.value.code is Code.TOOL_MISSING
    assert "3.40.1" in caught.value.message
    assert "Postgres" in caught.value.remedy


def test_one_engine_in_a_process(engine: Engine, db: Database, home, clock):
    """DBOS is global to its process: a second engine would silently work on the first one's database."""
    assert engine.start({})
    second = Engine(db, home / "another.lock", "other", clock)
    with pytest.raises(AssertionError, match="one engine in a process"):
        second.start({})
    assert not second.running
    assert engine.running


def test_what_dbos_says_goes_to_our_log(engine: Engine, capfd):
    """DBOS prints nothing; its warnings are in our log, and one that repeats is told once in a while."""
    assert engine.start({})
    logging.getLogger("dbos").handlers = [dispatch._OurLog()]  # one that has said nothing yet
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            logging.getLogger("dbos").warning("the queue is away")
        logging.getLogger("dbos").info("chatter")
    engine.stop()
    said = [entry["said"] for entry in logs if entry["event"] == "engine.dbos"]
    assert said.count("the queue is away") == 1
    assert "chatter" not in said
    assert capfd.readouterr().err == ""


def test_a_job_of_this_process_is_looked_for_at_once(engine: Engine, worker, enqueue, monkeypatch):
    """A commit of this process wakes the dispatcher; only jobs of others have to wait for the next look."""
    monkeypatch.setattr(dispatch, "POLL_S", 3600.0)
    assert engine.start({"run": worker})
    time.sleep(0.3)
    for number in range(3):
        enqueue(f"k{number}")
        worker.wait_for(number + 1)


def test_a_stop_is_quick(engine: Engine, worker):
    """A command is an engine for its short life: nothing in a stop waits for a poll."""
    times: list[float] = []
    for _ in range(3):
        assert engine.start({"run": worker})
        began_s = time.monotonic()
        engine.stop()
        times.append(time.monotonic() - began_s)
    assert min(times) < 0.5
