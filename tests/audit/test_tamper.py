"""Whatever is changed of log, database, blobs and bundles is found: the matrix that ``bench/tamper.py`` measures."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import tamper
import tamper_kinds
from tamper_ground import Ground

SEED = 7


def assert_all_found(tally: tamper.Tally, mutations: int) -> None:
    """Each mutation was seen, and nothing sound was called wrong."""
    assert (tally.mutations, tally.detected, tally.missed.total(), tally.alarms) == (mutations, mutations, 0, 0), str(
        tally
    )
    assert tally.kinds >= 120
    assert all("not seen" in kind for kind in tally.apart), "something that was thought invisible is seen: count it in"


@pytest.mark.slow
def test_every_kind_of_mutation_is_found(tmp_path: Path) -> None:
    """One or two of each kind, with other draws than the bench's."""
    assert_all_found(tamper.mutate(tmp_path, 200, SEED), 200)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_mutation_of_a_thousand_is_missed(tmp_path: Path) -> None:
    """A thousand mutations, and a million clean entries."""
    tally = tamper.run(tmp_path)
    assert_all_found(tally, tamper.MUTATIONS)
    assert tally.clean == tamper.CLEAN


def test_clean_entries_raise_no_alarm(tmp_path: Path) -> None:
    """Several tile levels and a partial edge, sound, have no problem."""
    assert tamper.clean(tmp_path, 3_000) == 0


@pytest.mark.slow
def test_the_matrix_sees_a_miss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a check that finds nothing every mutation of rows is counted as missed, by its kind."""
    monkeypatch.setattr(Ground, "rows_wrong", lambda _ground, _conn: False)
    kinds = {name: make for name, make in tamper.table().items() if name.startswith("database, approval")}
    monkeypatch.setattr(tamper, "table", lambda: kinds)
    tally = tamper.mutate(tmp_path, 6)
    assert (tally.detected, tally.missed.total()) == (0, 6)
    assert "database, approval: flip" in str(tally)


@pytest.mark.parametrize("how", tamper_kinds.BYTES)
def test_a_mutation_changes_bytes(how: str) -> None:
    """Each way of changing bytes does change some, and the same draw gives the same."""
    data = bytes(range(64))
    made = [tamper_kinds.change(data, how, random.Random(seed)) for seed in range(20)]
    assert made == [tamper_kinds.change(data, how, random.Random(seed)) for seed in range(20)]
    assert sum(each != data for each in made) > 15
