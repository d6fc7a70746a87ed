"""Collects the fragments of changelog.d into CHANGELOG.md under a version, and deletes them.

Usage: python tools/changelog.py VERSION
"""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
KINDS = ("added", "changed", "fixed", "security", "removed")
"""In the order in which a release tells them; a fragment is ``NAME.KIND.md``."""


def fragments(folder: Path) -> dict[str, list[Path]]:
    """The fragments by kind, each by name; exits and names a file that is none."""
    found: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    for path in sorted(folder.glob("*.md")):
        if path.name == "README.md":
            continue
        kind = path.name.split(".")[-2]
        if path.name.count(".") != 2 or kind not in found:
            sys.exit(f"{path.name} is not NAME.KIND.md with a kind of {', '.join(KINDS)}")
        found[kind].append(path)
    return found


def section(version: str, day: date, found: dict[str, list[Path]]) -> str:
    """One release as Markdown."""
    parts = [f"## {version} ({day.isoformat()})"]
    for kind, paths in found.items():
        if paths:
            items = [" ".join(path.read_text(encoding="utf-8").split()) for path in paths]
            parts.append(f"### {kind.capitalize()}\n\n" + "\n".join(f"* {item}" for item in items))
    return "\n\n".join(parts) + "\n"


def release(root: Path, version: str, day: date) -> None:
    """Write the section above the older ones and delete the fragments."""
    found = fragments(root / "changelog.d")
    if not any(found.values()):
        sys.exit("changelog.d holds no fragment: there is nothing to release")
    page = root / "CHANGELOG.md"
    head, mark, older = page.read_text(encoding="utf-8").partition("\n## ")
    page.write_text(f"{head.rstrip()}\n\n{section(version, day, found)}{mark}{older}", encoding="utf-8")
    for path in (each for paths in found.values() for each in paths):
        path.unlink()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    release(ROOT, sys.argv[1], datetime.now(tz=UTC).date())
