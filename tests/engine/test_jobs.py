"""What the engine promises about a job, on both databases."""

import threading
import time
from collections.abc import Callable

import pytest
import structlog

from mandamus.engine import dispatch, service
from mandamus.engine.dispatch import JOBS_MAX, POLL_S
from mandamus.engine.service import Engine
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database

WITHIN_S = 60.0
"""How long a busy machine may take over what is done at once."""

Rows = Callable[[], dict[str, str]]
Eventually = Callable[[Callable[[], bool]], None]


def _trouble() -> MandamusError:
    return MandamusError(Code.UNAVAILABLE, "away", remedy="wait", retryable=True)


def _refused() -> MandamusError:
    return MandamusError(Code.INTERNAL, "broken", remedy="mend it")


@pytest.fixture
def started(engine: Engine, worker) -> Engine:
    assert engine.start({"run": worker})
    return engine


def test_a_job_runs_once_its_transaction_has_committed(started: Engine, worker, db: Database):
    """A job exists if and only if the transaction it was enqueued in commits, together with all else in it."""
    with pytest.raises(RuntimeError), db.begin("fails") as tx:
        started.enqueue(tx, "run", "undone", "1")
        raise RuntimeError
    with db.begin("commits") as tx:
        started.enqueue(tx, "run", "done", "1")
        time.sleep(3 * POLL_S)
        assert worker.seen == []
    assert worker.wait_for(1) == ["done"]
    started.stop()
    assert worker.seen == ["done"]


def test_the_same_wake_twice_is_one_job(started: Engine, worker, enqueue, db: Database, rows: Rows):
    """Kind, key and wake name a job; naming it again adds nothing, and another wake is another job."""
    worker.gate.clear()
    with db.begin("twice") as tx:
        started.enqueue(tx, "run", "a", "1")
        started.enqueue(tx, "run", "a", "1")
    enqueue("a", "1")
    enqueue("a", "2")
    enqueue("b", "1")
    worker.wait_for(2)
    assert sorted(rows()) == ["run/a/1", "run/a/2", "run/b/1"]
    worker.gate.set()


@pytest.mark.parametrize("parts", [("", "a", "1"), ("run", "", "1"), ("run", "a", ""), ("r/n", "a", "1")])
def test_a_job_without_a_full_name_is_refused(engine: Engine, db: Database, parts):
    """An empty id once ran a workflow again and again for a month: no part of a job's name may be empty."""
    with pytest.raises(AssertionError), db.begin("nameless") as tx:
        engine.enqueue(tx, *parts)


def test_a_delayed_job_waits_as_a_row(started: Engine, worker, enqueue, rows: Rows):
    """A job with a delay is a row and nothing else until its time has come."""
    enqueue("never", delay_s=3600)
    enqueue("later", delay_s=0.5)
    enqueue("now")
    assert sorted(worker.wait_for(2)) == ["later", "now"]
    assert rows()["run/never/1"] == "DELAYED"


def test_many_queued_jobs_are_all_worked_on(started: Engine, worker, db: Database):
    """A queue longer than the slots drains, at most ``JOBS_MAX`` at a time, each key once."""
    most = 0
    under_way: set[int] = set()
    lock = threading.Lock()

    def count(_job: object) -> None:
        nonlocal most
        with lock:
            under_way.add(threading.get_ident())
            most = max(most, len(under_way))
        time.sleep(0.001)
        with lock:
            under_way.discard(threading.get_ident())

    worker.does = count
    with db.begin("many") as tx:
        for number in range(150):
            started.enqueue(tx, "run", f"k{number}", "1")
    assert sorted(worker.wait_for(150)) == sorted(f"k{number}" for number in range(150))
    assert 1 < most <= JOBS_MAX


