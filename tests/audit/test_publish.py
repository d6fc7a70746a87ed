"""Publication: a crash between any two writes or a power cut is repaired by the next publication, nothing special."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mandamus.audit.model import Leaf, Verdict
from mandamus.audit.service import Audit
from mandamus.audit.verify import verify_log
from mandamus.store.database import Database

Write = Callable[..., list[Leaf]]
Open = Callable[..., Audit]


class CrashError(BaseException):
    """The process dies here; no handler of ours may catch it."""


@pytest.fixture
def database(sqlite_database: Database) -> Database:
    """Files are files: one database is enough."""
    return sqlite_database


def _crash_at(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Die before the given change of a file's name (a rename or a removal), counted from 0."""
    left = iter(range(count, -1, -1))

    def dying(original: Callable[..., object]) -> Callable[..., object]:
        def change(*args: object, **kwargs: object) -> object:
            if next(left) == 0:
                raise CrashError
            return original(*args, **kwargs)

        return change

    monkeypatch.setattr(Path, "replace", dying(Path.replace))
    monkeypatch.setattr(Path, "unlink", dying(Path.unlink))
    monkeypatch.setattr(Path, "rmdir", dying(Path.rmdir))


@pytest.mark.parametrize("before", [3, 250, 255, 511])
def test_crash_between_any_two_writes(open_audit: Open, folder: Path, write: Write, before: int) -> None:
    """At every crash point the folder verifies as it stands, and the next process goes on from it."""
    audit = open_audit()
    write(audit, before)
    audit.flush()
    for point in range(100):
        with pytest.MonkeyPatch.context() as patched:
            write(audit, 3)
            _crash_at(patched, point)
            try:
                audit.flush()
            except CrashError:
                crashed = True
            else:
                crashed = False
        assert verify_log(folder, audit.vkey).problems == ()
        audit = open_audit()
        assert verify_log(folder, audit.vkey).problems == ()
        if not crashed:
            break
    assert point > 2
    assert audit.verify_database().problems == ()


def test_crash_before_the_first_checkpoint(open_audit: Open, folder: Path) -> None:
    """A home that died while it was made opens like any other."""
    for point in range(5):
        with pytest.MonkeyPatch.context() as patched, pytest.raises(CrashError):
            _crash_at(patched, point % 4)
            shutil.rmtree(folder, ignore_errors=True)
            open_audit()
    assert open_audit().flush().size == 1
    assert verify_log(folder, open_audit().vkey).ok


def _partials(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and path.parent.name.endswith(".p"))


@pytest.mark.parametrize("damage", ["remove", "empty", "cut"])
def test_power_cut(open_audit: Open, folder: Path, write: Write, damage: str) -> None:
    """Growing tiles are not synced; whatever a power cut leaves of them, the next process makes them whole."""
    audit = open_audit()
    write(audit, 300)
    audit.flush()
    for path in list(_partials(folder)):
        if damage == "remove":
            path.unlink()
        else:
            path.write_bytes(b"" if damage == "empty" else path.read_bytes()[:-1])
    assert verify_log(folder, audit.vkey).outcome in (Verdict.INCOMPLETE, Verdict.TAMPERED)
    open_audit()
    assert verify_log(folder, audit.vkey).problems == ()


def test_a_lost_folder_is_made_again(open_audit: Open, folder: Path, write: Write) -> None:
    """The database is the truth: an empty folder fills again, byte for byte."""
    audit = open_audit()
    write(audit, 520)
    audit.flush()
    kept = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    shutil.rmtree(folder)
    open_audit()
    again = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {name: data for name, data in kept.items() if name in again} == again
    assert verify_log(folder, audit.vkey).problems == ()


def test_full_tiles_are_never_written_again(open_audit: Open, folder: Path, write: Write) -> None:
    """A full tile keeps its file, its time of writing included, whatever happens later."""
    audit = open_audit()
    write(audit, 255)
    audit.flush()
    full = [folder / "tile/0/000", folder / "tile/entries/000"]
    before = [path.stat().st_mtime_ns for path in full]
    for _ in range(3):
        write(audit, 2)
        audit.flush()
        audit = open_audit()
    assert [path.stat().st_mtime_ns for path in full] == before


def test_old_partials_do_not_pile_up(open_audit: Open, folder: Path, write: Write) -> None:
    """One leaf per checkpoint keeps few entry bundles, all hash tiles, and nothing partial of a full tile."""
    audit = open_audit()
    for _ in range(40):
        write(audit, 1)
        audit.flush()
    assert len(list((folder / "tile/entries/000.p").iterdir())) == 16
    assert len(list((folder / "tile/0/000.p").iterdir())) == 41
    write(audit, 215)
    audit.flush()
    assert [path.relative_to(folder).as_posix() for path in _partials(folder)] == ["tile/1/000.p/1"]
