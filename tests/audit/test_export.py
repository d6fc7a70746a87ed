"""The log on its way to a sink: all of it, in order, from where the sink stopped, however a process or a sink ends."""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mandamus.audit.export import Exporter
from mandamus.audit.export_files import Files, folder_of, name_of
from mandamus.audit.export_model import Record, Taker, trouble
from mandamus.audit.export_reconcile import Copy, read_file, read_folder
from mandamus.audit.export_syslog import frame, message
from mandamus.audit.model import Report, Verdict
from mandamus.audit.signer import Signer
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database

ORIGIN = "log.example.com/home"


class Memory:
    """A sink that keeps indices, and fails before or after it took the batch with a certain leaf."""

    def __init__(self, batch: int = 256, before: int | None = None, after: int | None = None) -> None:
        self.batch, self.before, self.after = batch, before, after
        self.taken: list[int] = []

    def take(self, records: Sequence[Record]) -> None:
        """Keep the indices."""
        indices = [each.index for each in records]
        if self.before in indices:
            raise trouble("memory", "dead")
        self.taken += indices
        if self.after in indices:
            raise trouble("memory", "dead behind it")

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def log(tiled, tmp_path):
    """A published log of 600 leaves."""
    made = tiled(tmp_path / "log")
    made.grow(600)
    made.write()
    return made


@pytest.fixture
def exporter(database: Database, log, signer: Signer, clock: Clock, home: Path) -> Exporter:
    return Exporter(database, log.folder, lambda: signer.vkey, clock, home / "export")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sink"


def _pump(exporter: Exporter, taker: Taker, sink: str = "sink") -> tuple[int, int, int]:
    done = exporter.pump(sink, lambda: taker)
    return done.first, done.next, done.size


def _reconcile(exporter: Exporter, read: Callable[[Copy], None]) -> Report:
    checkpoint = exporter.published()
    copy = Copy(checkpoint.origin)
    read(copy)
    return copy.compare(exporter.records(checkpoint, 0), checkpoint.size)


def _of_folder(exporter: Exporter, folder: Path) -> Report:
    return _reconcile(exporter, lambda copy: read_folder(copy, folder, ORIGIN))


def _of_file(exporter: Exporter, path: Path) -> Report:
    return _reconcile(exporter, lambda copy: read_file(copy, path))


def _indices(folder: Path) -> list[int]:
    texts = [path.read_text() for path in sorted(folder_of(folder, ORIGIN).glob("*.jsonl"))]
    return [json.loads(line)["metadata"]["sequence"] for text in texts for line in text.splitlines()]


@pytest.mark.parametrize("batch", [1, 7, 256])
def test_a_sink_is_given_everything_once_and_in_order(exporter, log, batch):
    """Dense and in the order of the log, whatever the size of a batch; what is new comes next time."""
    taker = Memory(batch)
    assert _pump(exporter, taker) == (0, 600, 600)
    log.grow(13)
    log.write()
    assert _pump(exporter, taker) == (600, 613, 613)
    assert _pump(exporter, taker) == (613, 613, 613)
    assert taker.taken == list(range(613))


def test_what_is_not_published_is_not_sent(exporter, log):
    """A leaf that no published checkpoint covers reaches no sink, even where its bundle is there."""
    taker = Memory()
    old = (log.folder / "checkpoint").read_bytes()
    log.grow(40)
    log.write()
    (log.folder / "checkpoint").write_bytes(old)
    assert _pump(exporter, taker) == (0, 600, 600)


@pytest.mark.parametrize("at", [0, 255, 256, 599])
def test_a_cursor_moves_only_behind_what_was_taken(exporter, at):
    """A sink that dies keeps the cursor where it was, with the error; later it is given the rest and no gap."""
    dead = Memory(10, before=at)
    with pytest.raises(MandamusError) as caught:
        _pump(exporter, dead)
    assert caught.value.retryable
    cursor = exporter.cursor("sink", ORIGIN)
    assert cursor.next == len(dead.taken)
    assert "dead" in cursor.error
    alive = Memory(10)
    _pump(exporter, alive)
    assert dead.taken + alive.taken == list(range(600))
    assert exporter.cursor("sink", ORIGIN).error == ""


