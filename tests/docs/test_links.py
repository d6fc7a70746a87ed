"""What the documentation points at is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_PATH = re.compile(r"`((?:src|tests|docs|tools|bench|changelog\.d)/[\w./-]+)`")
_MENTION = re.compile(r"docs/[\w./-]+?\.md(?:#[\w-]+)?")


def test_relative_links_resolve(pages):
    """A relative link leads to a file of the project, and what stands behind its ``#`` to a heading there."""
    by_path = {page.path: page for page in pages}
    broken = []
    for page in pages:
        for line, target in page.links:
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            path = (page.path.parent / name).resolve() if name else page.path
            if not path.exists() or not path.is_relative_to(ROOT):
                broken.append(f"{page.name}:{line}: {target}: no such file")
            elif anchor and (path not in by_path or anchor not in by_path[path].anchors):
                broken.append(f"{page.name}:{line}: {target}: no such heading")
    assert not broken, "\n".join(broken)


def test_paths_named_in_prose_exist(pages):
    """A path of ours that a page names in code marks exists."""
    broken = [
        f"{page.name}:{line}: {found}"
        for page in pages
        for line, text in page.prose
        for found in _PATH.findall(text)
        if not (ROOT / found).exists()
    ]
    assert not broken, "\n".join(broken)


def test_pages_named_by_the_program_exist(pages):
    """A page that an error, a help text or a module names exists, and so does its heading."""
    anchors = {page.name: page.anchors for page in pages}
    broken = []
    for path in (ROOT / "src").rglob("*"):
        if path.suffix not in {".py", ".rego", ".yaml"}:
            continue
        for found in _MENTION.findall(path.read_text(encoding="utf-8")):
            name, _, anchor = found.partition("#")
            if name not in anchors or (anchor and anchor not in anchors[name]):
                broken.append(f"{path.relative_to(ROOT)}: {found}")
    assert not broken, "\n".join(broken)


def test_every_page_can_be_reached(pages):
    """From the README, by links alone, a reader comes to every page."""
    by_path = {page.path: page for page in pages}
    reached, left = set(), [ROOT / "README.md"]
    while left:
        path = left.pop()
        if path in reached or path not in by_path:
            continue
        reached.add(path)
        targets = [target.partition("#")[0] for _, target in by_path[path].links if not re.match(r"[a-z]+:", target)]
        left += [(path.parent / name).resolve() for name in targets if name]
    lost = sorted(page.name for page in pages if page.path not in reached and page.path.parent.name != "changelog.d")
    assert not lost, "no link leads to " + ", ".join(lost)
