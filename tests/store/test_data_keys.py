"""Data keys: what one person's key sealed, and what is left of it once the key is destroyed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mandamus.kernel.errors import Code, MandamusError
from mandamus.store import data_keys as module
from mandamus.store.data_keys import DataKeys, Sealed, data_keys


@pytest.fixture
def people(home: Path, entropy) -> DataKeys:
    return data_keys(home, entropy)


def test_what_is_sealed_opens_for_the_same_person_and_the_same_thing(people: DataKeys) -> None:
    """Only with the person's own key, and only about what it was sealed for."""
    sealed = people.seal("ada", b"leaf 1", b"Ada Lovelace")
    assert b"Lovelace" not in sealed.data
    assert people.open("ada", b"leaf 1", sealed) == b"Ada Lovelace"
    people.seal("bob", b"leaf 1", b"")
    assert people.open("bob", b"leaf 1", sealed) is None
    for about, data in ((b"leaf 2", sealed.data), (b"leaf 1", sealed.data[:-1] + b"x"), (b"leaf 1", b"")):
        with pytest.raises(MandamusError) as caught:
            people.open("ada", about, Sealed(sealed.key, data))
        assert caught.value.code is Code.AUDIT_TAMPERED


def test_two_processes_have_one_key(people: DataKeys, home: Path, entropy) -> None:
    """Whoever comes second uses the key that is there, also when both begin at once."""
    others = [data_keys(home, entropy) for _ in range(8)]
    made: list[Sealed] = []
    begin = threading.Barrier(len(others))

    def seal(keys: DataKeys) -> None:
        begin.wait()
        made.append(keys.seal("ada", b"", b"value"))

    threads = [threading.Thread(target=seal, args=(each,)) for each in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [people.open("ada", b"", each) for each in made] == [b"value"] * len(others)


def test_a_destroyed_key_opens_nothing_anywhere(people: DataKeys, home: Path, entropy) -> None:
    """Not in this process nor in one that used it before; what is sealed later has another key."""
    other = data_keys(home, entropy)
    sealed = other.seal("ada", b"", b"value")
    assert people.open("ada", b"", sealed) == b"value"
    assert people.destroy("ada")
    assert not people.destroy("ada")
    assert people.open("ada", b"", sealed) is None
    assert other.open("ada", b"", sealed) is None
    later = other.seal("ada", b"", b"later")
    assert later.key != sealed.key
    assert people.open("ada", b"", later) == b"later"
    assert people.open("ada", b"", sealed) is None


def test_keys_are_wrapped_and_only_the_owners(people: DataKeys, home: Path, entropy) -> None:
    """A file is readable by its owner alone, and does not open with another home's key."""
    people.seal("ada", b"", b"value")
    (path,) = (home / "people").iterdir()
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    (home / "keys" / module.WRAPPING).write_bytes(bytes(32))
    with pytest.raises(MandamusError, match="does not open with this home's key private") as caught:
        data_keys(home, entropy).seal("ada", b"", b"value")
    assert caught.value.code is Code.HOME_INVALID


def test_a_process_keeps_a_bounded_number_of_keys(people: DataKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those it does not keep are read again from their files."""
    monkeypatch.setattr(module, "HELD_MAX", 3)
    sealed = {name: people.seal(name, b"", name.encode()) for name in "abcdefgh"}
    assert len(people._held) == 3
    assert {name: people.open(name, b"", each) for name, each in sealed.items()} == {n: n.encode() for n in sealed}
