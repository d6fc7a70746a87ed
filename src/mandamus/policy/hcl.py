"""A strict reader of the HCL that policy sets are described in: attributes and labelled blocks of plain values.

Format: https://github.com/hashicorp/hcl (native syntax). Expressions, templates and heredocs are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\ufeff]+|\#[^\n]*|//[^\n]*|/\*.*?\*/)
    |(?P<line>\n)
    |(?P<string>"(?:[^"\\\n]|\\.)*")
    |(?P<number>-?[0-9]+(?:\.[0-9]+)?)
    |(?P<word>[A-Za-z_][A-Za-z0-9_-]*)
    |(?P<sign>[{}\[\]=,])""",
    re.VERBOSE | re.DOTALL,
)
_WORDS = {"true": True, "false": False, "null": None}


class HclError(ValueError):
    """What cannot be read; ``line`` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class Block:
    """A block (the file itself is one without a name) and the line of each of its attributes."""

    name: str
    labels: tuple[str, ...]
    line: int
    values: Mapping[str, Any] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)
    blocks: tuple[Block, ...] = ()


def parse(text: str) -> Block:
    """The file as a block; raises `HclError`."""
    return _Reader(text).body("", (), 1, closed=False)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens = _scan(text)
        self._at = 0

    def body(self, name: str, labels: tuple[str, ...], line: int, *, closed: bool) -> Block:
        values: dict[str, Any] = {}
        lines: dict[str, int] = {}
        blocks: list[Block] = []
        while True:
            token = self._next(skip_lines=True)
            if token.kind == "end" or token.text == "}":
                if (token.text == "}") is not closed:
                    raise HclError(token.line, "a brace is missing" if closed else "a brace closes nothing")
                return Block(name, labels, line, values, lines, tuple(blocks))
            if token.kind != "word":
                raise HclError(token.line, f"{token.text!r} stands where a name should")
            if self._peek().text != "=":
                blocks.append(self._block(token))
            elif token.text in values:
                raise HclError(token.line, f"{token.text} is given twice")
            else:
                self._next()
                values[token.text], lines[token.text] = self._value(), token.line
                self._end_of_line()

    def _block(self, name: _Token) -> Block:
        labels = []
        while self._peek().kind in ("string", "word"):
            labels.append(_string(self._next()))
        opened = self._next()
        if opened.text != "{":
            raise HclError(opened.line, f"a block {name.text} needs a brace")
        return self.body(name.text, tuple(labels), name.line, closed=True)

    def _value(self) -> Any:
        token = self._next()
        if token.kind == "string":
            return _string(token)
        if token.kind == "number":
            return json.loads(token.text) if token.text.lstrip("-") == "0" or token.text[0] != "0" else token.text
        if token.kind == "word" and token.text in _WORDS:
            return _WORDS[token.text]
        if token.text == "[":
            return self._list()
        raise HclError(token.line, f"{token.text!r} is no plain value")

    def _list(self) -> list[Any]:
        found: list[Any] = []
        while True:
            if self._peek(skip_lines=True).text == "]":
                self._next(skip_lines=True)
                return found
            self._peek(skip_lines=True)
            found.append(self._value())
            behind = self._next(skip_lines=True)
            if behind.text == "]":
                return found
            if behind.text != ",":
                raise HclError(behind.line, "the elements of a list need commas")

    def _end_of_line(self) -> None:
        token = self._peek()
        if token.kind not in ("line", "end") and token.text != "}":
            raise HclError(token.line, f"{token.text!r} stands behind a value")

    def _peek(self, *, skip_lines: bool = False) -> _Token:
        while skip_lines and self._tokens[self._at].kind == "line":
            self._at += 1
        return self._tokens[self._at]

    def _next(self, *, skip_lines: bool = False) -> _Token:
        token = self._peek(skip_lines=skip_lines)
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token


def _scan(text: str) -> list[_Token]:
    found = []
    at, line = 0, 1
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise HclError(line, f"{text[at]!r} is not understood")
        if match.lastgroup != "space":
            found.append(_Token(match.lastgroup, match.group(), line))
        line += match.group().count("\n")
        at = match.end()
    return [*found, _Token("end", "", line)]


def _string(token: _Token) -> str:
    if token.kind == "word":
        return token.text
    if re.search(r"(?<!\$)\$\{|(?<!%)%\{", token.text):
        raise HclError(token.line, "a template is no plain text")
    try:
        found: str = json.loads(token.text)
    except ValueError as error:
        raise HclError(token.line, f"{token.text} is no plain text") from error
    return found
