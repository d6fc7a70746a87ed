"""What the README and the tutorial tell a newcomer to type works, in that order, and prints what they show.

A console block is a line ``$ command``, then what it prints. Ids, digests, times and sizes stand for whatever comes;
the same run id on a page is the same run. A line ``...`` stands for any lines, and at the end of a line for its rest.
A block with ``title="path"`` is written into that file. A command that fails is followed by ``$ echo $?``.
"""

from __future__ import annotations

import dataclasses
import getpass
import os
import pty
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USER, HOME = "sam", "/home/sam"
"""Who the reader is on every page."""

SET_UP = ("make ", "git ")
"""Commands of the set-up, which is done when tests run."""

_RUN = re.compile(r"run_[0-9a-hjkmnp-tv-z]{26}")
_VARIES = re.compile(
    r"(?P<digest>sha256:[0-9a-f]{64})|(?P<moment>\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ)|(?P<seconds>\d+\.\d+ ?s\b)"
    r"|(?P<bytes>\d+ bytes)|(?P<leaves>\d+ leaves)|(?P<leaf>leaf \d+)|(?P<blank> {2,})"
)
_FORMS = {
    "digest": r"sha256:[0-9a-f]{64}",
    "moment": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ",
    "seconds": r"\d+\.\d+ ?s",
    "bytes": r"\d+ bytes",
    "leaves": r"\d+ leaves",
    "leaf": r"leaf \d+",
    "blank": " +",
}


@dataclass
class Reader:
    """Somebody who types what a page says, in a home folder of their own."""

    folder: Path
    runs: dict[str, str] = field(default_factory=dict)
    code: int = 0

    def __post_init__(self) -> None:
        self.home = self.folder / "home"
        self.home.mkdir(mode=0o700)
        self.cwd = self.home
        (self.home / "mandamus").symlink_to(ROOT)
        path = f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"
        self.environ = {"PATH": path, "HOME": str(self.home), "TERM": "dumb", "NO_COLOR": "1", "LANG": "C.UTF-8"}

    def write(self, block) -> None:
        """Save a file as the page shows it."""
        path = self.cwd / block.title
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)

    def follow(self, block) -> None:
        """Type the commands of a block and compare what they print."""
        commands = _commands(block.text)
        for (command, shown), after in zip(commands, [*commands[1:], ("", [])], strict=True):
            if command.startswith(SET_UP):
                continue
            printed = self.type(command)
            where = f"{block.at}: $ {command}\n{printed}"
            assert self.code == 0 or after[0] == "echo $?", (
                f"exit code {self.code} that the page does not show\n{where}"
            )
            found = re.fullmatch(self.pattern(shown), "".join(f"{line.rstrip()}\n" for line in printed.splitlines()))
            assert found or not shown, f"not what the page shows\n{where}"
            if found:
                self.runs |= found.groupdict()

    def type(self, command: str) -> str:
        """One command at a terminal; folder, variables and exit code stay for the next one."""
        for shown, real in self.runs.items():
            command = command.replace(shown, real)
        state = self.folder / ".state"
        script = f"(exit {self.code})\n{command}\n__code=$?; {{ pwd; export -p; }} > {state}; exit $__code"
        master, slave = pty.openpty()
        done = subprocess.Popen(
            ["/bin/bash", "-c", script], cwd=self.cwd, env=self.environ, stdin=slave, stdout=slave, stderr=slave
        )
        os.close(slave)
        printed = _all(master).decode()
        self.code = done.wait(timeout=60)
        where, _, exported = state.read_text().partition("\n")
        self.cwd = Path(where)
        self.environ |= dict(re.findall(r'^declare -x (\w+)="([^"]*)"$', exported, re.MULTILINE))
        return printed

    def pattern(self, shown: list[str]) -> str:
        """What must be printed, as a regular expression; run ids seen for the first time are its groups."""
        lines = []
        seen = set(self.runs)
        for line in shown:
            if line == "...":
                lines.append(r"(?:.*\n)*?")
                continue
            parts = [self._literal(part, seen) for part in re.split(rf"({_RUN.pattern})", line.removesuffix("..."))]
            lines.append("".join(parts) + (r".*" if line.endswith("...") else "") + r"\n")
        return "".join(lines)

    def _literal(self, text: str, seen: set[str]) -> str:
        if _RUN.fullmatch(text):
            if text in self.runs:
                return re.escape(self.runs[text])
            if text in seen:
                return f"(?P={text})"
            seen.add(text)
            return f"(?P<{text}>{_RUN.pattern})"
        text = text.replace(HOME, str(self.home))
        made, at = "", 0
        for found in _VARIES.finditer(text):
            made += re.escape(text[at : found.start()]) + _FORMS[str(found.lastgroup)]
            at = found.end()
        return re.sub(rf"\b{USER}\b", getpass.getuser(), made + re.escape(text[at:]))


