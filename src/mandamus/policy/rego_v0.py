"""Rego v0 as Rego v1: same meaning, same lines. Pure text; whether the result is right Rego is OPA's to say.

What v1 asks for and v0 does not have is put in (`if`, `contains`, a value for a head alone), and what v1 no longer
takes is replaced (see `rego_v0_names`). Only columns move, so OPA's line numbers are those of the original.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mandamus.policy import rego_v0_names as names
from mandamus.policy.rego_v0_names import Edit
from mandamus.policy.rego_v0_rules import Module, Rule, read, term_end
from mandamus.policy.rego_v0_scan import Source, scan


@dataclass(frozen=True)
class Rewritten:
    """The v1 text and how it was made, to find the way back from its columns.

    ``lost`` are rules, as line and name, that v1 cannot call so; in ``text`` they have another name.
    """

    text: str
    original: str
    edits: Sequence[Edit]
    lost: Sequence[tuple[int, str]] = ()

    def column(self, line: int, column: int) -> int:
        """The original's column of a place in the rewritten text; lines and columns count from 1."""
        at = _line_start(self.text, line) + column - 1
        return max(1, self._origin(at) - _line_start(self.original, line) + 1)

    def _origin(self, at: int) -> int:
        shift = 0
        for edit in self.edits:
            start = edit.at + shift
            if at < start:
                break
            if at < start + len(edit.text):
                return edit.at
            shift += len(edit.text) - (edit.end - edit.at)
        return at - shift


def rewrite(text: str) -> str:
    """The text in v1; a text that is v1 already comes back as it is."""
    return rewritten(text).text


def rewritten(text: str) -> Rewritten:
    """The text in v1 with the way back."""
    module = read(scan(text))
    syntax = list(_syntax(module))
    found = dict.fromkeys((*syntax, *names.edits(module, old=bool(syntax))))
    edits = sorted(found, key=lambda edit: (edit.at, edit.end))
    lost = [(text.count("\n", 0, token.at) + 1, token.text) for token in names.lost(module)]
    return Rewritten(_apply(text, edits), text, edits, lost)


def looks_v0(text: str) -> bool:
    """Whether a text needs v0: v1 would not take it so, and it uses no `if` or `contains` that v0 would have to import.

    A text that does both is right in neither version; it was probably meant as v1.
    """
    module = read(scan(text))
    imported = names.imported_keywords(module)
    said = {module.source.word(index) for index in module.keywords}
    return said <= imported and not names.says_v1(module) and rewrite(text) != text


def _line_start(text: str, line: int) -> int:
    return sum(len(row) + 1 for row in text.split("\n")[: line - 1])


def _apply(text: str, edits: Iterable[Edit]) -> str:
    parts, at = [], 0
    for edit in edits:
        if edit.at >= at:
            parts += [text[at : edit.at], edit.text]
            at = edit.end
    return "".join([*parts, text[at:]])


def _syntax(module: Module) -> Iterable[Edit]:
    for rule in module.rules:
        yield from _marks(module.source, rule)
        if not (rule.default or rule.contains or rule.value or rule.marked or rule.arguments):
            yield from _head(module.source, rule)


def _marks(source: Source, rule: Rule) -> Iterable[Edit]:
    """An `if` before every body that has none; chained bodies share the first one's."""
    for body in rule.bodies:
        if body.marked or body.chained:
            continue
        brace = source.tokens[body.opens]
        yield Edit(brace.at, brace.at, " if " if brace.glued else "if ")
        # `if {x | y ...}` would be read as a comprehension, which always holds.
        behind = term_end(source, body.opens + 1)
        if behind > body.opens + 1 and source.word(behind) == "|":
            yield Edit(brace.end, brace.end, "true; ")


def _head(source: Source, rule: Rule) -> Iterable[Edit]:
    """`p[x]` and `p.x` are members of a set, and longer heads alone are true."""
    if len(rule.parts) == 1:
        first, last = rule.parts[0]
        opening, closing = source.tokens[first], source.tokens[last]
        if opening.text == ".":
            yield Edit(opening.at, closing.end, f' contains "{closing.text}"')
        elif last > first + 1:
            yield Edit(opening.at, opening.end, " contains ")
            yield Edit(closing.at, closing.end, "" if _apart(source, last) else " ")
    elif len(rule.parts) > 1 and not rule.bodies:
        at = source.tokens[rule.end - 1].end
        yield Edit(at, at, " := true")


def _apart(source: Source, index: int) -> bool:
    return index + 1 >= len(source.tokens) or not source.glued(index + 1)
