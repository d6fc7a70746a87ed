"""Nothing that is broken makes an allow: the matrix of faults by inputs that the bench measures, and its own soundness.

``bench/faults.py`` has the faults; every cell stands beside the same input without the fault.
"""

from __future__ import annotations

from contextlib import contextmanager

import fault_table
import faults
import pytest
from fault_ground import Ground, cases
from fault_kinds import Kind

from mandamus.policy.model import Outcome

GROUPS = {
    "kill",
    "out of memory",
    "timeout",
    "garbage",
    "truncated",
    "wrong version",
    "undefined",
    "non-boolean",
    "huge",
    "deep",
}


def assert_sound(tally):
    assert (tally.allows, tally.untold, tally.right) == (0, 0, tally.twins), str(tally)
    assert tally.twins == tally.cells
    assert tally.allowed > tally.twins / 2


def test_no_quick_fault_allows(tmp_path):
    """Faults of replies, sets and inputs: all deny and say so, and every input without the fault is answered right."""
    tally = faults.matrix(tmp_path, 64, fault_table.QUICK)
    assert_sound(tally)
    assert tally.cells == 64 * len(fault_table.QUICK)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_fault_allows(tmp_path, record_property):
    """At least 10,000 cells, with workers that are really killed, run out of memory, or are late."""
    tally = faults.matrix(tmp_path)
    record_property("says", str(tally))
    assert_sound(tally)
    assert tally.cells >= 10_000


def test_every_promised_kind_of_fault_is_there():
    """Ten groups, each met by at least 400 inputs in all, and no fault twice."""
    names = [kind.name for kind in fault_table.KINDS]
    assert len(names) == len(set(names)) >= 25
    for group in GROUPS:
        met = sum(len(range(0, faults.INPUTS, kind.every)) for kind in fault_table.KINDS if kind.group == group)
        assert met >= (400 if group != "out of memory" else 200), group


def test_the_matrix_sees_an_allow(tmp_path):
    """A fault that harms nothing is counted as an allow, a silent deny as untold, and a wrong twin as wrong."""

    @contextmanager
    def harmless(ground, _draw):
        yield ground.trial()

    @contextmanager
    def wrong_twin(ground, _draw):
        yield ground.trial(sets=[], sets_twin=[])

    ground = Ground(tmp_path)
    made = cases(40)
    try:
        calm = faults.row(ground, Kind("kill", "harmless", harmless), made)
        wrong = faults.row(ground, Kind("kill", "wrong", wrong_twin), made)
    finally:
        ground.close()
    objections = sum(case.expected is Outcome.DENY for case in made)
    assert 0 < objections < len(made)
    assert (calm.allows, calm.untold, calm.right) == (40 - objections, objections, 40)
    assert (wrong.allows, wrong.right) == (0, 0)
    assert "harmless x input" in str(calm)


def test_inputs_are_drawn_alike():
    """The same seed gives the same inputs; most are to be allowed, and every answer is among the expected ones."""
    assert cases(50) == cases(50)
    assert cases(50) != cases(50, seed=2)
    expected = [case.expected for case in cases(faults.INPUTS)]
    assert set(expected) == set(Outcome)
    assert expected.count(Outcome.ALLOW) > len(expected) / 2