def _all(master: int) -> bytes:
    data = b""
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:  # Linux says EIO when the last process has closed the terminal
            chunk = b""
        if not chunk:
            os.close(master)
            return data
        data += chunk


def _commands(text: str) -> list[tuple[str, list[str]]]:
    """``(command, shown lines)``; a line that ends in a backslash goes on in the next one."""
    made: list[tuple[str, list[str]]] = []
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("$ "):
            command = line.removeprefix("$ ")
            while command.endswith("\\"):
                command += "\n" + next(lines).removeprefix("> ")
            made.append((command, []))
        elif made:
            made[-1][1].append(line)
    return made


def _between(page, begin: str, end: str | None = None):
    """The blocks below one heading, up to another."""
    lines = page.text.splitlines()
    first = lines.index(begin)
    last = lines.index(end) if end is not None else len(lines)
    found = [block for block in page.blocks if first < block.line < last]
    assert found, f"{page.name} has no blocks below {begin}"
    return found


def _play(blocks, folder):
    reader = Reader(folder)
    for block in blocks:
        if block.title:
            reader.write(block)
        elif block.language == "console":
            reader.follow(block)
    return reader


@pytest.mark.slow
def test_the_five_minutes_of_the_readme(page, tmp_path):
    """From nothing to an own workflow with the README's commands alone."""
    blocks = _between(page("README.md"), "## Your own workflow in five minutes", "## Tests")
    reader = _play(blocks, tmp_path)
    assert reader.runs


@pytest.mark.slow
def test_the_tutorial(page, tmp_path):
    """The first change, from the empty folder to the proof, with the tutorial's commands alone."""
    reader = _play(page("docs/tutorial/first-change.md").blocks, tmp_path)
    assert len(reader.runs) > 1


@pytest.mark.slow
def test_the_demo_is_as_the_readme_shows_it(page, tmp_path):
    """What the README shows of `make demo` is what the demo prints."""
    (block,) = [block for block in page("README.md").blocks if block.text.startswith("$ make demo\n...")]
    Reader(tmp_path).follow(dataclasses.replace(block, text=block.text.replace("make demo", "mandamus demo", 1)))


def test_a_transcript_is_compared_line_by_line(tmp_path):
    """What varies may vary and a run id is bound once; anything else that differs is found."""
    reader = Reader(tmp_path)
    one, other = "run_01m890j829ef8t0cdbrb4gwr65", "run_01m890j829ef8t0cdbrb4gwr66"
    pattern = reader.pattern([f"{one} is done, took 0.3s", "...", f"see {one}"])
    assert re.fullmatch(pattern, f"{other} is done, took 12.5s\nany\nlines\nsee {other}\n")
    assert not re.fullmatch(pattern, f"{other} is done, took 12.5s\nsee {one}\n")
    assert not re.fullmatch(pattern, f"{other} is lost, took 12.5s\nsee {other}\n")
    assert not re.fullmatch(reader.pattern(["1 leaf", "2 leaves"]), "1 leaf\n")


def test_a_failing_command_is_seen(blocks, tmp_path):
    """A command that fails without the page saying so fails the test; so does another output."""
    readme, block = blocks[0].page, type(blocks[0])
    reader = Reader(tmp_path)
    with pytest.raises(AssertionError, match="exit code 3"):
        reader.follow(block(readme, "console", "", "$ (exit 3)\n", 1, 2))
    with pytest.raises(AssertionError, match="not what the page shows"):
        reader.follow(block(readme, "console", "", "$ echo one\ntwo\n", 1, 2))
    reader.follow(block(readme, "console", "", "$ (exit 3)\n$ echo $?\n3\n", 1, 2))
    reader.follow(
        block(
            readme,
            "console",
            "",
            "$ mkdir my\n$ cd my\n$ WORD=kept; export WORD\n$ echo $WORD in $(pwd)\nkept in /home/sam/my\n",
            1,
            2,
        )
    )
