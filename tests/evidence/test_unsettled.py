"""A run whose effect nobody knows the end of is proved as that and no more, and no ended run passes for one."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from mandamus.audit import note, tree
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Outcome, Resource, Verdict
from mandamus.audit.trust import parse_trust
from mandamus.evidence import page
from mandamus.evidence.brief import brief
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.tables.audit import audit_leaf

NOTE = "this run is not settled: nobody knows the end of the effect of step bucket (leaf "


def _lose(scribe, *, said: bool = True):
    """The effect of the step is lost."""
    scribe.intended(scribe.planned())
    if said:
        scribe.record(Kind.EFFECT_INDETERMINATE, "bucket", data={"attempt": 1, "phase": "apply"})
    scribe.steps["bucket"] = ("indeterminate" if said else "applying", 1)
    return scribe


def _rest(scribe, state: str = "indeterminate"):
    """The run rests."""
    scribe.state = state
    scribe.record(Kind.RUN_UNSETTLED, data={"state": state}, outcome=Outcome.UNKNOWN)
    return scribe


@pytest.fixture
def lost(room):
    """A run that rests, and to which nothing more happened."""
    return _rest(_lose(room.begin().asked().admitted()))


@pytest.fixture
def settled(lost, person):
    """The parts of a run as it rested, and the scribe of the same run, settled and closed since."""
    early = lost.parts()
    lost.settled("failed", by_probe=False, who=person("grace"))
    lost.finished("bucket", "failed")
    return early, lost.closed("failed")


def test_it_is_proved_as_what_it_is(lost, room, sealed, bench):
    """Whatever the log went on with in the meantime: the tree of the bundle ends with the run's last event."""
    room.begin().asked().admitted().closed()
    data = sealed(lost)
    report = bench.check(data)
    assert report.ok, [str(problem) for problem in report.problems]
    assert report.state == "indeterminate"
    assert [text.startswith(NOTE) for text in report.notes] == [True]
    last = room.leaves(lost.run)[-1]
    held = note.read_checkpoint(bench.files(data)["checkpoint"], parse_trust(bench.vkey))
    assert (json.loads(last.bytes)["kind"], held.size) == ("run.unsettled", last.index + 1)
    assert room.audit.flush().size > held.size
    assert room.evidence.seal(lost.requester, lost.parts()) == room.evidence.seal(lost.requester, lost.parts())


def test_once_settled_another_bundle_tells_both(settled, room, sealed, bench):
    """The first stays what it was; the second has the loss, the rest, who settled it, and the end."""
    early, scribe = settled
    first = room.blobs.get(room.evidence.seal(scribe.requester, early))
    second = sealed(scribe)
    for data, state in ((first, "indeterminate"), (second, "failed")):
        report = bench.check(data)
        assert report.ok, [str(problem) for problem in report.problems]
        assert report.state == state
    assert "grace settled step bucket as failed: looked at it" in report.notes[0]
    files = bench.files(second)
    kinds = {json.loads(files[name])["kind"] for name in files if name.startswith("events/") and ".json" in name}
    assert {"effect.indeterminate", "run.unsettled", "effect.settled", "run.closed"} <= kinds


def test_an_end_that_was_cut_off_is_found(settled, room, sealed, bench):
    """Whoever has the platform's key cannot pass off a run that was settled: the tree goes on after what they show."""
    early, scribe = settled
    whole = bench.files(sealed(scribe))
    shown = {f"events/{leaf.index}" for leaf in early.leaves} | {"events/0"}
    kept = {name: data for name, data in whole.items() if "events/" not in name or name.split(".")[0] in shown}
    true = bench.files(room.blobs.get(room.evidence.seal(scribe.requester, early)))
    kept |= {name: true[name] for name in true if name.startswith(("summary", "attestations/"))}
    report = bench.check(bench.forged(scribe.run, kept))
    assert report.outcome is Verdict.INCOMPLETE
    assert [problem.leaf for problem in report.problems] == [early.leaves[-1].index]
    assert "goes on: its end may be cut off" in report.problems[0].message


def test_a_run_that_does_not_say_so_is_cut_off(room, sealed, bench):
    """Only run.unsettled is a last event beside run.closed, wherever the tree ends."""
    scribe = _lose(room.begin().asked().admitted())
    parts = scribe.parts()
    with pytest.raises(MandamusError) as raised:
        room.evidence.seal(scribe.requester, parts)
    assert raised.value.code is Code.EVIDENCE_INVALID
    whole = room.evidence._bundle(parts, parts.leaves, room.audit.head_at(parts.leaves[-1].index + 1))
    report = bench.check(whole)
    assert (report.outcome, report.problems[0].message) == (
        Verdict.INCOMPLETE,
        "the run's last event, run.closed, is missing",
    )


def test_every_effect_has_an_end(room, refused):
    """A run does not rest for nothing, and not for an effect of which nobody said that it was lost."""
    scribe = room.begin().asked().admitted()
    scribe.applied()
    refused(_rest(scribe), "every effect in it has an end")
    unsaid = _rest(_lose(room.begin().asked().admitted(), said=False))
    refused(unsaid, "nothing tells what became of the effect of step bucket", verdict=Verdict.INCOMPLETE)


