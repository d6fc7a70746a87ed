"""The changelog is put together from fragments, and nothing a user should know is lost on the way."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DAY = date(2026, 11, 25)


@pytest.fixture
def changelog(load_tool):
    return load_tool("changelog")


@pytest.fixture
def project(tmp_path):
    (tmp_path / "changelog.d").mkdir()
    (tmp_path / "changelog.d" / "README.md").write_text("# Fragments\n")
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\nNewest first.\n\n## 0.1.0 (2026-01-01)\n\n### Added\n\n* Old.\n"
    )
    return tmp_path


def test_the_fragments_that_are_there_have_names_of_fragments(changelog):
    """Every file of changelog.d is a fragment of a known kind, so that no release stumbles over it."""
    found = changelog.fragments(ROOT / "changelog.d")
    assert all(path.read_text().strip() for paths in found.values() for path in paths)


def test_a_release_collects_fragments_above_the_older_ones(changelog, project):
    """A release tells its fragments by kind, keeps what older releases told, and deletes the fragments."""
    (project / "changelog.d" / "b.fixed.md").write_text("Nothing\nrepeats.\n")
    (project / "changelog.d" / "a.added.md").write_text("A door.\n")
    changelog.release(project, "0.2.0", DAY)
    assert (project / "CHANGELOG.md").read_text() == (
        "# Changelog\n\nNewest first.\n\n"
        "## 0.2.0 (2026-11-25)\n\n### Added\n\n* A door.\n\n### Fixed\n\n* Nothing repeats.\n\n"
        "## 0.1.0 (2026-01-01)\n\n### Added\n\n* Old.\n"
    )
    assert [path.name for path in (project / "changelog.d").iterdir()] == ["README.md"]


def test_a_release_refuses_what_is_no_fragment(changelog, project):
    """A file with an unknown kind stops the release before anything is written."""
    (project / "changelog.d" / "a.improved.md").write_text("Better.\n")
    before = (project / "CHANGELOG.md").read_text()
    with pytest.raises(SystemExit, match=r"a\.improved\.md"):
        changelog.release(project, "0.2.0", DAY)
    assert (project / "CHANGELOG.md").read_text() == before


def test_a_release_without_fragments_is_refused(changelog, project):
    """An empty release is a mistake."""
    with pytest.raises(SystemExit, match="no fragment"):
        changelog.release(project, "0.2.0", DAY)