def test_one_job_per_key_and_a_wake_meanwhile_is_looked_at(started: Engine, worker, enqueue):
    """While a key is worked on its wakes start no second job; the one under way looks again, once for all of them."""
    worker.gate.clear()
    enqueue("a", "1")
    worker.wait_for(1)
    enqueue("a", "2")
    enqueue("a", "3")
    enqueue("b", "1")
    assert worker.wait_for(2) == ["a", "b"]
    time.sleep(6 * POLL_S)
    assert worker.seen == ["a", "b"]
    worker.gate.set()
    worker.wait_for(3)
    started.stop()
    assert sorted(worker.seen) == ["a", "a", "b"]


def test_a_wake_reaches_a_job_that_waits(started: Engine, worker, enqueue):
    """A job that waits for something is told of a wake at once, and may take it within the same look."""
    woken = threading.Event()

    def waits(job: service.Job) -> None:
        job.wait(WITHIN_S)
        if job.take_wake():
            woken.set()

    worker.does = waits
    enqueue("a", "1")
    worker.wait_for(1)
    enqueue("a", "2")
    assert woken.wait(WITHIN_S)
    started.stop()
    assert worker.seen == ["a"]


def test_no_wake_is_lost_whenever_it_comes(started: Engine, worker, enqueue):
    """However a wake falls against the end of the job before it, a look follows that began after the wake."""
    looked = 0
    announced = 0

    def look(_job: object) -> None:
        nonlocal looked
        looked = announced

    worker.does = look
    for number in range(1, 151):
        announced = number
        enqueue("a", str(number))
        if number % 3 == 0:
            time.sleep(0.003)
    end_s = time.monotonic() + WITHIN_S
    while looked < 150:
        assert time.monotonic() < end_s, f"the last wake seen is {looked}"
        time.sleep(0.01)


def test_a_wake_reaches_a_job_when_every_slot_is_taken(started: Engine, worker, enqueue):
    """A job that holds the last slot still learns that it is cancelled, though no further row can be claimed."""
    woken = threading.Event()
    leave = threading.Event()

    def waits(job: service.Job) -> None:
        while not leave.is_set():
            job.wait(0.05)
            if job.take_wake():
                woken.set()

    worker.does = waits
    for number in range(JOBS_MAX):
        enqueue(f"run_{number}")
    worker.wait_for(JOBS_MAX)
    enqueue("someone_else")
    enqueue("run_3", "cancel")
    assert woken.wait(WITHIN_S)
    assert "someone_else" not in worker.seen
    leave.set()
    worker.wait_for(JOBS_MAX + 1)


def test_trouble_of_the_machine_is_tried_again(started: Engine, worker, enqueue, rows: Rows, monkeypatch):
    """A full disk or an absent database ends nothing: the job is tried again until it succeeds."""
    monkeypatch.setattr(service, "RETRY_S_FIRST", 0.01)
    troubles = [_trouble(), OSError(28, "No space left on device"), MemoryError()]

    def fails(_job: object) -> None:
        if troubles:
            raise troubles.pop(0)

    worker.does = fails
    enqueue("a")
    assert worker.wait_for(4) == ["a"] * 4
    started.wait_idle("run", "a", lambda: True)
    assert rows().get("run/a/1") in {"PENDING", "SUCCESS", None}


@pytest.mark.parametrize("error", [_refused(), ZeroDivisionError("a bug")])
def test_a_fault_is_told_parked_and_looked_at_after_the_next_start(
    started: Engine, worker, enqueue, rows: Rows, error: Exception
):
    """A fault of the program neither spins nor loses its run: it is logged, raised to who waits, and kept PENDING."""

    def fails(_job: object) -> None:
        raise error

    worker.does = fails
    with structlog.testing.capture_logs() as logs:
        enqueue("a")
        with pytest.raises(type(error)):
            started.wait_idle("run", "a", lambda: False)
        time.sleep(6 * POLL_S)
    assert worker.seen == ["a"]
    assert [entry["key"] for entry in logs if entry["event"] == "engine.fault"] == ["a"]
    assert rows()["run/a/1"] == "PENDING"
    started.stop()
    worker.does = lambda _job: None
    assert started.start({"run": worker})
    assert worker.wait_for(2) == ["a", "a"]
    started.wait_idle("run", "a", lambda: True)


