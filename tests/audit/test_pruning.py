"""Pruning: what may go, that the log says so first, and that everything else can still be verified."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
import tamper_kinds

from mandamus.audit import proof, pruning, tiles, tree
from mandamus.audit import verify as verify_module
from mandamus.audit.export_files import Files
from mandamus.audit.kinds import Kind
from mandamus.audit.leaf import decode
from mandamus.audit.model import Event, Report, Resource, Verdict
from mandamus.audit.private_store import Hold, add_hold
from mandamus.audit.resume import verify_since, verify_with_state
from mandamus.audit.retention import RetentionClass
from mandamus.audit.retention_store import put_class
from mandamus.audit.search_store import Wanted
from mandamus.audit.selfcheck import check_database
from mandamus.audit.service import Audit
from mandamus.audit.trust import parse_trust
from mandamus.audit.verify import verify_log
from mandamus.kernel.access import OWNER, Subject
from mandamus.kernel.errors import Code, MandamusError
from mandamus.operations.log_export import LogExport
from mandamus.operations.pruning import Pruning
from mandamus.store.database import Database

ADA = Subject("ada", "os-user", frozenset(), OWNER, "Ada Lovelace")
DAY_US = 86_400_000_000


@dataclass
class Ground:
    """A log with old entries and young ones."""

    audit: Audit
    database: Database
    pruning: Pruning
    young_us: int
    sinks: list[str]

    def log(self) -> Report:
        """What a stranger finds."""
        return verify_log(self.audit.folder, self.audit.vkey)

    def rows(self) -> int:
        """How many events the database has."""
        with self.database.read() as conn:
            return conn.scalar(sa.text("SELECT count(*) FROM audit_event")) or 0

    def sound(self) -> None:
        """Both copies verify."""
        self.audit.flush()
        found = (*self.log().problems, *self.audit.verify_database().problems)
        assert not found, found

    def bundle(self, number: int) -> Path:
        """Where a bundle is published."""
        return self.audit.folder / tiles.Tile(tiles.ENTRIES, number, tiles.WIDTH).path


def fill(database: Database, audit: Audit, count: int, run: str) -> None:
    """Record events of a run, all in one transaction."""
    with database.begin("fill") as tx:
        for number in range(count):
            event = Event(Kind.STEP_PLANNED, ADA, Resource("step", "one"), run=run, data={"attempt": number})
            audit.record(tx, event)
    audit.flush()


@pytest.fixture
def ground(database: Database, open_audit: Callable[..., Audit], clock) -> Ground:
    """800 old entries of three runs, one of which goes on, and 700 young ones."""
    audit = open_audit()
    for run, count in (("run_1", 300), ("run_2", 200), ("run_3", 300)):
        fill(database, audit, count, run)
    clock.advance(86_400)
    young_us = clock.now_us()
    fill(database, audit, 100, "run_3")
    fill(database, audit, 600, "run_4")
    sinks: list[str] = []
    return Ground(audit, database, Pruning(database, audit, clock, lambda: sinks), young_us, sinks)


def test_old_entries_go_and_the_rest_verifies(ground: Ground, tmp_path: Path) -> None:
    """Whole bundles below a signed index; proofs and chains stay whole, and the report says what is gone."""
    checkpoint = ground.audit.flush()
    kept_proofs = ground.audit.prove([0, 5, 700, 900], checkpoint)
    leaf = ground.audit.events("run_1")[4]
    before, state = tmp_path / "checkpoint", tmp_path / "state"
    shutil.copy(ground.audit.folder / "checkpoint", before)
    assert verify_with_state(ground.audit.folder, ground.audit.vkey, state).ok
    made = ground.pruning.prune(ADA, ground.young_us, "a year is over")
    assert (made.plan.first, made.plan.min_index, made.entries) == (0, 768, 768)
    assert made.plan.stop == "entry 801: it is not older than the date"
    report = ground.log()
    assert report.ok, report.problems
    assert (report.pruned, report.pruned_by) == (768, 1501)
    assert report.to_json()["pruned"] == 768
    assert "entries 0 to 767 are pruned, as leaf 1501 says" in report.gone
    assert not ground.bundle(2).exists()
    assert ground.bundle(3).exists()
    ground.sound()
    assert ground.rows() == 1_502 - 768 + 1  # The opening stays: it names the keys.
    # What was proved stays proved, and can be proved again.
    assert ground.audit.prove([0, 5, 700, 900], checkpoint) == kept_proofs
    parsed = proof.parse(kept_proofs[leaf.index])
    assert proof.includes(checkpoint, parsed, leaf.bytes)
    for resumed in (verify_since(ground.audit.folder, ground.audit.vkey, before),
                    verify_with_state(ground.audit.folder, ground.audit.vkey, state)):  # fmt: skip
        assert resumed.ok, resumed.problems


def test_the_log_goes_on(ground: Ground, open_audit: Callable[..., Audit], clock) -> None:
    """Another process opens it, events follow in old chains and new ones, and more is pruned later."""
    ground.pruning.prune(ADA, ground.young_us)
    again = open_audit()
    fill(ground.database, again, 20, "run_1")
    fill(ground.database, again, 600, "run_5")
    clock.advance(86_400)
    later = Pruning(ground.database, again, clock).prune(ADA, clock.now_us())
    assert (later.plan.first, later.plan.min_index, later.entries) == (768, 1_792, 1_024)
    ground.sound()
    assert ground.log().pruned == 1_792


def test_a_search_says_what_is_pruned(ground: Ground) -> None:
    """What stays is found and shown as ever; of what went it is said that it is no longer kept."""
    ground.pruning.prune(ADA, ground.young_us)
    search = ground.audit.search
    assert search.find(ADA, Wanted(run="run_1")).hits == ()
    assert len(search.find(ADA, Wanted(run="run_3"), limit=1_000).hits) == 133
    assert search.show(ADA, 900).fields["run"] == "run_3"
    with pytest.raises(MandamusError, match=r"leaf 5 are no longer kept") as refused:
        search.show(ADA, 5)
    assert refused.value.code is Code.NOT_FOUND


def test_a_dry_run_takes_nothing(ground: Ground) -> None:
    """It only counts."""
    rows = ground.rows()
    assert ground.pruning.plan(ADA, ground.young_us).min_index == 768
    assert (ground.rows(), ground.bundle(0).exists()) == (rows, True)


@pytest.mark.parametrize(
    ("hold", "index"), [(("subject", "ada"), 0), (("run", "run_2"), 256), (("run", "run_4"), 768), (("run", "x"), 768)]
)
def test_what_a_hold_covers_stays(ground: Ground, hold: tuple[str, str], index: int) -> None:
    """And so does everything after it, for bundles go from the first on."""
    with ground.database.begin("hold") as tx:
        add_hold(tx.conn, Hold("case", *hold, "litigation", "ada", 0))
    made = ground.pruning.prune(ADA, ground.young_us)
    assert made.plan.min_index == index
    ground.sound()


def test_what_a_class_keeps_stays_and_what_it_ends_goes(ground: Ground, clock) -> None:
    """At least: not before, whatever date is given. At most: without any date."""
    assert ground.pruning.plan(ADA).stop == "entry 0: no retention class says when it goes; give a date"
    with ground.database.begin("declare") as tx:
        put_class(tx.conn, RetentionClass("default", at_most_s=43_200))
        put_class(tx.conn, RetentionClass("plans", at_least_s=5 * 86_400, at_most_s=6 * 86_400, kinds=("step.*",)))
    assert ground.pruning.plan(ADA, clock.now_us()) == pruning.Plan(0, 0, "entry 1: the retention class plans keeps it")
    clock.advance(5 * 86_400)
    made = ground.pruning.plan(ADA)
    assert (made.min_index, made.stop) == (768, "entry 801: its time is not over")


def test_what_a_sink_has_not_taken_stays(ground: Ground) -> None:
    """A sink that is behind loses nothing while it is declared, one that has nothing yet included."""
    with ground.database.begin("sink") as tx:
        row = {"of": ground.audit.origin}
        tx.conn.execute(sa.text("INSERT INTO export_cursor VALUES (:of, 'siem', 300, 0, '', 0)"), row)
    assert ground.pruning.plan(ADA, ground.young_us).min_index == 768, "nobody declares it any more"
    ground.sinks.append("siem")
    made = ground.pruning.plan(ADA, ground.young_us)
    assert (made.min_index, made.stop) == (256, "the sink siem has not taken entry 300")
    ground.sinks.append("archive")
    made = ground.pruning.prune(ADA, ground.young_us).plan
    assert (made.min_index, made.stop) == (0, "the sink archive has not taken entry 0")
    ground.sinks.remove("archive")
    assert ground.pruning.prune(ADA, ground.young_us).plan.min_index == 256


def test_a_new_sink_begins_at_the_first_entry_that_is_kept(ground: Ground, home: Path, clock, tmp_path: Path) -> None:
    """It says so, the log says from where on, and a comparison says which entries there is nothing to compare with."""
    (home / "sinks.yaml").write_text(f"sinks: {{archive: {{files: {{folder: {tmp_path / 'out'}}}}}}}\n")
    export = LogExport(
        home, ground.database, ground.audit, clock, lambda sink: Files(sink.name, Path(sink.options["folder"]))
    )
    ground.pruning.prune(ADA, ground.young_us)
    (before,) = export.sinks(ADA)
    assert (before.cursor.next, before.lag) == (768, ground.audit.flush().size - 768)
    (sent,) = export.run(ADA)
    assert sent.pumped is not None, sent.error
    assert (sent.pumped.first, sent.pumped.pruned) == (768, 768)
    assert decode(ground.audit.stream("sink/archive")[0].bytes)["data"]["next"] == 768
    assert sent.to_json()["pruned"] == 768
    assert min(path.name for path in (tmp_path / "out").rglob("*.jsonl")) == "000000000003.jsonl"
    report = export.reconcile(ADA, "archive")
    assert report.ok, report.problems
    assert "entries 0 to 767 are pruned, as leaf 1501 says" in report.gone
    (sent,) = export.run(ADA)
    assert sent.pumped is not None
    assert (sent.pumped.first, sent.pumped.pruned) == (report.size, 0)
    with pytest.raises(MandamusError, match=r"leaves before 768 are pruned") as refused:
        export.run(ADA, "archive", 700)
    assert refused.value.code is Code.VALUE_INVALID
    export.run(ADA, "archive", 768)
    first = min((tmp_path / "out").rglob("*.jsonl"))
    first.write_bytes(b"".join(first.read_bytes().splitlines(keepends=True)[1:]))
    report = export.reconcile(ADA, "archive")
    assert [problem.leaf for problem in report.problems if problem.leaf is not None] == [768]
    assert report.outcome is Verdict.TAMPERED


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("path", "change", "verdict"),
    [
        ("tile/entries/003", Path.unlink, Verdict.INCOMPLETE),
        ("tile/entries/004", Path.unlink, Verdict.INCOMPLETE),
        ("tile/entries/004", _flip, Verdict.TAMPERED),
        ("tile/0/000", _flip, Verdict.TAMPERED),
        ("tile/0/002", _cut, Verdict.INCOMPLETE),
        ("tile/0/001", Path.unlink, Verdict.INCOMPLETE),
        ("tile/0/004", _flip, Verdict.TAMPERED),
    ],
)
def test_a_pruned_log_hides_no_tampering(
    ground: Ground, path: str, change: Callable[[Path], None], verdict: Verdict
) -> None:
    """What is missing above the index is missing, and what stays of the rest proves every byte of it."""
    if not ground.database.is_sqlite:
        return  # only the files matter here
    ground.pruning.prune(ADA, ground.young_us)
    change(ground.audit.folder / path)
    assert ground.log().outcome is verdict


def test_no_mutation_of_a_pruned_log_is_missed(ground: Ground) -> None:
    """Bytes of any file that stays, changed in every way of the tamper matrix, and any file taken away."""
    if not ground.database.is_sqlite:
        return  # only the files matter here
    ground.pruning.prune(ADA, ground.young_us)
    ground.sound()
    draw, missed, tried = random.Random(7), [], 0
    files = sorted(path for path in (ground.audit.folder / "tile").rglob("*") if path.is_file())
    for path in [*files, ground.audit.folder / "checkpoint"]:
        whole = path.read_bytes()
        current = not path.parent.name.endswith(".p") or path.name == max(
            (each.name for each in path.parent.iterdir()), key=int
        )
        for how in (*tamper_kinds.BYTES, *(["remove"] if current else [])):
            changed = whole if how == "remove" else tamper_kinds.change(whole, how, draw)
            if how == "remove":
                path.unlink()
            elif changed == whole:
                continue
            else:
                path.write_bytes(changed)
            tried += 1
            if ground.log().ok:
                missed.append((str(path.relative_to(ground.audit.folder)), how))
            path.write_bytes(whole)
    assert not missed
    assert tried > 60
    ground.sound()


@pytest.mark.slow
@pytest.mark.parametrize("taken", [None, 3, 4])
def test_processes_share_the_work_on_a_pruned_log(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, taken: int | None
) -> None:
    """Ranges of which all, some or no bundles are pruned come together to what one process finds."""
    if not ground.database.is_sqlite:
        return  # only the files matter here
    monkeypatch.setattr(verify_module, "LEAVES", 2 * tiles.WIDTH)
    ground.pruning.prune(ADA, ground.young_us)
    if taken is not None:
        ground.bundle(taken).unlink()
    alone, shared = (verify_log(ground.audit.folder, ground.audit.vkey, procs=procs) for procs in (1, 2))
    assert shared == alone
    assert (alone.pruned, alone.pruned_by) == (768, 1501)
    assert [problem.file for problem in alone.problems] == ([] if taken is None else [f"tile/entries/{taken:03}"])


def test_nobody_prunes_past_the_log(ground: Ground) -> None:
    """Bundles and rows that are gone without an event that says so are missing."""
    ground.bundle(0).unlink()
    report = ground.log()
    assert (report.outcome, report.pruned) == (Verdict.INCOMPLETE, 0)
    assert [finding.file for finding in report.problems] == ["tile/entries/000"]
    with ground.database.begin("tamper") as tx:
        pruning._drop_rows(tx.conn, 0, 256)
    assert "audit_leaf" in {finding.file for finding in ground.audit.verify_database().problems}


def test_rows_of_a_pruned_log_hide_no_tampering(ground: Ground) -> None:
    """A hash that stays, a chain's end that is pruned, and the event that says so are all looked at."""
    if not ground.database.is_sqlite:
        return  # the damage is the same on both
    ground.pruning.prune(ADA, ground.young_us)
    ground.sound()
    for statement in (
        "UPDATE audit_leaf SET hash = zeroblob(32) WHERE leaf_index = 5",
        "UPDATE audit_stream SET hash = zeroblob(32) WHERE stream = 'run/run_2'",
        "UPDATE audit_stream SET seq = 7 WHERE stream = 'run/run_3'",
        "UPDATE audit_stream SET seq = seq + 1 WHERE stream = 'log/log.example.com/home'",
        "UPDATE audit_stream SET project = 'other' WHERE stream = 'log/log.example.com/home'",
        "INSERT INTO audit_stream (stream, seq, hash) SELECT 'run/x', seq, hash FROM audit_stream LIMIT 1",
        "DELETE FROM audit_event WHERE kind = 'audit.pruned'",
        "DELETE FROM audit_event WHERE event_id IN (SELECT event_id FROM audit_leaf WHERE leaf_index = 900)",
    ):
        with ground.database.engine.connect() as conn:
            conn.exec_driver_sql("DROP TRIGGER audit_event_no_delete")
            conn.exec_driver_sql("DROP TRIGGER audit_leaf_no_update")
            assert conn.exec_driver_sql(statement).rowcount == 1
            assert not pruning_check(conn, ground), statement
            conn.rollback()
    ground.sound()


