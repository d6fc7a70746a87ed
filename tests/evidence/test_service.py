"""Sealing happens once for each end of a run, whatever breaks in between; handing out is recorded and harms no file."""

from __future__ import annotations

import errno
import json
import stat

import pytest

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Resource
from mandamus.kernel import canonical
from mandamus.kernel.access import MEMBER, Subject
from mandamus.kernel.errors import Code, MandamusError
from mandamus.operations.pruning import Pruning

SYSTEM = Subject("mandamus", "system", behalf_of="ada")


class _CrashError(Exception):
    """Stands for the end of the process."""


def _told(room, run):
    """The events in the evidence's own stream, oldest first."""
    room.audit.flush()
    return [json.loads(leaf.bytes) for leaf in room.audit.stream(f"evidence/{run}")]


def test_a_bundle_is_sealed_once(governed, room, bench):
    """Sealing again gives the same bundle, also in another process, and is recorded once, outside the run's stream."""
    parts = governed.parts()
    first = room.evidence.seal(SYSTEM, parts)
    room.begin().asked().closed()
    assert room.evidence.seal(SYSTEM, parts) == first
    told = _told(room, governed.run)
    assert [(event["kind"], event["data"]["digest"], event["run"]) for event in told] == [
        ("evidence.sealed", first, None)
    ]
    assert json.loads(room.leaves(governed.run)[-1].bytes)["kind"] == "run.closed"
    assert bench.check(room.blobs.get(first)).ok


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_while_sealing_loses_nothing(governed, make_room, bench, moment):
    """Ended before or after the commit, the next one who seals ends with one bundle, one row and one event."""
    room = make_room()
    parts = governed.parts()

    def die(now: str, label: str) -> None:
        if (now, label) == (moment, "evidence.sealed"):
            room.db._hook = lambda *_: None
            raise _CrashError

    room.db._hook = die
    with pytest.raises(_CrashError):
        room.evidence.seal(SYSTEM, parts)
    again = make_room()
    digest = again.evidence.seal(SYSTEM, parts)
    assert [event["data"]["digest"] for event in _told(again, governed.run)] == [digest]
    assert bench.check(again.blobs.get(digest)).ok


def test_two_who_seal_at_once_agree(governed, make_room, room, monkeypatch):
    """Whoever commits second takes the bundle of the first."""
    other, parts = make_room(), governed.parts()
    made = room.evidence._bundle
    seals = []

    def bundle(*asked):
        if not seals:
            seals.append(other.evidence.seal(SYSTEM, parts))
            room.begin().asked().closed()
        return made(*asked) + b"later"

    monkeypatch.setattr(room.evidence, "_bundle", bundle)
    assert [room.evidence.seal(SYSTEM, parts)] == seals
    assert len(_told(room, governed.run)) == 1


def test_only_what_has_ended_is_sealed(room):
    """A run whose last event is not its end has no evidence yet; nor has one that was opened again."""
    scribe = room.begin().asked().admitted()
    parts = scribe.parts()
    with pytest.raises(MandamusError, match="does not say") as caught:
        room.evidence.seal(SYSTEM, parts)
    assert caught.value.code is Code.EVIDENCE_INVALID
    scribe.closed("failed").record(Kind.RUN_RETRIED, data={"steps": []})
    with pytest.raises(MandamusError, match="does not say"):
        room.evidence.seal(SYSTEM, scribe.parts())


def test_an_export_is_the_sealed_bundle(governed, room, bench, tmp_path, person):
    """Byte for byte what was sealed, in a new file, and recorded with who took it."""
    digest = room.evidence.seal(SYSTEM, governed.parts())
    path = tmp_path / "proof.zip"
    assert room.evidence.export(person("grace"), governed.run, path) == digest == canonical.digest(path.read_bytes())
    assert bench.check(path.read_bytes()).ok
    told = _told(room, governed.run)[-1]
    assert (told["kind"], told["who"]["subject"], told["data"]) == ("evidence.exported", "grace", {"digest": digest})


