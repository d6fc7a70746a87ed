"""Rego text as tokens with positions: OPA's syntax trees carry none, and a finding must name its line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"[0-9][0-9A-Za-z_.]*")
_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_RAW = re.compile(r"`[^`]*`")
_SPACE = re.compile(r"[ \t\r\n]+|#[^\n]*")
_OPEN = frozenset("([{")
_CLOSE = frozenset(")]}")


@dataclass(frozen=True)
class Token:
    """``kind`` is ``word``, ``number``, ``string`` (``text`` decoded) or ``sign``; ``depth`` counts open brackets."""

    kind: str
    text: str
    at: int
    end: int
    depth: int
    first: bool
    """Whether it is the first token on its line."""


class Text:
    """One module's text: its tokens, and lines and columns (from 1) of offsets."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._starts = [0, *(m.end() for m in re.finditer(r"\n", text))]
        self.tokens: Sequence[Token] = tuple(_scan(text))

    def position(self, at: int) -> tuple[int, int]:
        """Line and column of an offset."""
        low, high = 0, len(self._starts)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._starts[middle] <= at else (low, middle)
        return low + 1, at - self._starts[low] + 1

    def reference(self, index: int) -> tuple[tuple[str, ...], int]:
        """The dotted or bracketed path that starts at a token, and the index of the token behind it."""
        path = [self.tokens[index].text]
        index += 1
        while index < len(self.tokens):
            dotted = self._texts(index, 2)
            if dotted[:1] == (".",) and self._kind(index + 1) == "word":
                path.append(dotted[1])
                index += 2
            elif dotted[:1] == ("[",) and self._kind(index + 1) == "string" and self._texts(index + 2, 1) == ("]",):
                path.append(dotted[1])
                index += 3
            else:
                break
        return tuple(path), index

    def package(self) -> tuple[tuple[str, ...], int]:
        """The package's path without ``data`` and the offset of the statement; ``((), 0)`` when there is none."""
        for index, token in enumerate(self.tokens[:-1]):
            if token.kind == "word" and token.text == "package" and token.depth == 0:
                return self.reference(index + 1)[0], token.at
        return (), 0

    def _texts(self, index: int, count: int) -> tuple[str, ...]:
        return tuple(token.text for token in self.tokens[index : index + count])

    def _kind(self, index: int) -> str:
        return self.tokens[index].kind if index < len(self.tokens) else ""


@dataclass
class _Cursor:
    at: int = 0
    depth: int = 0
    fresh: bool = True


def _scan(text: str) -> Iterator[Token]:
    cursor = _Cursor()
    while cursor.at < len(text):
        yield from _next(text, cursor)


def _next(text: str, cursor: _Cursor) -> Iterator[Token]:
    space = _SPACE.match(text, cursor.at)
    if space:
        cursor.fresh = cursor.fresh or "\n" in space.group()
        cursor.at = space.end()
        return
    for kind, pattern in (("word", _WORD), ("number", _NUMBER), ("string", _STRING), ("string", _RAW)):
        match = pattern.match(text, cursor.at)
        if match:
            yield _token(cursor, kind, _decoded(match.group()), match.end())
            return
    sign = text[cursor.at]
    if sign == "$" and text[cursor.at + 1 : cursor.at + 2] in ('"', "`"):
        cursor.at += 2
        yield from _template(text, cursor, text[cursor.at - 1])
        return
    cursor.depth -= sign in _CLOSE
    yield _token(cursor, "sign", sign, cursor.at + 1)
    cursor.depth += sign in _OPEN


def _template(text: str, cursor: _Cursor, quote: str) -> Iterator[Token]:
    while cursor.at < len(text):
        sign = text[cursor.at]
        if sign == "\\":
            cursor.at += 2
        elif sign == "{":
            yield from _embedded(text, cursor)
        else:
            cursor.at += 1
            if sign == quote:
                return


def _embedded(text: str, cursor: _Cursor) -> Iterator[Token]:
    outside = cursor.depth
    yield from _next(text, cursor)
    while cursor.depth > outside and cursor.at < len(text):
        yield from _next(text, cursor)


def _token(cursor: _Cursor, kind: str, value: str, end: int) -> Token:
    made = Token(kind, value, cursor.at, end, cursor.depth, first=cursor.fresh)
    cursor.fresh = False
    cursor.at = end
    return made


def _decoded(text: str) -> str:
    if text.startswith("`"):
        return text[1:-1]
    if text.startswith('"'):
        try:
            decoded: str = json.loads(text)
        except ValueError:
            return text[1:-1]
        return decoded
    return text
