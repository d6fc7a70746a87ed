from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType

import pytest

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Resource
from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.kernel.access import Subject
from mandamus.kernel.clock import Clock
from mandamus.kernel.ids import Entropy
from mandamus.store.database import Database

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"(?P<fence>`{3,})(?P<language>[\w-]*) *(?P<info>.*)")
_HEADING = re.compile(r"#{1,6} +(?P<text>.+?) *#*")
_LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\((?P<target>[^()\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, what follows that word, the text, and where it begins and its fence closes."""

    page: Page
    language: str
    info: str
    text: str
    line: int
    end: int

    @property
    def at(self) -> str:
        """``page:line``."""
        return f"{self.page.name}:{self.line}"

    @property
    def title(self) -> str:
        """The path of the file the block shows, as in ``yaml title="workflows/x.yaml"``; else empty."""
        found = re.fullmatch(r'title="(?P<path>[^"]+)"', self.info)
        return found["path"] if found else ""


@dataclass(frozen=True)
class Page:
    """One page of the documentation."""

    path: Path

    @property
    def name(self) -> str:
        """The path from the project's root."""
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def text(self) -> str:
        """The page as it stands."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The fenced blocks, in order."""
        made = []
        open_: re.Match[str] | None = None
        begin, inside = 0, []
        for number, line in enumerate(self.text.splitlines(), start=1):
            if open_ is None:
                open_ = _FENCE.fullmatch(line.strip())
                begin, inside = number + 1, []
            elif line.strip() == open_["fence"]:
                made.append(Block(self, open_["language"], open_["info"], "\n".join(inside) + "\n", begin, number))
                open_ = None
            else:
                inside.append(line)
        assert open_ is None, f"{self.name}:{begin - 1}: the block is never closed"
        return tuple(made)

    @cached_property
    def prose(self) -> list[tuple[int, str]]:
        """The lines outside fenced blocks, with their numbers."""
        inside = {line for block in self.blocks for line in range(block.line - 1, block.end + 1)}
        return [(n, line) for n, line in enumerate(self.text.splitlines(), start=1) if n not in inside]

    @cached_property
    def anchors(self) -> frozenset[str]:
        """What a link to this page may name behind ``#``, as GitHub makes it from the headings."""
        made: dict[str, int] = {}
        for _, line in self.prose:
            heading = _HEADING.fullmatch(line)
            if heading:
                words = re.sub(r"[^\w\- ]", "", heading["text"].lower()).replace(" ", "-")
                made[words] = made.get(words, 0) + 1
        return frozenset(made) | {f"{words}-{n}" for words, count in made.items() for n in range(1, count)}

    @property
    def links(self) -> Iterator[tuple[int, str]]:
        """The targets of links outside code, with their lines."""
        for number, line in self.prose:
            for found in _LINK.finditer(re.sub(r"`[^`]*`", lambda code: "x" * len(code[0]), line)):
                yield number, found["target"]


@pytest.fixture(scope="session")
def pages() -> list[Page]:
    """Every page there is."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("changelog.d/*.md")]
    return [Page(path) for path in sorted(found)]


@pytest.fixture(scope="session")
def page(pages: list[Page]) -> Callable[[str], Page]:
    """A page by its path from the project's root."""
    by_name = {each.name: each for each in pages}
    return lambda name: by_name[name]


@pytest.fixture(scope="session")
def blocks(pages: list[Page]) -> list[Block]:
    """Every fenced block of every page."""
    return [block for each in pages for block in each.blocks]


@pytest.fixture(scope="session")
def load_tool() -> Callable[[str], ModuleType]:
    """Loads ``tools/NAME.py``, which is a script and no package."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def reference(load_tool: Callable[[str], ModuleType]) -> ModuleType:
    """``tools/reference.py``."""
    return load_tool("reference")


@pytest.fixture
def log_of(sqlite_database: Database, clock: Clock, entropy: Entropy) -> Callable[..., None]:
    """Writes a published log with that many events and more than one stream into a folder."""

    def write(folder: Path, events: int) -> None:
        signer = Signer("example.com/log", entropy(32))
        audit = Audit(sqlite_database, folder, signer, clock, entropy)
        who = Subject("ada", "os-user", display_name="Ada Lovelace")
        audit.open(who, Signer("example.com/platform", entropy(32)).vkey)
        with sqlite_database.begin("events") as tx:
            for number in range(events):
                audit.record(
                    tx, Event(Kind.RUN_ADMITTED, who, Resource("run", f"run_{number % 7}"), run=f"run_{number % 7}")
                )
        audit.flush()

    return write