def test_an_export_overwrites_nothing(governed, room, tmp_path, person):
    """A file that is there stays as it is, and nothing is recorded."""
    room.evidence.seal(SYSTEM, governed.parts())
    path = tmp_path / "mine"
    path.write_text("precious")
    with pytest.raises(MandamusError, match="exists already") as caught:
        room.evidence.export(person("grace"), governed.run, path)
    assert caught.value.code is Code.CONFLICT
    assert path.read_text() == "precious"
    assert [event["kind"] for event in _told(room, governed.run)] == ["evidence.sealed"]


def test_what_is_not_sealed_is_not_handed_out(room, tmp_path, person):
    """Neither a run that goes on nor one that was opened again after its end; no file is left behind."""
    scribe = room.begin().asked().admitted()
    path = tmp_path / "proof.zip"
    with pytest.raises(MandamusError, match="has no sealed evidence") as caught:
        room.evidence.export(person("grace"), scribe.run, path)
    assert "runs show" in caught.value.remedy
    room.evidence.seal(SYSTEM, scribe.closed("failed").parts())
    scribe.record(Kind.RUN_RETRIED, data={"steps": []})
    room.audit.flush()
    with pytest.raises(MandamusError, match="goes on"):
        room.evidence.export(person("grace"), scribe.run, path)
    assert not path.exists()


def test_an_export_that_cannot_be_recorded_hands_nothing_out(governed, room, tmp_path, person):
    """Audit trouble is a stop: no event, no bytes, no file."""
    room.evidence.seal(SYSTEM, governed.parts())

    def full(moment: str, label: str) -> None:
        if (moment, label) == ("before", "evidence.exported"):
            raise MandamusError(Code.STORAGE_FULL, "full", remedy="free space", retryable=True)

    room.db._hook = full
    with pytest.raises(MandamusError, match="full"):
        room.evidence.export(person("grace"), governed.run, tmp_path / "proof.zip")
    assert list(tmp_path.glob("proof*")) == []


def test_an_export_to_nowhere_says_so(governed, room, tmp_path, person):
    """A folder that is not there is an error with a remedy, and nothing is recorded."""
    room.evidence.seal(SYSTEM, governed.parts())
    with pytest.raises(MandamusError, match="cannot be written") as caught:
        room.evidence.export(person("grace"), governed.run, tmp_path / "no" / "proof.zip")
    assert (caught.value.code, isinstance(caught.value.__cause__, OSError)) == (Code.UNAVAILABLE, True)
    assert caught.value.__cause__.errno == errno.ENOENT


def test_evidence_is_for_who_may_read_it(governed, room, tmp_path):
    """A member of the home may; a stranger may not, and gets no file."""
    room.evidence.seal(SYSTEM, governed.parts())
    with pytest.raises(MandamusError, match="may not evidence:read"):
        room.evidence.export(Subject("eve", "os-user"), governed.run, tmp_path / "a.zip")
    room.evidence.export(Subject("joe", "os-user", permissions=MEMBER), governed.run, tmp_path / "b.zip")
    assert [path.name for path in tmp_path.glob("*.zip")] == ["b.zip"]
    assert stat.S_ISREG((tmp_path / "b.zip").stat().st_mode)


def test_a_pruned_run_keeps_its_bundle(governed, room, sealed, bench, person, tmp_path):
    """What was sealed is handed out, and proves as much, when the log keeps the entries of the run no longer."""
    data = sealed(governed)
    event = Event(Kind.RUN_ADMITTED, person("ada"), Resource("run", "run_2"), run="run_2")
    with room.db.begin("fill") as tx:
        for _ in range(600):
            room.audit.record(tx, event)
    room.audit.flush()
    Pruning(room.db, room.audit, room.clock).prune(person("ada"), room.clock.now_us())
    assert room.leaves(governed.run) == []
    path = tmp_path / "pruned.zip"
    room.evidence.export(person("ada"), governed.run, path)
    assert path.read_bytes() == data
    report = bench.check(data)
    assert (report.ok, report.state) == (True, "succeeded")
