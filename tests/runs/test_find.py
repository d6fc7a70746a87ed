"""Runs are found by time and text, on both databases, a bounded look at a time."""

from __future__ import annotations

import dataclasses

import pytest

from mandamus.kernel.access import Area
from mandamus.kernel.ids import Ids
from mandamus.runs import store
from mandamus.runs.model import Run, Wanted


@pytest.fixture
def made(database, clock, entropy, some_run) -> list[Run]:
    """Twelve runs, a minute apart, oldest first."""
    ids, runs = Ids(clock, entropy), []
    for number in range(12):
        clock.advance(60)
        wanted = {"reason": f"Raise quota {number} by 10%", "ticket": f"OPS-{number}", "requested_us": clock.now_us()}
        runs.append(dataclasses.replace(some_run, id=ids.run(), environment=f"e{number % 2}", **wanted))
    with database.begin("test") as tx:
        for run in runs:
            store.insert_run(tx.conn, run)
    return runs


def find(database, wanted: Wanted, limit: int = 50, **options):
    """Every page of what is wanted, each as the numbers of its runs."""
    pages, before = [], None
    while True:
        with database.read() as conn:
            found = store.find_runs(conn, wanted, before=before, limit=limit, **options)
        pages.append([int(run.ticket.removeprefix("OPS-")) for run in found.runs])
        before = found.before
        if before is None:
            return pages


def test_a_text_is_found_wherever_it_stands(database, made):
    """In reason, ticket and id, in any case of letters, and what a pattern would read otherwise is read as it is."""
    for text, wanted in (
        ("QUOTA 7", [7]),
        ("ops-3", [3]),
        (made[5].id, [5]),
        ("10%", list(range(11, -1, -1))),
        ("1_%", []),
        ("!", []),
        ("deploy", list(range(11, -1, -1))),
    ):
        assert find(database, Wanted(text=text)) == [wanted], text
    assert find(database, Wanted(text="quota", environment="e1")) == [[11, 9, 7, 5, 3, 1]]


def test_a_search_goes_on_where_it_stopped(database, made, monkeypatch):
    """So many runs are looked at for a page: it may hold none and still say where to look on; nothing is left out."""
    monkeypatch.setattr(store, "SCANNED_MAX", 5)
    assert find(database, Wanted(text="quota 1 ")) == [[], [], [1]]
    assert [each for page in find(database, Wanted(text="quota"), limit=2) for each in page] == list(range(11, -1, -1))
    assert find(database, Wanted(text="quota"), limit=2)[0] == [11, 10]


def test_moments_bound_a_list(database, made):
    """From the first moment on, and before the second."""
    wanted = Wanted(since_us=made[4].requested_us - 1000, until_us=made[7].requested_us - 1000)
    assert find(database, wanted) == [[6, 5, 4]]
    assert find(database, Wanted(until_us=-5)) == [[]]
    assert find(database, Wanted(text="quota", since_us=made[10].requested_us - 1000)) == [[11, 10]]


def test_a_search_stays_in_its_places(database, made):
    """Whoever is held to an environment finds nothing of another, whatever they look for."""
    areas = (Area(environments=frozenset({"e0"})),)
    assert find(database, Wanted(text="quota"), areas=areas) == [[10, 8, 6, 4, 2, 0]]
    assert find(database, Wanted(text="OPS-1"), areas=areas) == [[10]]