def test_what_was_sent_but_not_acknowledged_comes_again(exporter):
    """A sink that fails behind what it took gets that batch twice: at least once, never a gap."""
    dead, alive = Memory(10, after=25), Memory(10)
    with pytest.raises(MandamusError):
        _pump(exporter, dead)
    _pump(exporter, alive)
    assert dead.taken == list(range(30))
    assert alive.taken == list(range(20, 600))


def test_no_leaf_can_be_skipped(exporter):
    """A sink goes back to any leaf it had, and never on to one behind those."""
    _pump(exporter, Memory())
    exporter.rewind("sink", ORIGIN, 590)
    with pytest.raises(MandamusError) as caught:
        exporter.rewind("sink", ORIGIN, 591)
    assert caught.value.code is Code.VALUE_INVALID
    taker = Memory()
    _pump(exporter, taker)
    assert taker.taken == list(range(590, 600))


def test_sinks_do_not_wait_for_each_other(exporter):
    """Each sink has a cursor of its own: a dead one keeps nothing from another."""
    with pytest.raises(MandamusError):
        _pump(exporter, Memory(before=0), "dead")
    assert _pump(exporter, Memory(), "alive") == (0, 600, 600)
    assert exporter.cursor("dead", ORIGIN).next == 0


def test_one_process_pumps_a_sink_at_a_time(exporter, home):
    """A second one is refused with ``conflict`` and sends nothing."""
    _pump(exporter, Memory(), "other")
    taker = Memory()
    with (home / "export" / "sink.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(MandamusError) as caught:
            _pump(exporter, taker)
    assert caught.value.code is Code.CONFLICT
    assert taker.taken == []


def test_a_log_that_was_rolled_back_is_noticed(exporter, tiled, tmp_path, log):
    """A sink that took more leaves than the log has is proof of a rollback, and is sent nothing."""
    _pump(exporter, Memory())
    shorter = tiled(log.folder)
    shorter.grow(300)
    shorter.write()
    with pytest.raises(MandamusError) as caught:
        _pump(exporter, Memory())
    assert caught.value.code is Code.AUDIT_TAMPERED


def test_a_torn_bundle_is_not_sent(exporter, log):
    """A bundle that is cut short, or gone, ends the export with its name; the cursor stands before it."""
    path = log.folder / "tile/entries/001"
    data = path.read_bytes()
    path.write_bytes(data[:-5])
    with pytest.raises(MandamusError, match="tile/entries/001") as caught:
        _pump(exporter, Memory())
    assert caught.value.code is Code.AUDIT_TAMPERED
    path.unlink()
    with pytest.raises(MandamusError, match="tile/entries/001") as caught:
        _pump(exporter, Memory())
    assert caught.value.code is Code.AUDIT_INCOMPLETE
    assert exporter.cursor("sink", ORIGIN).next == 256


# --- the folder -------------------------------------------------------------------------------------------------------


def test_a_folder_has_a_sealed_file_for_each_256_leaves(exporter, folder, log):
    """Full files have a digest that `sha256sum` accepts; the last one grows and gets its digest when it is full."""
    _pump(exporter, Files("sink", folder))
    own = folder_of(folder, ORIGIN)
    assert sorted(path.name for path in own.iterdir()) == [
        "000000000000.jsonl",
        "000000000000.jsonl.sha256",
        "000000000001.jsonl",
        "000000000001.jsonl.sha256",
        "000000000002.jsonl",
    ]
    before = (own / name_of(2)).read_bytes()
    log.grow(200)
    log.write()
    _pump(exporter, Files("sink", folder))
    assert (own / name_of(2)).read_bytes().startswith(before)
    program = shutil.which("sha256sum")
    assert program
    subprocess.run([program, "--check", "--quiet", *sorted(own.glob("*.sha256"))], cwd=own, env={}, check=True)
    assert len(list(own.glob("*.sha256"))) == 3
    assert _indices(folder) == list(range(800))
    assert _of_folder(exporter, folder).ok


@pytest.mark.parametrize("cut", [1, 50, 5000])
def test_a_torn_line_is_written_again(exporter, folder, log, cut):
    """What a crash tore off a file's end is there once and whole after the next export."""
    _pump(exporter, Files("sink", folder))
    path = folder_of(folder, ORIGIN) / name_of(2)
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    exporter.rewind("sink", ORIGIN, 512)
    _pump(exporter, Files("sink", folder))
    assert path.read_bytes() == data


def test_what_is_there_already_is_not_written_twice(exporter, folder):
    """Everything sent again leaves every file as it is."""
    _pump(exporter, Files("sink", folder))
    before = {path: path.read_bytes() for path in folder_of(folder, ORIGIN).iterdir()}
    exporter.rewind("sink", ORIGIN, 0)
    _pump(exporter, Files("sink", folder))
    assert {path: path.read_bytes() for path in folder_of(folder, ORIGIN).iterdir()} == before


def test_a_folder_that_lost_lines_is_not_written_on(exporter, folder, log):
    """A file that ends before what the sink had taken is an error, not a gap that nobody sees."""
    _pump(exporter, Files("sink", folder))
    path = folder_of(folder, ORIGIN) / name_of(2)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    log.grow(5)
    log.write()
    with pytest.raises(MandamusError, match="ends before leaf 515"):
        _pump(exporter, Files("sink", folder))


KILLED = """
import os, signal, sys
from pathlib import Path
from mandamus.audit.export import Exporter
from mandamus.audit.export_files import Files
from mandamus.bootstrap.tools import SystemClock
from mandamus.store.database import Database, open_sqlite

home, log, folder, vkey, batch, mark, where = sys.argv[1:]
files = Files("sink", Path(folder))
files.batch = int(batch)
taken = 0
whole, fsync = files.take, os.fsync

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def take(records):
    global taken
    taken += len(records)
    due = taken >= int(mark)
    if due and where == "before":
        die()
    if due and where == "within":
        os.fsync = lambda fd: die()
    whole(records)
    if due:
        die()

files.take = take
exporter = Exporter(Database(open_sqlite(Path(home) / "mandamus.db")), Path(log), lambda: vkey, SystemClock(),
                    Path(home) / "export")
exporter.pump("sink", lambda: files)
"""


@pytest.mark.slow
def test_a_killed_process_leaves_no_gap_and_no_repetition(sqlite_database, log, signer, clock, home, folder):
    """Killed before, within and behind a write, and always before the cursor moves: the folder ends up whole."""
    exporter = Exporter(sqlite_database, log.folder, lambda: signer.vkey, clock, home / "export")
    chance = random.Random(11)
    killed = 0
    for number in range(18):
        where = ("before", "within", "behind")[number % 3]
        at = [str(chance.choice((5, 32, 256))), str(chance.randrange(1, 120)), where]
        paths = [str(home), str(log.folder), str(folder), signer.vkey]
        done = subprocess.run([sys.executable, "-c", KILLED, *paths, *at], env=dict(os.environ), check=False)
        killed += done.returncode == -signal.SIGKILL
        assert _indices(folder) == list(range(len(_indices(folder))))
        assert len(_indices(folder)) >= exporter.cursor("sink", ORIGIN).next
    assert killed >= 6
    _pump(exporter, Files("sink", folder))
    assert _indices(folder) == list(range(600))
    assert _of_folder(exporter, folder).ok


# --- what a sink has --------------------------------------------------------------------------------------------------


def _lines(exporter: Exporter, write: Callable[[Record], bytes]) -> list[bytes]:
    return [write(each) for batch in exporter.records(exporter.published(), 0) for each in batch]


@pytest.mark.parametrize("form", ["lines", "octets"])
def test_a_copy_of_a_syslog_server_is_compared(exporter, tmp_path, form):
    """By line, with what the server put before it, or as it came over the wire; other programs' lines do not matter."""
    messages = _lines(exporter, message)
    path = tmp_path / "copy"
    if form == "lines":
        path.write_bytes(b"Jan  1 00:00:00 other program: hello\n" + b"".join(b"host " + m + b"\n" for m in messages))
    else:
        path.write_bytes(b"".join(frame(each) for each in messages))
    assert _of_file(exporter, path).ok


def test_what_a_sink_lost_is_named_by_range(exporter, folder, tmp_path):
    """Each 256 leaves of which some are missing are one finding, that names the first of them."""
    _pump(exporter, Files("sink", folder))
    lines = [line for path in sorted(folder.rglob("*.jsonl")) for line in path.read_bytes().splitlines(keepends=True)]
    path = tmp_path / "copy"
    path.write_bytes(b"".join(line for at, line in enumerate(lines) if at not in {17, 18, 599}))
    report = _of_file(exporter, path)
    assert report.outcome is Verdict.INCOMPLETE
    assert [each.leaf for each in report.problems] == [17, 599]
    path.write_bytes(b"".join(lines + lines[:30]))
    assert _of_file(exporter, path).ok


def test_every_change_in_a_folder_is_found(exporter, folder):
    """Any byte changed, any line dropped, swapped with another log's or added is found, with its leaf or file."""
    _pump(exporter, Files("sink", folder))
    own = folder_of(folder, ORIGIN)
    chance = random.Random(5)
    for number in range(60):
        path = own / name_of(number % 2)
        data = path.read_bytes()
        at = chance.randrange(len(data))
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :])
        assert not _of_folder(exporter, folder).ok, at
        path.write_bytes(data)
    assert _of_folder(exporter, folder).ok
    last = own / name_of(2)
    data = last.read_bytes()
    last.write_bytes(data.replace(rb"\"kind\":\"step.planned\"", rb"\"kind\":\"step.plannex\"", 1))
    report = _of_folder(exporter, folder)
    assert (report.outcome, report.leaf) == (Verdict.TAMPERED, 512)
    last.unlink()
    assert (_of_folder(exporter, folder).outcome, _of_folder(exporter, folder).leaf) == (Verdict.INCOMPLETE, 512)


def test_a_leaf_that_the_log_does_not_have_is_found(exporter, folder, log, tmp_path):
    """What a sink has beyond the log is no export of it."""
    record = Record(ORIGIN, 600, log.leaves[0])
    path = tmp_path / "copy"
    path.write_bytes(b"\n".join([*_lines(exporter, message), message(record)]))
    report = _of_file(exporter, path)
    assert (report.outcome, report.leaf) == (Verdict.TAMPERED, 600)


def test_a_copy_that_contradicts_itself_is_found(exporter, tmp_path):
    """An event that is there twice and differs, and a message whose text is not what its head says, are tampered."""
    lines = _lines(exporter, message)
    path = tmp_path / "copy"
    changed = lines[5].replace(rb"\"kind\":\"step.planned\"", rb"\"kind\":\"step.plannex\"")
    assert changed != lines[5]
    path.write_bytes(b"\n".join([*lines, changed]))
    assert (_of_file(exporter, path).outcome, _of_file(exporter, path).leaf) == (Verdict.TAMPERED, 5)
    path.write_bytes(b"\n".join([*lines[:5], changed, *lines[6:]]))
    assert (_of_file(exporter, path).outcome, _of_file(exporter, path).leaf) == (Verdict.TAMPERED, 5)
