"""A page as text that no content can break out of: every value is escaped, and there are no scripts."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff]"
)
_VOID = frozenset({"meta"})
_SHORT = 24
"""In characters: such a word is not broken where a digest beside it needs the room."""

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; border-bottom: 1px solid #c8ccd2; }
h3 { font-size: 1rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; }
th, td { text-align: left; vertical-align: top; padding: .25rem .5rem; border-bottom: 1px solid #dfe3e8; }
th { font-weight: 600; white-space: nowrap; } td { overflow-wrap: anywhere; }
code, pre { font: 13px/1.4 ui-monospace, monospace; overflow-wrap: anywhere; white-space: pre-wrap; }
.good, .bad, .short { white-space: nowrap; }
.good { color: #0a6b2d; font-weight: 600; } .bad { color: #a40e26; font-weight: 600; }
.muted { color: #57606a; }
@media print {
  body { margin: 0; max-width: none; font-size: 10pt; }
  h2, h3 { break-after: avoid; } tr, pre { break-inside: avoid; } thead { display: table-header-group; }
  @page { margin: 18mm 15mm; }
}
"""


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def plain(value: object) -> Markup:
    """A value as text; what would be invisible or turn the direction of reading becomes U+FFFD."""
    return Markup(html.escape(_HIDDEN.sub("\N{REPLACEMENT CHARACTER}", str(value))))


def tag(element: str, *content: object, **attributes: str) -> Markup:
    """An element; other content than markup is escaped. In attributes ``_`` is a dash, but not that of ``class_``."""
    told = "".join(f' {key.rstrip("_").replace("_", "-")}="{plain(value)}"' for key, value in attributes.items())
    if element in _VOID:
        return Markup(f"<{element}{told}/>")
    inside = "".join(part if isinstance(part, Markup) else plain(part) for part in content)
    return Markup(f"<{element}{told}>{inside}</{element}>")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Markup:
    """A table; cells that are no markup are escaped, and short ones stay on a line."""
    top = tag("thead", tag("tr", *(tag("th", cell) for cell in head)))
    return tag("table", top, tag("tbody", *(tag("tr", *map(_cell, row)) for row in rows)))


def _cell(content: object) -> Markup:
    short = not isinstance(content, Markup) and len(str(content)) <= _SHORT
    return tag("td", content, class_="short") if short else tag("td", content)


def pairs(rows: Iterable[tuple[str, object]]) -> Markup:
    """A table of names and values."""
    return tag("table", tag("tbody", *(tag("tr", tag("th", name), tag("td", value)) for name, value in rows)))


def listed(items: Iterable[object]) -> Markup:
    """An unordered list."""
    return tag("ul", *(tag("li", item) for item in items))


def page(title: str, *content: Markup) -> bytes:
    """The whole page, UTF-8; well-formed XML as well, so that any parser reads the same."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width"),
        tag("title", title),
        tag("style", Markup(STYLE)),
    )
    body = tag("body", tag("h1", title), *content)
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n".encode()
