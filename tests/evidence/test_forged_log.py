"""Leaves, proofs and chain are checked by themselves: a manifest that the platform signed excuses nothing in them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mandamus.audit import note, proof, tree
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Resource, Verdict
from mandamus.audit.service import Audit
from mandamus.evidence.service import Evidence
from mandamus.kernel import canonical
from mandamus.store.database import Database, open_sqlite
from mandamus.store.migrate import migrate


@pytest.fixture
def files(governed, sealed, bench):
    """The files of a sound bundle."""
    return bench.files(sealed(governed))


@pytest.fixture
def logged(files, governed, bench, signer):
    """A bundle of these leaves in a log that the trusted key signs; an answer that shows they would all be proved."""

    def make(leaves: list[bytes]):
        hashes = [tree.leaf_hash(leaf) for leaf in leaves]
        checkpoint = note.sign_checkpoint(signer, len(leaves), tree.root_of(hashes))
        made = {name: data for name, data in files.items() if not name.startswith("events/")}
        made["checkpoint"] = checkpoint.note
        for index, leaf in enumerate(leaves):
            path = tree.inclusion_proof(index, len(leaves), lambda low, high: tree.root_of(hashes[low:high]))
            made[f"events/{index}.json"], made[f"events/{index}.tlog-proof"] = (
                leaf,
                proof.write(index, path, checkpoint),
            )
        return bench.check(bench.forged(governed.run, made))

    return make


@pytest.fixture
def leaves(files):
    """The exact leaves of the bundle, in order."""
    count = sum(name.startswith("events/") for name in files) // 2
    return [files[f"events/{index}.json"] for index in range(count)]


def test_a_log_made_by_hand_is_as_good(logged, leaves):
    """The tests below prove something: the same leaves unchanged verify."""
    report = logged(leaves)
    assert report.ok, report.problems


def test_a_leaf_that_is_not_in_the_tree(files, governed, bench):
    """A changed leaf with a manifest that fits it: the signed tree does not have it."""
    changed = {**files, "events/5.json": files["events/5.json"].replace(b'"at":1', b'"at":2')}
    report = bench.check(bench.forged(governed.run, changed))
    assert (report.outcome, report.leaf) == (Verdict.TAMPERED, 5)
    assert "not leaf 5 of the signed log" in report.problems[0].message


def test_a_proof_of_another_leaf_or_checkpoint(files, governed, room, bench, sealed):
    """A proof is of this leaf, in the one checkpoint of the bundle, or it shows nothing here."""
    room.begin().asked().admitted().closed()
    later = room.audit.prove([5], room.audit.flush())[5]
    for text in (files["events/6.tlog-proof"], later):
        report = bench.check(bench.forged(governed.run, {**files, "events/5.tlog-proof": text}))
        assert (report.outcome, report.problems[0].file) == (Verdict.TAMPERED, "events/5.tlog-proof")
        assert "of another leaf or for another checkpoint" in report.problems[0].message
    moved = {**files, "events/99.json": files["events/5.json"], "events/99.tlog-proof": files["events/5.tlog-proof"]}
    del moved["events/5.json"], moved["events/5.tlog-proof"]
    report = bench.check(bench.forged(governed.run, moved))
    assert (report.problems[0].file, report.problems[0].message[14:29]) == ("events/99.tlog-proof", "of another leaf")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"run": "run_other"}, "not of the run"),
        ({"stream": "run/other"}, "not of the run"),
        ({"why": "another"}, "does not name the hash"),
        ({"seq": 3}, "stands after event"),
        ({"prev": None}, "does not name the hash"),
        ({"who": None}, "lacks fields"),
        ({"data": None}, "lacks fields"),
        ({"at": "now"}, "lacks fields"),
        ({"format": "leaf/2"}, "not of the format"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_event_that_does_not_fit_its_run(logged, leaves, changed, told):
    """Proved by the log and yet not what stands there in the run's chain: the leaf is named."""
    leaves[6] = canonical.dumps({**json.loads(leaves[6]), **changed})
    report = logged(leaves)
    assert report.outcome is Verdict.TAMPERED
    assert any(told in p.message and p.leaf in (6, 7) for p in report.problems), report.problems


def test_an_event_twice_or_never(logged, leaves):
    """The numbers of the events go up one by one: a repeated one is tampered with, a left out one is missing."""
    assert "event 4 of the run stands after event 4" in str(logged([*leaves[:6], leaves[5], *leaves[6:]]).problems[0])
    report = logged([*leaves[:6], *leaves[7:]])
    assert (report.outcome, report.leaf) == (Verdict.INCOMPLETE, 6)
    assert "event 5 is missing" in report.problems[0].message


def test_the_manifest_names_the_run(files, bench):
    """A bundle of one run that says it is of another is of neither."""
    report = bench.check(bench.forged("run_other", files))
    assert report.outcome is Verdict.TAMPERED
    assert "not of the run run_other" in report.problems[0].message


def test_a_log_that_does_not_open_with_a_key_proves_nothing(room, home, governed, bench, clock, entropy, signer):
    """Leaf 0 of the trusted log, genuine and proved, names the platform's key or nothing is believed."""
    database = Database(open_sqlite(home / "other.db"))
    migrate(database.engine)
    audit = Audit(database, home / "other-log", signer, clock, entropy)
    data = {"origin": signer.name, "platform_key": room.platform.vkey}
    with database.begin("test") as tx:
        audit.record(tx, Event(Kind.LOG_OPENED, governed.requester, Resource("log", "elsewhere"), data=data))
    audit.open(governed.requester, room.platform.vkey)
    other = replace(room, db=database, audit=audit).begin().asked().admitted().closed()
    checkpoint, leaves = audit.flush(), audit.events(other.run)
    first = audit.stream("log/elsewhere")
    assert first[0].index == 0
    audit.opened = lambda: first[0]
    evidence = Evidence(database, room.blobs, audit, room.platform, clock)
    report = bench.check(evidence._bundle(other.parts(), leaves, checkpoint))
    assert (report.outcome, report.leaf) == (Verdict.TAMPERED, 0)
    assert "not the leaf that opens this log" in report.problems[0].message
    database.close()