def test_it_has_the_state_of_its_last_event(room, refused):
    """Lost is not failed, and ended is not lost."""
    refused(_rest(_lose(room.begin().asked().admitted()), "failed"), "does not end with run.unsettled as failed")
    over = _lose(room.begin().asked().admitted())
    over.settled("failed")
    over.finished("bucket", "failed")
    refused(over.closed("indeterminate"), "does not end with run.closed as indeterminate")


@pytest.mark.parametrize(
    ("row", "why"), [(("succeeded", 1), "its state of the step"), (("indeterminate", 2), "its attempt of the step")]
)
def test_the_summary_tells_of_the_steps_as_they_stand(lost, refused, row, why):
    """Where the newest event left a step is where it is."""
    lost.steps["bucket"] = row
    refused(lost, why, "summary.json")


def test_other_steps_stand_where_they_were(room, sealed, bench):
    """Waiting for people, planned, moved, to be tried again, done, or never begun."""
    scribe = room.begin().asked().admitted()
    scribe.applied("done")
    asks = (("platform", 1),)
    for name in ("waits", "moved", "judged"):
        scribe.planned(name, asks=asks)
        scribe.waiting(name, asks=asks)
    scribe.record(Kind.STEP_MOVED, "moved", data={"attempt": 1, "what": "state", "then": "plan"})
    scribe.record(Kind.STEP_MOVED, "judged", data={"attempt": 1, "what": "policy", "then": "judge"})
    scribe.planned("ready")
    scribe.intended(scribe.planned("again"), step="again")
    scribe.ended("again", ok=False)
    for name, state in (
        ("waits", "waiting"), ("moved", "pending"), ("judged", "waiting"), ("ready", "planned"), ("later", "pending")
    ):  # fmt: skip
        scribe.steps[name] = (state, 1)
    scribe.steps["again"] = ("pending", 2)
    report = bench.check(sealed(_rest(_lose(scribe))))
    assert report.ok, [str(problem) for problem in report.problems]


def test_a_run_that_was_tried_again_may_be_lost(room, sealed, bench, person):
    """What an earlier attempt ended as does not count any more."""
    scribe = room.begin().asked().admitted()
    scribe.finished("bucket", "failed")
    scribe.finished("smoke", "skipped")
    scribe.closed("failed")
    scribe.record(Kind.RUN_RETRIED, who=person("grace"), data={"steps": ["bucket", "smoke"]})
    scribe.makers = ("ada", "grace", "ops")
    scribe.intended(scribe.planned(attempt=2), attempt=2)
    scribe.record(Kind.EFFECT_INDETERMINATE, "bucket", data={"attempt": 2, "phase": "apply"})
    scribe.steps |= {"bucket": ("indeterminate", 2), "smoke": ("pending", 2)}
    report = bench.check(sealed(_rest(scribe)))
    assert report.ok, [str(problem) for problem in report.problems]


def test_people_read_of_it(lost, sealed, bench, tmp_path):
    """On the page, at the top, and from the command."""
    path = tmp_path / "proof.zip"
    path.write_bytes(sealed(lost))
    _, told = brief(path, bench.vkey)
    shown = page.render(told).decode()
    assert "This run is not settled: nobody knows the end of the effect of step bucket." in shown
    assert "not settled, as of " in shown
    assert "closed 2" not in shown
    command = [sys.executable, "-m", "mandamus", "evidence", "verify", str(path), "--trust", bench.vkey]
    done = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert NOTE in " ".join(done.stderr.split())


def test_heads_of_earlier_sizes(room):
    """Each is what the log would have signed then; rows that were changed are found before anything is signed."""
    scribe = room.begin().asked()
    event = Event(Kind.RUN_ADMITTED, scribe.requester, Resource("run", scribe.run), run=scribe.run)
    with room.db.begin("fill") as tx:
        for _ in range(300):
            room.audit.record(tx, event)
    checkpoint = room.audit.flush()
    hashes = [tree.leaf_hash(leaf.bytes) for leaf in (room.audit.opened(), *room.leaves(scribe.run))]
    assert len(hashes) == checkpoint.size
    for size in (1, 2, 255, 256, 257, checkpoint.size):
        head = room.audit.head_at(size)
        assert (head.size, head.root) == (size, tree.root_of(hashes[:size]))
        assert note.read_checkpoint(head.note, parse_trust(room.audit.vkey)) == head
    with room.db.engine.connect() as conn:
        conn.exec_driver_sql("DROP TRIGGER audit_leaf_no_update")
        conn.execute(audit_leaf.update().where(audit_leaf.c.leaf_index == 100).values(hash=bytes(32)))
        conn.commit()
    with pytest.raises(MandamusError) as raised:
        room.audit.head_at(101)
    assert raised.value.code is Code.AUDIT_TAMPERED
    assert raised.value.context["size"] == 101
