"""What is vendored is what was published, and is named with its licence."""

from __future__ import annotations

import hashlib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def parts() -> dict[str, str]:
    """The hash of each vendored file, by its path."""
    rows = [line.split("|") for line in (ROOT / "THIRD_PARTY.md").read_text().splitlines() if line.startswith("| ")][2:]
    return {row[4].strip(): row[5].strip() for row in rows}


def test_each_file_has_the_hash_it_was_taken_with():
    """Nobody changed it since."""
    found = parts()
    assert found
    for path, digest in found.items():
        assert hashlib.sha256((ROOT / path).read_bytes()).hexdigest() == digest, path


def test_each_vendored_script_is_named():
    """Whatever is minified is not ours, and stands in the list."""
    scripts = [*(ROOT / "src").rglob("*.js")]
    long = {str(each.relative_to(ROOT)) for each in scripts if max(map(len, each.read_text().splitlines())) > 500}
    assert long == set(parts())
