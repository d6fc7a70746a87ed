"""Which Rego a file is written in, and the v1 text that OPA takes for it, line for line."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from mandamus.policy import rego_v0
from mandamus.policy.engine import Refusal
from mandamus.policy.model import RegoVersion

Parses = Callable[[str, str], Refusal | None]
"""Says of a path and a text why OPA's v1 parser does not take it; None when it does."""


@dataclass(frozen=True)
class Translated:
    """The text for OPA, the version the original is written in, and OPA's refusal with the original's lines, if any.

    ``version`` is never ``auto``. A refused text comes back as it was.
    """

    text: str
    version: RegoVersion
    refusal: Refusal | None = None


def translate(path: str, text: str, version: RegoVersion, parses: Parses) -> Translated:
    """The v1 text of one file.

    ``auto`` takes the file as v1 when it is right v1, else as v0 when it is right v0; a file that is neither is refused
    as what it looks like.
    """
    if version is RegoVersion.V1:
        return Translated(text, version, parses(path, text))
    if version is RegoVersion.V0:
        return _as_v0(path, text, parses)
    as_v1 = parses(path, text)
    if as_v1 is None:
        return _parsed(path, text, parses)
    if rego_v0.looks_v0(text):
        return _as_v0(path, text, parses)
    return Translated(text, RegoVersion.V1, as_v1)


def _parsed(path: str, text: str, parses: Parses) -> Translated:
    """A file that parses may still use what v1 dropped, and compile only as v0."""
    if rego_v0.looks_v0(text):
        as_v0 = _as_v0(path, text, parses)
        if as_v0.refusal is None:
            return as_v0
    return Translated(text, RegoVersion.V1)


def _as_v0(path: str, text: str, parses: Parses) -> Translated:
    made = rego_v0.rewritten(text)
    refusal = parses(path, made.text)
    if refusal is None and not made.lost:
        return Translated(made.text, RegoVersion.V0)
    if refusal is None:
        # Under another name, whoever asks for the rule by its own would silently find nothing.
        told = "; ".join(f"{path}:{line}: rego_parse_error: v1 has no rule called {name}" for line, name in made.lost)
        refusal = Refusal("parse_error", told)
    return Translated(text, RegoVersion.V0, Refusal(refusal.code, _in_original(refusal.message, made)))


def _in_original(message: str, made: rego_v0.Rewritten) -> str:
    """OPA's text with the original's snippets: behind ``file:line: ...`` may stand a line and a caret beneath it."""
    rows = message.split("\n")
    original, text = made.original.split("\n"), made.text.split("\n")
    for index, row in enumerate(rows[:-2]):
        place = re.search(r":(\d+): rego_", row)
        line = int(place[1]) if place else 0
        if not 0 < line <= len(original) or rows[index + 1] != f"\t{text[line - 1]}" or rows[index + 2].strip() != "^":
            continue
        column = made.column(line, len(rows[index + 2]) - 1)
        rows[index + 1] = f"\t{original[line - 1]}"
        rows[index + 2] = "\t" + " " * (column - 1) + "^"
    return "\n".join(rows)
