"""What people see of retention, holds and pruning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

PLATFORM = """
retention:
  default: {at_most: 3y}
  security: {at_least: 7y, kinds: [approval.recorded], environments: [prod]}
"""


@pytest.fixture
def declared(shell: Any, tmp_path: Path) -> Any:
    """A home with retention classes."""
    (tmp_path / "retention.yaml").write_text(PLATFORM)
    assert shell("env", "apply", str(tmp_path / "retention.yaml")).code == 0
    return shell


def test_classes_are_shown(declared: Any) -> None:
    """With what they cover, for people and for scripts."""
    told = declared("audit", "retention")
    assert told.code == 0
    assert "what no other class covers" in told.out
    assert "kinds approval.recorded; environments prod" in told.out
    found = {each["name"]: each for each in declared("audit", "retention", "--output", "json").json}
    assert found["security"]["at_least_s"] == 7 * 366 * 86_400


def test_a_young_log_has_nothing_to_prune(declared: Any) -> None:
    """A dry run and a real one say so; the real one is an event."""
    told = declared("audit", "prune", "--before", "2027-01-01", "--dry-run")
    assert (told.code, told.out) == (0, "0 entries would be pruned; the log keeps entries from 0 on\n")
    made = declared("audit", "prune", "--reason", "yearly", "--output", "json").json
    assert (made["pruned"], made["min_index"], made["dry_run"]) == (0, 0, False)
    found = declared("audit", "search", "--kind", "audit.pruned", "--output", "json").json["events"]
    assert [each["leaf"]["why"] for each in found] == ["yearly"]


def test_a_hold_covers_one_thing(declared: Any) -> None:
    """A project too, and never two things at once."""
    assert declared("audit", "hold", "add", "case", "--project", "pay", "--reason", "x").code == 0
    assert "project pay" in declared("audit", "hold", "list").out
    assert declared("audit", "hold", "add", "two", "--project", "pay", "--run", "r", "--reason", "x").code == 2
