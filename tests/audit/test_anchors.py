"""Anchors: what was put there stays, and a log that was taken back or changed does not fit it any more."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mandamus.audit.anchor import Anchor, file_of, folder_of
from mandamus.audit.anchor_check import Named
from mandamus.audit.anchor_folder import FolderAnchor
from mandamus.audit.anchor_git import GitAnchor
from mandamus.audit.leaf import decode
from mandamus.audit.model import Leaf, Verdict
from mandamus.audit.note import sign_checkpoint
from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.kernel.access import MEMBER, Subject
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Entropy
from mandamus.operations.anchoring import Anchoring
from mandamus.store.database import Database

Write = Callable[..., list[Leaf]]
Open = Callable[..., Audit]
ENVIRON = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
HOUR_S = 3600


def _git(repository: Path, *words: str) -> str:
    command = ["git", "-C", str(repository), *words]
    return subprocess.run(command, env=ENVIRON, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = tmp_path / "elsewhere"
    made.mkdir()
    return made


@pytest.fixture
def folder_anchor(place: Path, entropy: Entropy) -> FolderAnchor:
    return FolderAnchor(place, entropy)


@pytest.fixture
def git_anchor(tmp_path: Path) -> GitAnchor:
    """A working copy with something in it, and a bare remote."""
    _git(tmp_path, "init", "--quiet", "--bare", "remote.git")
    _git(tmp_path, "init", "--quiet", "--initial-branch", "main", "work")
    _git(tmp_path / "work", "remote", "add", "origin", str(tmp_path / "remote.git"))
    (tmp_path / "work" / "half-done").write_text("staged")
    _git(tmp_path / "work", "add", "half-done")
    return GitAnchor(tmp_path / "work", "anchors", ENVIRON)


@pytest.fixture(params=["folder", "git"])
def anchor(request: pytest.FixtureRequest) -> Anchor:
    """Each kind that needs no server."""
    made: Anchor = request.getfixturevalue(f"{request.param}_anchor")
    return made


@pytest.fixture
def database(sqlite_database: Database) -> Database:
    """What is put into anchors does not depend on the database; one test below runs on the other."""
    return sqlite_database


def _anchoring(database: Database, audit: Audit, clock: Clock, *anchors: Anchor) -> Anchoring:
    named = [Named(f"a{number}", HOUR_S, each) for number, each in enumerate(anchors)]
    return Anchoring(database, audit, lambda: named, clock)


def test_what_is_put_there_is_kept(
    anchor: Anchor, audit: Audit, write: Write, database: Database, clock: Clock, who: Subject
) -> None:
    """Every checkpoint that was anchored is there, is an event, and fits the log."""
    anchoring = _anchoring(database, audit, clock, anchor)
    checkpoints = []
    for count in (1, 5, 300):
        write(audit, count)
        (result,) = anchoring.anchor(who, now=True)
        assert result.state == "anchored"
        checkpoints.append(audit.flush().origin)
    kept = list(anchor.kept(audit.flush().origin))
    assert len(kept) == 3
    assert anchoring.verify(who).problems == ()
    events = [decode(leaf.bytes) for leaf in audit.stream("anchor/a0")]
    assert [event["kind"] for event in events] == ["log.anchored"] * 3
    assert events[-1]["data"]["size"] == result.size
    assert events[-1]["data"]["ref"] == result.ref


def test_to_keep_it_twice_changes_nothing(anchor: Anchor, audit: Audit) -> None:
    """A process that died between putting and recording puts it again."""
    checkpoint = audit.flush()
    assert anchor.put(checkpoint) == anchor.put(checkpoint)
    assert len(list(anchor.kept(checkpoint.origin))) == 1


def test_no_second_history_is_kept(anchor: Anchor, audit: Audit, signer: Signer) -> None:
    """For one size there is one tree; another one is refused, and the first one stays."""
    first = audit.flush()
    anchor.put(first)
    with pytest.raises(MandamusError) as error:
        anchor.put(sign_checkpoint(signer, first.size, b"x" * 32))
    assert error.value.code is Code.AUDIT_TAMPERED
    assert [each.note for each in anchor.kept(first.origin)] == [first.note]


def test_another_log_in_the_same_place(anchor: Anchor, audit: Audit) -> None:
    """Several logs may share an anchor."""
    other = sign_checkpoint(Signer("other.example.com", b"\x09" * 32), 1, b"x" * 32)
    anchor.put(audit.flush())
    anchor.put(other)
    assert [each.note for each in anchor.kept("other.example.com")] == [other.note]


def test_when_it_is_due(
    folder_anchor: FolderAnchor, audit: Audit, database: Database, clock: Clock, who: Subject
) -> None:
    """An anchor is left alone until its time has passed, but for `--now`."""
    anchoring = _anchoring(database, audit, clock, folder_anchor)
    states = [anchoring.anchor(who)[0].state, anchoring.anchor(who)[0].state, anchoring.anchor(who, now=True)[0].state]
    clock.advance(HOUR_S)  # type: ignore[attr-defined]
    states.append(anchoring.anchor(who)[0].state)
    assert states == ["anchored", "not due", "anchored", "anchored"]


def test_one_that_fails_keeps_no_other_from_its_turn(
    folder_anchor: FolderAnchor, audit: Audit, database: Database, clock: Clock, who: Subject, entropy: Entropy
) -> None:
    """The failure is told and recorded; the others are anchored; a place that is not there is no empty anchor."""
    gone = FolderAnchor(Path("/nonexistent"), entropy)
    anchoring = _anchoring(database, audit, clock, gone, folder_anchor)
    failed, anchored = anchoring.anchor(who)
    assert (failed.state, anchored.state) == ("failed", "anchored")
    assert failed.error is not None
    assert failed.error.code is Code.AUDIT_UNAVAILABLE
    audit.flush()
    assert decode(audit.stream("anchor/a0")[0].bytes)["outcome"] == "failed"
    report = anchoring.verify(who)
    assert report.outcome is Verdict.INCOMPLETE
    assert [problem.file for problem in report.problems] == ["anchor a0"]


def test_taking_back_log_and_database_together_is_found(
    anchor: Anchor,
    open_audit: Open,
    write: Write,
    home: Path,
    tmp_path: Path,
    database: Database,
    clock: Clock,
    who: Subject,
) -> None:
    """An older copy of the whole home fits itself; the anchor knows more. Growing again hides nothing."""
    audit = open_audit()
    write(audit, 2)
    audit.flush()
    database.close()
    shutil.copytree(home, tmp_path / "older")
    write(audit, 5)
    _anchoring(database, audit, clock, anchor).anchor(who)
    database.close()
    shutil.rmtree(home)
    shutil.copytree(tmp_path / "older", home)
    again = open_audit()
    assert again.verify(who).ok
    report = _anchoring(database, again, clock, anchor).verify(who)
    assert report.outcome is Verdict.TAMPERED
    assert "taken back" in report.problems[0].message
    write(again, 20, run="run_2")
    again.flush()
    assert again.verify(who).ok
    report = _anchoring(database, again, clock, anchor).verify(who)
    assert report.outcome is Verdict.TAMPERED
    assert "another history" in report.problems[0].message


def test_what_was_lost_is_missed(
    folder_anchor: FolderAnchor, place: Path, audit: Audit, database: Database, clock: Clock, who: Subject
) -> None:
    """A checkpoint that was put there and is gone makes the anchor incomplete; a changed one is tampered."""
    anchoring = _anchoring(database, audit, clock, folder_anchor)
    anchoring.anchor(who)
    (path,) = place.rglob("*.checkpoint")
    assert path.stat().st_mode & 0o777 == 0o444
    data = path.read_bytes()
    path.unlink()
    assert anchoring.verify(who).outcome is Verdict.INCOMPLETE
    path.write_bytes(data.replace(b"\n1\n", b"\n2\n"))
    assert anchoring.verify(who).outcome is Verdict.TAMPERED


def test_it_needs_a_right_and_an_anchor(audit: Audit, database: Database, clock: Clock, who: Subject) -> None:
    """Who may only verify may not anchor, and without anchors nobody is told that all is well."""
    anchoring = _anchoring(database, audit, clock)
    with pytest.raises(MandamusError) as error:
        anchoring.anchor(Subject("joan", "os-user", frozenset(), MEMBER))
    assert error.value.code is Code.FORBIDDEN
    for verb in (anchoring.anchor, anchoring.verify):
        with pytest.raises(MandamusError) as error:
            verb(who)
        assert error.value.code is Code.NOT_FOUND


def test_git_leaves_the_working_copy_alone(git_anchor: GitAnchor, audit: Audit, tmp_path: Path) -> None:
    """What the owner of the repository has under way stays as it is; the remote has the branch."""
    checkpoint = audit.flush()
    commit = git_anchor.put(checkpoint).ref
    work = tmp_path / "work"
    assert _git(work, "status", "--short") == "A  half-done\n"
    assert _git(tmp_path / "remote.git", "rev-parse", "anchors").strip() == commit
    path = f"{folder_of(checkpoint.origin)}/{file_of(checkpoint.size)}"
    assert _git(work, "show", f"anchors:{path}").encode() == checkpoint.note


def test_git_pushes_what_it_could_not_push(git_anchor: GitAnchor, audit: Audit, write: Write, tmp_path: Path) -> None:
    """A remote that cannot be reached is a failure, and what was committed meanwhile is pushed with the next one."""
    (tmp_path / "remote.git").rename(tmp_path / "away.git")
    with pytest.raises(MandamusError) as error:
        git_anchor.put(audit.flush())
    assert error.value.code is Code.AUDIT_UNAVAILABLE
    (tmp_path / "away.git").rename(tmp_path / "remote.git")
    write(audit, 1)
    git_anchor.put(audit.flush())
    assert _git(tmp_path / "remote.git", "rev-list", "--count", "anchors").strip() == "2"


def test_the_remote_counts(git_anchor: GitAnchor, audit: Audit, tmp_path: Path) -> None:
    """Whoever changes the repository beside the home changes nothing of what was pushed."""
    git_anchor.put(audit.flush())
    _git(tmp_path / "work", "update-ref", "-d", "refs/heads/anchors")
    assert len(list(git_anchor.kept(audit.flush().origin))) == 1


@pytest.mark.parametrize("name", ["postgres_database"])
def test_on_the_other_database(
    name: str,
    request: pytest.FixtureRequest,
    folder_anchor: FolderAnchor,
    signer: Signer,
    platform: Signer,
    home: Path,
    clock: Clock,
    entropy: Entropy,
    who: Subject,
) -> None:
    """Rows and comparison are the same on Postgres."""
    database: Database = request.getfixturevalue(name)
    audit = Audit(database, home / "log", signer, clock, entropy)
    audit.open(who, platform.vkey)
    anchoring = _anchoring(database, audit, clock, folder_anchor)
    assert anchoring.anchor(who)[0].state == "anchored"
    assert anchoring.anchor(who)[0].state == "not due"
    assert anchoring.verify(who).ok