def test_a_fault_does_not_swallow_a_wake(started: Engine, worker, enqueue):
    """A key whose job met a fault is looked at when it is woken, and what it waits for is then settled."""
    faults = [_refused()]

    def fails(_job: object) -> None:
        if faults:
            raise faults.pop()

    worker.does = fails
    enqueue("a", "1")
    with pytest.raises(MandamusError):
        started.wait_idle("run", "a", lambda: False)
    enqueue("a", "2")
    worker.wait_for(2)
    started.wait_idle("run", "a", lambda: len(worker.seen) == 2)


def test_a_kind_nobody_handles_is_parked(started: Engine, worker, enqueue, rows: Rows, eventually: Eventually):
    """A job of a later release, of a kind unknown here, is kept for the release that knows it."""
    with structlog.testing.capture_logs() as logs:
        enqueue("a", kind="later")
        eventually(lambda: any(entry["event"] == "engine.fault" for entry in logs))
    started.stop()
    assert rows()["later/a/1"] == "PENDING"
    assert worker.seen == []


def test_stop_ends_a_waiting_job_and_loses_nothing(started: Engine, worker, enqueue, rows: Rows):
    """A job that waits for its next try does not hold the engine up: it ends there and is found at the next start."""
    worker.does = lambda job: job.wait(3600) if len(worker.seen) == 1 else None
    enqueue("a")
    worker.wait_for(1)
    began_s = time.monotonic()
    started.stop()
    assert time.monotonic() - began_s < WITHIN_S
    assert rows()["run/a/1"] == "PENDING"
    assert started.start({"run": worker})
    assert worker.wait_for(2) == ["a", "a"]


def test_stop_ends_a_job_in_trouble(started: Engine, worker, enqueue, rows: Rows):
    """An engine whose database is away can still be stopped; the job is not written off."""

    def fails(_job: object) -> None:
        raise _trouble()

    worker.does = fails
    enqueue("a")
    worker.wait_for(3)
    started.stop()
    assert rows()["run/a/1"] == "PENDING"


def test_stop_waits_for_what_cannot_be_interrupted(started: Engine, worker, enqueue, monkeypatch):
    """A job in the middle of its work is waited for as long as it takes."""
    monkeypatch.setattr(dispatch, "STOP_TIMEOUT_S", 0.05)
    worker.gate.clear()
    enqueue("a")
    worker.wait_for(1)
    stopping = threading.Thread(target=started.stop)
    stopping.start()
    stopping.join(0.2)
    assert stopping.is_alive()
    assert started.running
    worker.gate.set()
    stopping.join(WITHIN_S)
    assert not started.running


def test_a_stop_lets_the_end_of_a_job_be_written_down(started: Engine, worker, enqueue, rows: Rows):
    """A stop right after a job's end does not leave its row to be worked on once more."""
    for number in range(5):
        enqueue(f"k{number}")
    worker.wait_for(5)
    for number in range(5):
        started.wait_idle("run", f"k{number}", lambda: True)
    started.stop()
    assert set(rows().values()) <= {"SUCCESS"}


def test_stopping_under_load_loses_no_job(engine: Engine, worker, db: Database, rows: Rows):
    """However a stop falls against claims and ends of jobs, every job is worked on in one life or another."""
    with db.begin("many") as tx:
        for number in range(60):
            engine.enqueue(tx, "run", f"k{number}", "1")
    worker.does = lambda job: job.wait(0.005)
    for life in range(12):
        assert engine.start({"run": worker})
        time.sleep(0.01 * (life % 4))
        engine.stop()
        assert not any(thread.name.startswith("engine-") for thread in threading.enumerate())
    assert engine.start({"run": worker})
    # A job that a stop cut off has been seen, and waits in the queue for its next life: its row says when it is done.
    end_s = time.monotonic() + WITHIN_S
    while (states := list(rows().values())).count("SUCCESS") < len(states):
        assert time.monotonic() < end_s, f"lost: {states}"
        time.sleep(0.02)
    engine.stop()
    assert len(set(worker.seen)) == 60


