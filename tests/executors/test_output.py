from __future__ import annotations

import pytest
import sqlalchemy as sa

from mandamus.executors.output import GATHER_BYTES, OutputLog
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database
from mandamus.store.tables.executors import executor_output

OF = ("run_1", "build", 1, "apply")


@pytest.fixture
def rows(database: Database) -> Database:
    executor_output.metadata.create_all(database.engine, tables=[executor_output])
    return database


def count(db: Database) -> int:
    with db.read() as conn:
        return conn.scalar(sa.select(sa.func.count()).select_from(executor_output))


def test_output_is_read_back_by_byte_offset(rows: Database, clock):
    """Any offset and any limit give the bytes that stand there, and only the end says done."""
    log = OutputLog(rows, clock)
    written = bytes(range(256)) * 1200
    sink = log.open(*OF)
    for at in range(0, len(written), 50_000):
        sink.append(written[at : at + 50_000])
    assert not log.read(*OF, 0, 10).done
    sink.close()
    for offset, limit in [(0, 10), (65_535, 3), (99_999, 120_000), (len(written) - 1, 5)]:
        piece = log.read(*OF, offset, limit)
        assert piece.data == written[offset : offset + limit]
        assert piece.next_offset == offset + len(piece.data)
    found, at, done = b"", 0, False
    while not done:
        data, at, done = log.read(*OF, at, 7777)
        found += data
    assert found == written
    assert log.read("run_1", "other", 1, "apply") == (b"", 0, False)


def test_a_chatty_step_is_not_a_row_per_line(rows: Database, clock):
    """Small writes gather until 64 KiB or 200 ms; a million lines are not a million transactions."""
    sink = OutputLog(rows, clock).open(*OF)
    for _ in range(4000):
        sink.append(b"one more line of output\n")
    assert count(rows) == 4000 * 24 // GATHER_BYTES
    assert sink.pending
    clock.advance(0.2)
    sink.append(b"x")
    assert not sink.pending
    assert count(rows) == 4000 * 24 // GATHER_BYTES + 1


def test_the_cap_is_visible_and_holds(rows: Database, clock):
    """A log bomb costs the cap and two lines that say what happened."""
    log = OutputLog(rows, clock, cap_bytes=100_000)
    sink = log.open(*OF)
    for _ in range(100):
        sink.append(b"B" * 10_000)
    sink.close()
    data, _, done = log.read(*OF, 0, 1_000_000)
    assert done
    assert data.count(b"B") == 100_000
    assert b"output is cut here, at 100000 bytes" in data
    assert b"900000 further bytes" in data


def test_a_phase_run_again_goes_on_after_what_is_there(rows: Database, clock):
    """A second try appends; what was closed is open again, and nothing is overwritten."""
    log = OutputLog(rows, clock)
    first = log.open(*OF)
    first.append(b"first ")
    first.close()
    second = log.open(*OF)
    second.append(b"second")
    second.flush()
    assert log.read(*OF) == (b"first second", 12, False)
    second.close()
    assert log.read(*OF) == (b"first second", 12, True)


def test_a_full_disk_neither_fails_the_step_nor_loses_output_silently(rows: Database, clock, monkeypatch):
    """While the database cannot be written output waits; what memory cannot hold is missing with a note."""
    log = OutputLog(rows, clock)
    sink = log.open(*OF)

    def full(_label: str) -> None:
        raise MandamusError(Code.STORAGE_FULL, "full", remedy="free space", retryable=True)

    with monkeypatch.context() as patch:
        patch.setattr(rows, "begin", full)
        for _ in range(30):
            sink.append(b"W" * 50_000)
        sink.flush()
    sink.close()
    data, _, done = log.read(*OF, 0, 10_000_000)
    assert done
    assert data.count(b"W") == 1024 * 1024
    assert f"{30 * 50_000 - 1024 * 1024} bytes are missing here".encode() in data