def pruning_check(conn: sa.Connection, ground: Ground) -> bool:
    """Whether the rows are found sound."""
    return check_database(conn, parse_trust(ground.audit.vkey), people=ground.audit.people).ok


_KILLED = """
import os, sys
from pathlib import Path
from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.bootstrap.tools import SystemClock
from mandamus.kernel.access import OWNER, Subject
from mandamus.operations.pruning import Pruning
from mandamus.store.database import Database, open_sqlite
home, before_us, moment, nth = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
seen = []
def hook(at, label):
    if label.startswith("audit.pr"):
        seen.append(at)
        if len(seen) == nth:
            os.kill(os.getpid(), 9)
unlink = Path.unlink
def killing(path, missing_ok=False):
    unlink(path, missing_ok=missing_ok)
    if moment == "unlink" and "entries" in str(path) and path.name.isdigit() and path.parent.name == "entries":
        seen.append(path)
        if len(seen) == nth:
            os.kill(os.getpid(), 9)
Path.unlink = killing
db = Database(open_sqlite(home / "mandamus.db"), hook if moment == "commit" else lambda *_: None)
audit = Audit(db, home / "log", Signer("log.example.com/home", bytes([7]) * 32), SystemClock(), os.urandom)
who = Subject("ada", "os-user", frozenset(), OWNER)
Pruning(db, audit, SystemClock()).prune(who, before_us)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "nth"), [("commit", 1), ("commit", 2), ("commit", 3), ("commit", 4), ("unlink", 1), ("unlink", 3)]
)
def test_a_killed_pruning_is_seen_through(
    ground: Ground, open_audit: Callable[..., Audit], home: Path, moment: str, nth: int
) -> None:
    """Killed before or after every commit and between two files: both copies are sound, and the next start goes on."""
    if not ground.database.is_sqlite:
        return  # the steps are the same; the process below opens the file
    command = [sys.executable, "-c", _KILLED, str(home), str(ground.young_us), moment, str(nth)]
    killed = subprocess.run(command, capture_output=True, check=False, timeout=120)
    assert killed.returncode == -9, killed.stderr.decode()
    published, stored = ground.log(), ground.audit.verify_database()
    assert published.ok, published.problems
    assert stored.ok, stored.problems
    again = open_audit()
    said = again.told(Kind.AUDIT_PRUNED)
    assert bool(said) == ((moment, nth) != ("commit", 1))
    assert ground.bundle(0).exists() != bool(said)
    ground.sound()


def test_hashes_stay(ground: Ground) -> None:
    """Every level of the tree is as it was, so anybody can compute the root."""
    tile = ground.audit.folder / "tile" / "0" / "000"
    hashes = tile.read_bytes()
    ground.pruning.prune(ADA, ground.young_us)
    assert tile.read_bytes() == hashes
    assert tree.complete_root(tiles.split_hashes(hashes)) == (ground.audit.folder / "tile/1/000.p/5").read_bytes()[:32]
