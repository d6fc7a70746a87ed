from __future__ import annotations

import ast
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Source:
    """One Python file of the project, parsed once."""

    path: Path
    root: Path = ROOT

    @property
    def name(self) -> str:
        """The path from the project's root, as messages show it."""
        return self.path.relative_to(self.root).as_posix()

    @cached_property
    def text(self) -> str:
        """The file as it stands."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text, filename=self.name)

    def at(self, node: ast.AST, what: str) -> str:
        """``file:line: what``."""
        return f"{self.name}:{getattr(node, 'lineno', 1)}: {what}"


def _sources(folder: str) -> list[Source]:
    return [Source(path) for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def src() -> list[Source]:
    return _sources("src")


@pytest.fixture(scope="session")
def tests() -> list[Source]:
    return _sources("tests")


@pytest.fixture(scope="session")
def scripts() -> list[Source]:
    return [*_sources("tools"), *_sources("bench")]


@pytest.fixture(scope="session")
def tracked() -> list[Path]:
    """Every file a clone would have, new ones too."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the git repository, to know which files belong to the project")
    return [path for name in listed.decode().split("\0") if name and (path := ROOT / name).is_file()]
