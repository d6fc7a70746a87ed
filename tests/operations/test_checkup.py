from __future__ import annotations

import os

import pytest

from mandamus.engine.lock import HomeLock
from mandamus.operations import checkup
from mandamus.operations.checkup import Level, engine_holder, look, size


@pytest.fixture
def home(place):
    """The folder of a home that nobody has open."""
    place.close()
    return place.home


def test_a_sound_home_has_nothing_to_tell(home, wrong):
    """Everything that can be seen from outside is looked at, and every finding has a check and a message."""
    findings = look(home)
    assert wrong(findings) == []
    assert [each.check for each in findings] == ["python", "sqlite", "home", "keys", "database file", "disk"]
    assert all(each.message for each in findings)


def test_a_home_that_is_not_there_is_one_finding(tmp_path, wrong):
    """Nothing is made by looking."""
    findings = look(tmp_path / "none")
    assert wrong(findings) == [("home", f"there is no home in {tmp_path / 'none'}")]
    assert findings[-1].fatal
    assert not (tmp_path / "none").exists()


def _chmod(mode):
    return lambda path: path.chmod(mode)


FAULTS = {
    "a key others can read": ("keys/log", _chmod(0o640), "keys", "can be read by others (mode 640)", True),
    "a short key": ("keys/log", lambda path: path.write_bytes(b"x"), "keys", "is no file of 32 bytes", True),
    "a key that is a link": (
        "keys/log", lambda path: (path.unlink(), path.symlink_to("/dev/zero")), "keys", "is no file of 32 bytes", True,
    ),
    "keys others can list": ("keys", _chmod(0o750), "keys", "can be entered by others", False),
    "no keys": ("keys", lambda path: path.rename(path.with_name("away")), "keys", "is not there", True),
    "an open home": (".", _chmod(0o755), "home", "can be entered by others (mode 755)", True),
    "no database": ("mandamus.db", lambda path: path.unlink(), "database file", "is not there", True),
    "no database any more": (
        "mandamus.db", lambda path: path.write_bytes(b"text" * 99), "database file", "is no SQLite database", True,
    ),
    "a database others can write": ("mandamus.db", _chmod(0o622), "database file", "can be written by others", False),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(home, fault):
    """Each fault is named with its place and a way out, and whether the home may still be opened."""
    name, plant, check, message, fatal = FAULTS[fault]
    plant(home / name)
    (found,) = [each for each in look(home) if each.level is Level.FAILED]
    assert found.check == check
    assert message in found.message
    assert str(home / name).rstrip("/.") in found.message
    assert found.remedy
    assert found.fatal is fatal


def test_what_a_crash_left_beside_a_key_is_no_key(home, wrong):
    """A process that died while it made a key leaves a half-written file, from which no key is read."""
    (home / "keys" / "log.0123456789abcdef").write_bytes(b"")
    assert wrong(look(home)) == []


def test_a_home_on_postgres_has_no_file(home, wrong):
    """Where the database is a server, no file is missed."""
    (home / "mandamus.db").unlink()
    assert wrong(look(home, embedded=False)) == []


def test_a_full_disk_is_told_before_it_stops_everything(home, wrong, monkeypatch):
    """Little space is a warning, none is a failure."""
    monkeypatch.setattr(checkup, "FREE_BYTES_LOW", 2**62)
    (low,) = [each for each in look(home) if each.level is not Level.OK]
    assert (low.check, low.level) == ("disk", Level.WARNING)
    monkeypatch.setattr(checkup, "FREE_BYTES_MIN", 2**62)
    (none,) = [each for each in look(home) if each.level is not Level.OK]
    assert (none.check, none.level) == ("disk", Level.FAILED)


def test_an_old_sqlite_is_told_where_it_matters(home, wrong, monkeypatch):
    """SQLite below 3.42 is a fault from Python 3.12 on, and none before."""
    monkeypatch.setattr(checkup.sqlite3, "sqlite_version_info", (3, 40, 1))
    monkeypatch.setattr(checkup.sys, "version_info", (3, 12, 0, "final", 0))
    assert [check for check, _ in wrong(look(home))] == ["sqlite"]
    monkeypatch.setattr(checkup.sys, "version_info", (3, 11, 9, "final", 0))
    assert wrong(look(home)) == []


def test_who_the_engine_is(home):
    """The process that holds the engine lock is named; asking does not take the lock from anybody."""
    assert engine_holder(home) is None
    lock = HomeLock(home / "engine.lock")
    assert lock.acquire()
    assert engine_holder(home) == str(os.getpid())
    lock.release()
    assert engine_holder(home) is None
    assert lock.acquire()
    lock.release()


def test_sizes_are_for_people():
    """Bytes are shown with the unit in which they are short."""
    assert [size(count) for count in (0, 1023, 1024, 5_000_000, 3 * 1024**3)] == [
        "0 bytes", "1023 bytes", "1.0 KiB", "4.8 MiB", "3.0 GiB",
    ]  # fmt: skip
