"""What a step printed, as lines of a page: text is escaped, colours are classes, nothing else acts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from markupsafe import Markup, escape

from mandamus.executors import lines as output
from mandamus.kernel.ansi import Shown

LINES_MAX = 2_000
COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")

_SGR = re.compile("\x1b\\[([0-9;:]*)m")
_FORMAT = re.compile("[\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_RESET = "\x1b[0m"
_STYLES = {1: "bold", 2: "dim", 3: "italic", 4: "underline"}


@dataclass(frozen=True)
class Line:
    """``at`` is the byte offset of the line in what was printed: its name for ever."""

    at: int
    html: Markup


def lines(data: bytes, start: int, count: int = LINES_MAX) -> list[Line]:
    """The last lines of some output that begins at an offset; a first line that began before it is left out."""
    rows, at = [], start
    for row in data.split(b"\n"):
        rows.append((at, row))
        at += len(row) + 1
    if start > 0:
        rows = rows[1:]
    if rows and not rows[-1][1]:
        rows = rows[:-1]
    pen = _Pen()
    return [Line(at, pen.write(_text(row))) for at, row in rows[-count:]]


@dataclass(frozen=True)
class Numbered:
    """A line with its number; ``more`` bytes of it are not shown."""

    number: int
    html: Markup
    more: int


def numbered(found: Iterable[output.Line]) -> list[Numbered]:
    """Lines of some output as markup."""
    pen = _Pen()
    return [Numbered(each.number, pen.write(_text(each.data)), each.more) for each in found]


def _text(row: bytes) -> str:
    """One line with its colours; what would hide in it, or turn it around, is written out by its number.

    No control sequence goes on into the next line: that would hide it.
    """
    text = _FORMAT.sub(lambda found: f"\\u{ord(found.group()):04x}", row.removesuffix(b"\r").decode(errors="replace"))
    shown = Shown(colour=True)
    return shown.feed(text.encode()) + shown.close().removesuffix(_RESET)


@dataclass
class _Pen:
    """The colours and styles in force (ECMA-48, 8.3.117)."""

    colour: str = ""
    ground: str = ""
    styles: set[str] = field(default_factory=set)

    def write(self, text: str) -> Markup:
        """One line as markup; what is in force at its end goes on in the next."""
        return Markup("").join(self._pieces(text))

    def _pieces(self, text: str) -> Iterator[Markup]:
        at = 0
        for found in _SGR.finditer(text):
            yield self._piece(text[at : found.start()])
            self._take(found.group(1))
            at = found.end()
        yield self._piece(text[at:])

    def _piece(self, text: str) -> Markup:
        names = [name for name in (self.colour, self.ground, *sorted(self.styles)) if name]
        if not text or not names:
            return escape(text)
        return Markup('<span class="{}">{}</span>').format(" ".join(f"ansi-{name}" for name in names), text)

    def _take(self, parameters: str) -> None:
        codes = [int(code) if code else 0 for code in re.split("[;:]", parameters)][:32]
        while codes:
            code = codes.pop(0)
            if code in (38, 48) and codes:
                # Colours beyond the sixteen have no class: they are read over and left out.
                del codes[: 2 if codes[0] == 5 else 4]
            else:
                self._set(code)

    def _set(self, code: int) -> None:
        if code == 0:
            self.colour = self.ground = ""
            self.styles.clear()
        elif code in _STYLES:
            self.styles.add(_STYLES[code])
        elif code == 22:
            self.styles -= {"bold", "dim"}
        elif code - 20 in _STYLES:
            self.styles.discard(_STYLES[code - 20])
        elif code == 39:
            self.colour = ""
        elif code == 49:
            self.ground = ""
        elif 30 <= code % 60 <= 37 and code < 100:
            self.colour = COLOURS[code % 60 - 30]
        elif 40 <= code % 60 <= 47 and code < 110:
            self.ground = f"on-{COLOURS[code % 60 - 40]}"
