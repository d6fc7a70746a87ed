"""What the project says: every test states its rule, and nothing speaks of where or how it was written."""

from __future__ import annotations

import ast
import re

import pytest

PRIVATE = re.compile(
    r"(?<![\w}])/work/|/tmp/team\b|\bDESIGN\b|\bSTYLE\.md"
    r"|\bissues? #?\d|\b(?:PR|fix(?:es|ed)?|clos(?:es|ed)|refs?|see) #\d"
)
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".rego", ".tf", ".sh", ".html", ".css", ".js", ".txt", ".cfg", ""}
ITSELF = "tests/structure/test_words.py"


def test_every_test_states_its_rule(tests):
    """The docstring of a test is the rule that it holds; of a failure it is the first thing read."""
    found = [
        source.at(node, f"{node.name} says nothing")
        for source in tests
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        if not ast.get_docstring(node)
    ]
    assert not found, "\n".join(found)


def lines(paths, root):
    """Every line of every text file of the project: ``file:line``, text."""
    for path in paths:
        name = path.relative_to(root).as_posix()
        if path.suffix not in TEXT or name in {ITSELF, "uv.lock"}:
            continue
        for number, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            yield f"{name}:{number}", text


def test_the_project_speaks_of_itself_alone(tracked, root):
    """No path of the machine it was written on, no number of a ticket, no paper a reader cannot open."""
    found = [f"{at}: {text.strip()}" for at, text in lines(tracked, root) if PRIVATE.search(text)]
    assert not found, "\n".join(found)


def test_nothing_is_left_for_later(tracked, root):
    """A note to finish something is a promise nobody reads: it is done, or it is not there."""
    found = [f"{at}: {text.strip()}" for at, text in lines(tracked, root) if UNFINISHED.search(text)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("text", ["see /work/main/x", "issue 2", "issues #12", "fixes #7", "DESIGN section 8"])
def test_private_words_are_seen(text):
    """Each of these would be found."""
    assert PRIVATE.search(text)


@pytest.mark.parametrize(
    "text", ["color: #123abc", "&#123;", "a#1", "# 1. Title", "the issue text", "HOME/work/x", "#fff"]
)
def test_other_words_are_let_be(text):
    """What only looks alike is no finding."""
    assert not PRIVATE.search(text)