def test_waiting_ends_when_the_engine_stops(started: Engine, worker, enqueue):
    """Who waits for a key is told when the engine stops before it has come to rest."""
    told: list[Code] = []

    def waits() -> None:
        try:
            started.wait_idle("run", "a", lambda: False)
        except MandamusError as error:
            told.append(error.code)

    thread = threading.Thread(target=waits)
    thread.start()
    enqueue("a")
    worker.wait_for(1)
    started.stop()
    thread.join(WITHIN_S)
    assert told == [Code.HOME_LOCKED]


def test_only_enqueue_is_allowed_inside_a_transaction(engine: Engine, worker, db: Database):
    """Inside a transaction of ours any other call would wait for our own write lock: it is a mistake and says so."""
    with db.begin("open"):
        for call in (lambda: engine.start({}), engine.stop, lambda: engine.wait_idle("run", "a", lambda: True)):
            with pytest.raises(AssertionError, match="inside a transaction"):
                call()


def test_finished_rows_do_not_pile_up(started: Engine, worker, db: Database, rows: Rows, eventually: Eventually):
    """Rows of finished jobs are deleted in batches, those that wait or are under way stay."""
    with db.begin("many") as tx:
        for number in range(300):
            started.enqueue(tx, "run", f"k{number}", "1")
        started.enqueue(tx, "run", "later", "1", 3600)
    worker.wait_for(300)
    eventually(lambda: list(rows()) == ["run/later/1"])


def test_an_engine_that_lost_its_home_begins_nothing_more(started: Engine, worker, enqueue, db: Database, rows: Rows):
    """When another engine took over, a job is no longer ours to judge: it is left as it is, and no other is taken."""

    def begins(_job: object) -> None:
        with db.begin("effect") as tx:
            started.check_token(tx.conn)

    worker.does = begins
    with db.begin("takeover") as tx:
        tx.conn.exec_driver_sql("UPDATE engine_epoch SET epoch = epoch + 1")
    enqueue("a")
    with pytest.raises(MandamusError) as caught:
        started.wait_idle("run", "a", lambda: False)
    assert caught.value.code is Code.HOME_LOCKED
    enqueue("b")
    time.sleep(6 * POLL_S)
    assert worker.seen == ["a"]
    started.stop()
    assert rows() == {"run/a/1": "PENDING", "run/b/1": "ENQUEUED"}


def test_a_process_that_is_no_engine_has_no_token(engine: Engine, db: Database):
    """Only the engine may begin an effect."""
    with pytest.raises(MandamusError) as caught, db.begin("effect") as tx:
        engine.check_token(tx.conn)
    assert caught.value.code is Code.HOME_LOCKED


def test_the_token_grows_with_every_life(engine: Engine):
    """A token of an earlier life is never valid again."""
    tokens = []
    for _ in range(3):
        assert engine.start({})
        tokens.append(engine.token())
        engine.stop()
    assert tokens == [1, 2, 3]


def test_a_start_that_fails_leaves_nothing_behind(engine: Engine, db: Database, worker, monkeypatch):
    """A start that fails half way gives the lock back, and the next one works."""

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr("mandamus.engine.dispatch._Claimer.start", fails)
        with pytest.raises(RuntimeError):
            engine.start({"run": worker})
    assert not engine.running
    assert engine.start({"run": worker})
    with db.begin("enqueue") as tx:
        engine.enqueue(tx, "run", "a", "1")
    worker.wait_for(1)
