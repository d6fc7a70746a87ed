"""The way on when a log cannot go on: a new one that names the old one's end, on a home that does not open."""

from __future__ import annotations

import base64
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from mandamus.audit import epoch as epochs
from mandamus.audit.kinds import Kind
from mandamus.audit.leaf import decode
from mandamus.audit.model import Event, Resource
from mandamus.audit.note import read_checkpoint
from mandamus.audit.trust import parse_trust
from mandamus.audit.verify import verify_log
from mandamus.bootstrap import epoch as bootstrap
from mandamus.bootstrap.epoch import new_epoch
from mandamus.bootstrap.house import House, open_house
from mandamus.kernel import canonical
from mandamus.kernel.errors import Code, MandamusError
from mandamus.settings import Settings


class CrashError(BaseException):
    """The process dies here; no handler of ours may catch it."""


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest) -> Settings:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    return Settings(origin="log.example.com", database_url=url)


@pytest.fixture
def files() -> Settings:
    return Settings(origin="log.example.com")


def _open(home: Path, settings: Settings) -> House:
    return open_house(settings, os.environ, home, None)


def _work(house: House, count: int = 3) -> None:
    for _ in range(count):
        house.audit.verify(house.who)
    house.audit.flush()


def _begin(home: Path, settings: Settings, reason: str = "why not", *, distrust: bool = False, **more: Any) -> Any:
    return new_epoch(settings, os.environ, home, reason, distrust=distrust, **more)


def _forget_key(home: Path) -> None:
    """The key is lost: its file is gone, and a start makes no use of another."""
    (home / "keys" / "log").unlink()


def test_after_a_lost_key(home: Path, settings: Settings) -> None:
    """The home opens again; leaf 0 names the old log's end and the reason; all events stand in the new log."""
    house = _open(home, settings)
    _work(house)
    house.close()
    old = (home / "log" / "checkpoint").read_bytes()
    old_key = (home / "log" / "log.vkey").read_text().strip()
    end = read_checkpoint(old, parse_trust(old_key))
    _forget_key(home)
    with pytest.raises(MandamusError) as caught:
        _open(home, settings)
    assert caught.value.code is Code.AUDIT_UNTRUSTED
    assert "new-epoch" in caught.value.remedy
    done = _begin(home, settings, "the disk with the key burnt")
    assert (done["origin"], done["ended"]["size"]) == ("log.example.com/2", end.size)
    house = _open(home, settings)
    opened = house.audit.opened()
    leaf = decode(opened.bytes)
    assert (opened.index, leaf["why"], leaf["who"]["subject"]) == (0, "the disk with the key burnt", house.who.user)
    assert leaf["data"]["continues"] == {
        "origin": "log.example.com",
        "size": end.size,
        "root": base64.b64encode(end.root).decode(),
        "checkpoint": str(canonical.digest(old)),
        "trust": [f"{old_key} until={end.size}"],
    }
    assert house.audit.stream("log/log.example.com")[0].seq == 0
    assert house.audit.verify(house.who).problems == ()
    _work(house)
    house.close()
    assert verify_log(home / "log", "\n".join(done["trust"])).problems == ()


