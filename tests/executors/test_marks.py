from __future__ import annotations

import os
from pathlib import Path

import pytest

from mandamus.executors import marks
from mandamus.executors.model import Exit, Marks
from mandamus.kernel.errors import Code, MandamusError


@pytest.fixture
def mark(tmp_path: Path) -> Marks:
    folder = tmp_path / "run" / "step.1" / "marks"
    folder.mkdir(parents=True)
    return Marks(folder, "apply", (tmp_path / "outputs", tmp_path / "absent"))


@pytest.fixture
def synced(monkeypatch) -> list[Path]:
    """The path behind every descriptor that is made durable, in order."""
    paths: list[Path] = []
    fsync = os.fsync

    def record(fd: int) -> None:
        paths.append(Path(f"/proc/self/fd/{fd}").readlink())
        fsync(fd)

    monkeypatch.setattr(os, "fsync", record)
    return paths


def test_the_marks_tell_the_three_stories(mark):
    """Nothing started, started and not seen to end, ended with a code."""
    assert marks.read(mark) == marks.Trace(started=False)
    marks.started(mark)
    assert marks.read(mark) == marks.Trace(started=True)
    marks.ended(mark, Exit(code=3, duration_s=1.0))
    assert marks.read(mark) == marks.Trace(started=True, code=3)
    marks.ended(mark, Exit(code=130, duration_s=1.0, cancelled=True))
    assert marks.read(mark) == marks.Trace(started=True, code=130, stopped=True)


def test_a_new_start_forgets_the_old_end(mark):
    """What an earlier try left never settles a later one."""
    marks.started(mark)
    marks.ended(mark, Exit(code=0, duration_s=1.0))
    marks.started(mark)
    assert marks.read(mark) == marks.Trace(started=True)
    marks.unstarted(mark)
    assert marks.read(mark) == marks.Trace(started=False)


def test_each_phase_has_marks_of_its_own(mark):
    """The end of a plan says nothing about an apply."""
    other = Marks(mark.folder, "plan")
    marks.started(other)
    marks.ended(other, Exit(code=0, duration_s=1.0))
    assert not marks.read(mark).started


def test_a_folder_that_is_gone_tells_that_nothing_started(tmp_path):
    """Without a folder there was no start, for the start is marked before anything runs."""
    assert not marks.read(Marks(tmp_path / "never", "apply")).started


def test_a_torn_end_is_no_end(mark):
    """An end that a crash cut short is not believed, wherever it was cut."""
    marks.started(mark)
    marks.ended(mark, Exit(code=0, duration_s=1.0))
    path = mark.folder / "apply.mark"
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert marks.read(mark) == marks.Trace(started=True)
        path.write_bytes(whole[:cut] + bytes(len(whole) - cut))
        assert marks.read(mark) == marks.Trace(started=True)


def test_the_start_is_durable_with_every_folder_above_it(mark, synced):
    """A power cut after the start cannot take the mark away, nor a folder it stands in."""
    marks.started(mark)
    folder = mark.folder
    assert synced == [folder, folder.parent, folder.parent.parent, folder.parent.parent.parent]


def test_results_are_durable_before_the_end_is_marked(mark, synced, tmp_path):
    """Who reads that a step ended well finds what it left."""
    marks.started(mark)
    synced.clear()
    mark.results[0].write_text("A=1\n")
    marks.ended(mark, Exit(code=0, duration_s=1.0))
    assert synced == [tmp_path / "outputs", tmp_path, mark.folder / "apply.mark"]


def test_an_end_whose_results_cannot_be_made_durable_is_not_marked(mark, tmp_path):
    """A link in the place of a result is not followed; then nobody saw the end."""
    marks.started(mark)
    (tmp_path / "elsewhere").write_text("x")
    mark.results[0].symlink_to(tmp_path / "elsewhere")
    marks.ended(mark, Exit(code=0, duration_s=1.0))
    assert marks.read(mark) == marks.Trace(started=True)


def test_a_start_that_cannot_be_marked_is_an_error_that_may_be_retried(tmp_path):
    """A full or broken disk stops the step before it begins."""
    with pytest.raises(MandamusError) as error:
        marks.started(Marks(tmp_path / "never", "apply"))
    assert error.value.code is Code.STORAGE_FULL
    assert error.value.retryable
