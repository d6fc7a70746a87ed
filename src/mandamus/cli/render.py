"""What a terminal is shown: text nobody can smuggle control sequences in, colour where it helps, tables, JSON."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple, TextIO

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1, where escape sequences begin; tab and line feed stay
    "\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff"  # bidirectional overrides and what has no width
    "\u2028\u2029\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"  # separators, annotations, surrogates, tags
)
_SHOWN_INSTEAD = "\ufffd"
_LINE_BREAKS = re.compile(r"[\r\n\t]+")

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36", "dim": "2", "bold": "1"}
_STATE_COLOURS = {
    "succeeded": "green",
    "planned": "green",
    "ok": "green",
    "allow": "green",
    "yes": "green",
    "waiting": "yellow",
    "needs_approval": "yellow",
    "blocked": "yellow",
    "retrying": "yellow",
    "warning": "yellow",
    "applying": "cyan",
    "planning": "cyan",
    "running": "cyan",
    "failed": "red",
    "denied": "red",
    "deny": "red",
    "no": "red",
    "rejected": "red",
    "expired": "red",
    "indeterminate": "red",
    "skipped": "dim",
    "cancelled": "dim",
    "pending": "dim",
}


def safe(text: object) -> str:
    """The text with every control and bidirectional character replaced by U+FFFD; line feeds and tabs stay."""
    return _UNSAFE.sub(_SHOWN_INSTEAD, str(text))


def line(text: object) -> str:
    """The text as one safe line."""
    return safe(_LINE_BREAKS.sub(" ", str(text)))


def first_line(text: object) -> str:
    """The first line that is not empty, safe."""
    return next((safe(part.strip()) for part in str(text).splitlines() if part.strip()), "")


def brief(text: object) -> str:
    """The first line and the one it announces, as one safe line; how many more there are is said."""
    lines = [safe(part.strip()) for part in str(text).splitlines() if part.strip()]
    more = f" (and {len(lines) - 2} more)" if len(lines) > 2 else ""
    return ": ".join(lines[:2]) + more


def document(value: Any) -> str:
    """One line of JSON that no terminal acts on: what `safe` would replace is escaped, so nothing is lost."""
    text = json.dumps(_ready(value), ensure_ascii=False, sort_keys=True, default=str)
    return _UNSAFE.sub(lambda found: _escaped(found.group()), text)


def _ready(value: Any) -> Any:
    """Fractions keep their digits: a ``Decimal`` with an exact float is written as one, any other as text."""
    if isinstance(value, Mapping):
        return {str(key): _ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_ready(item) for item in value]
    if isinstance(value, Decimal):
        return float(value) if Decimal(repr(float(value))) == value else str(value)
    return value


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def stamp(at_us: int | None) -> str:
    """Microseconds since the epoch as ``2026-01-31 12:00:00Z``; empty for None."""
    return "" if at_us is None else datetime.fromtimestamp(at_us / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def duration(seconds: float) -> str:
    """``3.2s``, ``2m05s``, ``1h02m``."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


class Painted(NamedTuple):
    """A cell or word with the colour it has where there is colour."""

    text: str
    colour: str


def state(word: object) -> Painted:
    """A state in its colour."""
    return Painted(str(word), _STATE_COLOURS.get(str(word), ""))


Cell = str | Painted


@dataclass(frozen=True)
class Screen:
    """Where one command writes: data to ``out``, talk to ``err``. Colour only on a terminal, never with NO_COLOR."""

    out: TextIO
    err: TextIO
    environ: Mapping[str, str]

    @property
    def live(self) -> bool:
        """Whether talk may be redrawn in place."""
        return self.err.isatty() and self.environ.get("TERM") != "dumb"

    @property
    def shown(self) -> bool:
        """Whether a person looks at the data as it comes."""
        return self.out.isatty()

    @property
    def coloured(self) -> bool:
        """Whether data may hold colours."""
        return self._coloured(self.out)

    def data(self, *parts: Cell) -> None:
        """A line of data; the parts are made safe."""
        self._write(self.out, parts)

    def say(self, *parts: Cell) -> None:
        """A line of talk; the parts are made safe."""
        self._write(self.err, parts)
        self.err.flush()

    def passing(self, text: str) -> None:
        """Talk that the next line takes the place of; only where that can be done."""
        if self.live:
            self.err.write("\r\x1b[K" + self.paint(self.err, Painted(first_line(text)[:79], "dim")))
            self.err.flush()

    def raw(self, text: str) -> None:
        """Data that was made safe already, as it comes."""
        self.out.write(text)
        self.out.flush()

    def json(self, value: Any) -> None:
        """One JSON document on a line of its own."""
        self.out.write(document(value) + "\n")
        self.out.flush()

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[Cell]], *, talk: bool = False) -> None:
        """Columns as wide as their widest cell; nothing is cut off."""
        stream = self.err if talk else self.out
        lines = [[Painted(header, "bold") for header in headers], *[[_cell(cell) for cell in row] for row in rows]]
        widths = [max(width(row[column].text) for row in lines) for column in range(len(headers))]
        for row in lines:
            cells = [
                self.paint(stream, cell) + " " * (widths[column] - width(cell.text)) for column, cell in enumerate(row)
            ]
            stream.write("  ".join(cells).rstrip() + "\n")
        stream.flush()

    def paint(self, stream: TextIO, part: Cell) -> str:
        """The safe text of a part, in its colour where the stream has colours."""
        text, colour = (part, "") if isinstance(part, str) else part
        code = _COLOURS.get(colour)
        return f"\x1b[{code}m{safe(text)}\x1b[0m" if code and self._coloured(stream) else safe(text)

    def _write(self, stream: TextIO, parts: Sequence[Cell]) -> None:
        stream.write("".join(self.paint(stream, part) for part in parts) + "\n")

    def _coloured(self, stream: TextIO) -> bool:
        return stream.isatty() and not self.environ.get("NO_COLOR") and self.environ.get("TERM") != "dumb"


def width(text: str) -> int:
    """Columns a text takes on a terminal."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)


def _cell(cell: Cell) -> Painted:
    return Painted(line(cell), "") if isinstance(cell, str) else Painted(line(cell.text), cell.colour)