def test_the_old_log_is_kept_and_verifies(home: Path, settings: Settings) -> None:
    """Byte for byte in log/epochs/1, with no permission to write, verified by its own key and by the new trust root."""
    house = _open(home, settings)
    _work(house)
    house.close()
    before = {
        path.relative_to(home / "log"): path.read_bytes()
        for path in (home / "log").rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
    done = _begin(home, settings)
    kept = home / "log" / "epochs" / "1"
    assert Path(done["ended"]["folder"]) == kept
    assert {name: (kept / name).read_bytes() for name in before} == before
    assert not any(path.stat().st_mode & 0o222 for path in [kept, *kept.rglob("*")])
    assert verify_log(kept, (kept / "log.vkey").read_text()).problems == ()
    assert verify_log(kept, "\n".join(done["trust"])).problems == ()


def test_after_an_older_database(home: Path, files: Settings, tmp_path: Path) -> None:
    """A database behind the published log is refused, then goes on in a new log that says how far the old one was."""
    house = _open(home, files)
    house.close()
    shutil.copy(home / "mandamus.db", tmp_path / "old.db")
    house = _open(home, files)
    _work(house)
    house.close()
    end = read_checkpoint((home / "log" / "checkpoint").read_bytes(), parse_trust((home / "log/log.vkey").read_text()))
    for name in ("mandamus.db-wal", "mandamus.db-shm"):
        (home / name).unlink(missing_ok=True)
    shutil.copy(tmp_path / "old.db", home / "mandamus.db")
    with pytest.raises(MandamusError) as caught:
        _open(home, files)
    assert caught.value.code is Code.AUDIT_TAMPERED
    assert "new-epoch" in caught.value.remedy
    done = _begin(home, files, "restored from Sunday")
    assert done["ended"]["size"] == end.size
    house = _open(home, files)
    assert house.audit.verify(house.who).problems == ()
    house.close()


def test_a_compromised_key_is_left_out(home: Path, files: Settings) -> None:
    """With --distrust-old-keys nobody who takes the new trust root believes the old key for anything."""
    _open(home, files).close()
    old = (home / "log" / "log.vkey").read_text().strip()
    done = _begin(home, files, "the key was seen elsewhere", distrust=True)
    assert len(done["trust"]) == 1
    assert old.split("+", maxsplit=2)[2] not in done["trust"][0]
    assert verify_log(home / "log" / "epochs" / "1", done["trust"][0]).outcome == "untrusted"


def test_epochs_follow_each_other(home: Path, settings: Settings) -> None:
    """A third log keeps both folders, its trust root has all three keys, and the key rotates in it as in any."""
    house = _open(home, settings)
    house.log_keys.rotate(house.who, "yearly")
    house.close()
    _begin(home, settings)
    done = _begin(home, settings)
    assert done["origin"] == "log.example.com/3"
    house = _open(home, settings)
    rotated = house.log_keys.rotate(house.who, "yearly")
    house.log_keys.finish(house.who, "done")
    assert house.audit.verify(house.who).problems == ()
    house.close()
    trust = (home / "log" / "log.vkey").read_text()
    assert len(rotated.trust.split("\n")) == 5
    held = sorted(path.name for path in (home / "keys").iterdir() if path.name.startswith("log"))
    assert len(held) == 2, "the keys of ended logs are candidates for nothing"
    for folder in (home / "log", home / "log/epochs/1", home / "log/epochs/2"):
        assert verify_log(folder, trust).problems == ()


@pytest.mark.parametrize("point", range(6))
def test_interrupted_and_called_again(home: Path, files: Settings, point: int, monkeypatch) -> None:
    """Wherever it dies, the same command sees it through, and one log follows, not two."""
    house = _open(home, files)
    _work(house)
    house.close()

    def die(*_args: object, **_kwargs: object) -> None:
        raise CrashError

    def hook(moment: str, label: str) -> None:
        if point < 2 and (moment, label) == (("before", "after")[point], "audit.new_epoch"):
            raise CrashError

    with monkeypatch.context() as patched, pytest.raises(CrashError):
        if point == 2:
            patched.setattr(epochs, "set_aside", die)
        elif point == 3:
            patched.setattr(epochs, "_move", die)
        elif point == 4:
            patched.setattr(bootstrap, "name_origin", die)
        elif point == 5:
            patched.setattr(epochs, "sync_folder", die)
        _begin(home, files, hook=hook)
    done = _begin(home, files)
    assert done["origin"] == "log.example.com/2"
    assert sorted(path.name for path in (home / "log" / "epochs").iterdir()) == ["1"]
    house = _open(home, files)
    assert house.audit.verify(house.who).problems == ()
    house.close()


def test_an_older_process_signs_nothing_more(home: Path, settings: Settings) -> None:
    """Whoever still has the home open finds out at its next integration, and shows nobody a checkpoint."""
    elder = _open(home, settings)
    _work(elder)
    _begin(home, settings)
    shown = (home / "log" / "checkpoint").read_bytes()
    with pytest.raises(MandamusError) as caught:
        elder.audit.verify(elder.who)
    assert caught.value.code is Code.AUDIT_UNTRUSTED
    assert (home / "log" / "checkpoint").read_bytes() == shown
    with pytest.raises(MandamusError):
        elder.close()
    house = _open(home, settings)
    assert house.audit.verify(house.who).problems == ()
    house.close()


def test_without_anything_published(home: Path, files: Settings) -> None:
    """When even the published log is gone the new one says that nothing is known of the old one's end."""
    _open(home, files).close()
    (home / "log" / "checkpoint").unlink()
    done = _begin(home, files)
    assert done["ended"]["size"] is None
    house = _open(home, files)
    told = decode(house.audit.opened().bytes)["data"]["continues"]
    assert (told["size"], told["checkpoint"], told["trust"]) == (None, None, [])
    house.close()


def test_only_on_a_home_of_ones_own(tmp_path: Path, files: Settings) -> None:
    """There must be a home; nothing is made where there is none."""
    with pytest.raises(MandamusError) as caught:
        _begin(tmp_path / "nothing", files)
    assert caught.value.code is Code.NOT_FOUND
    assert not (tmp_path / "nothing").exists()


def _fill(house: House, count: int) -> None:
    with house.rooms.db.begin("fill") as tx:
        for number in range(count):
            step = Event(Kind.STEP_PLANNED, house.who, Resource("step", "one"), run="run_1", data={"attempt": number})
            house.audit.record(tx, step)
    house.audit.flush()


@pytest.mark.slow
def test_after_a_pruning(home: Path, settings: Settings) -> None:
    """What an old log pruned is in no new one. Both verify, the old one says what is gone, the new one prunes on."""
    house = _open(home, settings)
    _fill(house, 900)
    assert house.pruning.prune(house.who, house.rooms.clock.now_us(), "a year").entries == 512
    house.close()
    done = _begin(home, settings)
    trust = "\n".join(done["trust"])
    old = verify_log(home / "log" / "epochs" / "1", trust)
    assert (old.problems, old.pruned) == ((), 512)
    house = _open(home, settings)
    assert house.audit.verify(house.who).problems == ()
    _fill(house, 300)
    made = house.pruning.prune(house.who, house.rooms.clock.now_us(), "another year")
    assert (made.plan.first, made.entries) == (0, 256)
    assert house.audit.verify(house.who).problems == ()
    _fill(house, 3)
    house.close()
    new = verify_log(home / "log", trust)
    assert (new.problems, new.pruned) == ((), 256)
    house = _open(home, settings)
    assert house.audit.verify(house.who).problems == ()
    house.close()
