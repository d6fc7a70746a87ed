"""Rego text as the rewriter needs it: every token with its exact place, operators whole, brackets paired."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

WORD = "word"
NUMBER = "number"
STRING = "string"
SIGN = "sign"

_SKIP = re.compile(r"(?:[ \t\r\n\ufeff]+|#[^\n]*)+")
_TOKEN = re.compile(
    r"(?P<word>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<number>[0-9][0-9A-Za-z_]*(?:\.[0-9][0-9A-Za-z_]*)?)"
    r'|(?P<string>"(?:[^"\\\n]|\\.)*"?|`[^`]*`?)'
    r"|(?P<sign>:=|==|!=|<=|>=|.)",
    re.DOTALL,
)
_TEMPLATE = re.compile(r'\$["`]')
_CLOSES = {"(": ")", "[": "]", "{": "}"}

RESERVED = frozenset({"as", "default", "else", "import", "not", "package", "some", "with"})
"""Words of every Rego that never stand for a value (unless a reference starts with them)."""


@dataclass(frozen=True)
class Token:
    """``glued`` is whether nothing stands between it and the token before; ``first`` whether it starts its line."""

    kind: str
    text: str
    at: int
    end: int
    glued: bool
    first: bool


@dataclass(frozen=True)
class Source:
    """A text's tokens, and for every bracket that has one the index of its partner."""

    text: str
    tokens: Sequence[Token]
    partner: dict[int, int]

    def word(self, index: int) -> str:
        """The token's text; empty behind the end and for strings, so that it compares with signs and words only."""
        if 0 <= index < len(self.tokens) and self.tokens[index].kind != STRING:
            return self.tokens[index].text
        return ""

    def kind(self, index: int) -> str:
        """The token's kind; empty outside the text."""
        return self.tokens[index].kind if 0 <= index < len(self.tokens) else ""

    def glued(self, index: int) -> bool:
        """Whether the token directly touches the one before."""
        return 0 <= index < len(self.tokens) and self.tokens[index].glued

    def suffixed(self, index: int) -> bool:
        """Whether a reference goes on behind this token: ``.``, ``[`` or ``(`` touches it."""
        return self.glued(index + 1) and self.word(index + 1) in {".", "[", "("}

    def member(self, index: int) -> bool:
        """Whether the token is the name behind a dot, so that it is a key and no variable."""
        return self.word(index - 1) == "." and self.glued(index)

    def ends_operand(self, index: int) -> bool:
        """Whether a value may end with this token."""
        kind, text = self.kind(index), self.word(index)
        return kind in {STRING, NUMBER} or text in {")", "]", "}"} or (kind == WORD and text not in RESERVED)


def scan(text: str) -> Source:
    """Tokens of any text whatever; what is no Rego becomes signs of one character."""
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        skipped = _SKIP.match(text, at)
        start = skipped.end() if skipped else at
        if start >= len(text):
            break
        kind, end = _next(text, start)
        gap = text[at:start]
        tokens.append(Token(kind, text[start:end], start, end, glued=not gap, first=not tokens or "\n" in gap))
        at = end
    return Source(text, tokens, _partners(tokens))


def _next(text: str, at: int) -> tuple[str, int]:
    if _TEMPLATE.match(text, at):
        return STRING, _template_end(text, at)
    match = _TOKEN.match(text, at)
    if match is None or match.lastgroup is None:
        raise AssertionError("the pattern takes any character")
    return match.lastgroup, match.end()


def _template_end(text: str, at: int) -> int:
    """Behind a ``$"..."``; its ``{...}`` hold expressions, which may hold strings and templates again."""
    quotes = [text[at + 1]]
    at += 2
    while at < len(text) and quotes:
        sign = text[at]
        if quotes[-1] == "{":
            at = _in_expression(text, at, quotes)
            continue
        if sign == "\\":
            at += 1
        elif sign == "{":
            quotes.append("{")
        elif sign == quotes[-1]:
            quotes.pop()
        at += 1
    return min(at, len(text))


def _in_expression(text: str, at: int, quotes: list[str]) -> int:
    skipped = _SKIP.match(text, at)
    if skipped:
        return skipped.end()
    if _TEMPLATE.match(text, at):
        quotes.append(text[at + 1])
        return at + 2
    if text[at] == "{":
        quotes.append("{")
    elif text[at] == "}":
        quotes.pop()
    return _next(text, at)[1]


def _partners(tokens: Sequence[Token]) -> dict[int, int]:
    partner: dict[int, int] = {}
    opened: list[int] = []
    for index, token in enumerate(tokens):
        if token.kind != SIGN:
            continue
        if token.text in _CLOSES:
            opened.append(index)
        elif token.text in _CLOSES.values() and opened and _CLOSES[tokens[opened[-1]].text] == token.text:
            partner[index] = opened.pop()
            partner[partner[index]] = index
    return partner
