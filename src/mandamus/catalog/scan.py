"""Reads the text of one CEL expression: where it ends, what it refers to, and what it must not do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mandamus.kernel.reader import did_you_mean

EXPRESSION_CHARS_MAX = 2_000
DEPTH_MAX = 40
PATTERN_CHARS_MAX = 256

ROOTS = ("inputs", "steps", "env", "run", "secrets")
MACROS = frozenset({"all", "exists", "exists_one", "filter", "map"})
FUNCTIONS = frozenset(
    {"contains", "double", "duration", "dyn", "endsWith", "has", "int", "matches", "size", "startsWith", "string"}
    | {"timestamp", "type", "uint", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear"}
    | {"getHours", "getMilliseconds", "getMinutes", "getMonth", "getSeconds"}
)
TYPES = frozenset({"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "uint"})
WORDS = frozenset({"true", "false", "null", "in"})

_STRING_BODY = r"""'''(?:[^\\]|\\.)*?'''|\"\"\"(?:[^\\]|\\.)*?\"\"\"|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*\""""
_RAW_BODY = r"""'''.*?'''|\"\"\".*?\"\"\"|'[^'\n]*'|"[^"\n]*\""""
_TOKEN = re.compile(
    rf"""(?P<blank>\s+|//[^\n]*)
    |(?P<raw>(?:[rR][bB]?|[bB][rR])(?:{_RAW_BODY}))
    |(?P<string>[bB]?(?:{_STRING_BODY}))
    |(?P<number>0[xX][0-9a-fA-F]+u?|(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?u?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<close>\}}\}})
    |(?P<operator>.)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True)
class Token:
    """A word of an expression; ``offset`` counts from the start of the whole string."""

    kind: str
    text: str
    offset: int


@dataclass(frozen=True)
class Reference:
    """A path the expression reads, as far as it is fixed in the text."""

    path: tuple[str, ...]
    offset: int


@dataclass(frozen=True)
class Fault:
    """Something an expression must not do; ``offset`` counts from the start of the whole string."""

    offset: int
    message: str
    remedy: str


@dataclass(frozen=True)
class Scan:
    """What the text of an expression shows without running it.

    ``begin`` is the offset of its first character, ``end`` the offset after its ``}}`` (None when it is missing),
    ``uses`` counts every reading of a variable, ``tolerant`` says that ``has()`` or a choice may stand before a path
    that is not there.
    """

    text: str
    begin: int
    end: int | None
    references: tuple[Reference, ...]
    faults: tuple[Fault, ...]
    macros: int
    uses: int
    plain_path: bool
    tolerant: bool

    @property
    def roots(self) -> frozenset[str]:
        """The variables it reads: inputs, steps, env, run, secrets."""
        return frozenset(reference.path[0] for reference in self.references)


def expression(text: str, start: int) -> Scan:
    """Scan the expression that begins after ``${{`` at ``start`` and ends at the ``}}`` that closes it."""
    tokens: list[Token] = []
    end: int | None = None
    depth = 0
    for token in _tokens(text, start):
        if token.offset - start > 2 * EXPRESSION_CHARS_MAX:
            break
        if token.kind == "close" and depth == 0:
            end = token.offset + 2
            break
        if token.kind == "close":
            tokens += [Token("operator", "}", token.offset), Token("operator", "}", token.offset + 1)]
            depth -= 2
            if depth < 0:
                # "}}}" closes a map and then the expression; the tokens saw the pair first.
                tokens.pop()
                depth = 0
                if text.startswith("}}", token.offset + 1):
                    end = token.offset + 3
                break
            continue
        depth += {"{": 1, "}": -1}.get(token.text, 0) if token.kind == "operator" else 0
        tokens.append(token)
    stop = end - 2 if end is not None else len(text)
    body = text[start:stop]
    begin = start + len(body) - len(body.lstrip())
    return _Reading(tokens, begin).result(body.strip(), end)


def _tokens(text: str, start: int) -> Iterator[Token]:
    position = start
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise AssertionError("the last branch matches any character")
        yield Token(match.lastgroup, match.group(), position)
        position = match.end()


class _Reading:
    def __init__(self, tokens: list[Token], begin: int) -> None:
        self._tokens = [token for token in tokens if token.kind != "blank"]
        self._begin = begin
        self._faults: list[Fault] = []
        self._references: list[Reference] = []
        self._locals = self._bound()
        self._uses = 0

    def result(self, body: str, end: int | None) -> Scan:
        if end is None and len(body) <= EXPRESSION_CHARS_MAX:
            self._fault(self._begin, "${{ is not closed", "close it with }}")
        elif not body:
            self._fault(self._begin, "the expression is empty", "write an expression between ${{ and }}")
        elif len(body) > EXPRESSION_CHARS_MAX:
            self._fault(self._begin, f"the expression is over {EXPRESSION_CHARS_MAX} characters", "split it")
        else:
            self._names()
            self._shape()
        names = {token.text for token in self._tokens if token.kind == "name"}
        operators = {token.text for token in self._tokens if token.kind == "operator"}
        return Scan(
            text=body,
            begin=self._begin,
            end=end,
            references=tuple(self._references),
            faults=tuple(self._faults),
            macros=sum(1 for index in range(len(self._tokens)) if self._is_macro(index)),
            uses=self._uses,
            plain_path=self._plain,
            tolerant="has" in names or "?" in operators or "|" in operators or "&" in operators,
        )

    @property
    def _plain(self) -> bool:
        if len(self._references) != 1 or self._faults:
            return False
        return self._path(0)[1] == len(self._tokens) and self._references[0].offset == self._tokens[0].offset

    def _names(self) -> None:
        for index, token in enumerate(self._tokens):
            if token.kind != "name" or token.text in WORDS or self._follows_dot(index):
                continue
            if self._is(index + 1, "("):
                self._function(token)
            elif self._is(index + 1, "{"):
                self._fault(token.offset, f"`{token.text}{{` makes a message type", "write a map: {...}")
            elif token.text in self._locals:
                self._uses += 1
            elif token.text in ROOTS:
                self._uses += 1
                path, after = self._path(index)
                self._references.append(Reference(path, token.offset))
                self._dynamic(path, token, after)
            elif token.text not in TYPES:
                self._unknown(index)

    def _shape(self) -> None:
        depth = 0
        macro_ends: list[int] = []
        for index, token in enumerate(self._tokens):
            if token.kind == "name" and self._follows_dot(index) and self._is(index + 1, "("):
                self._function(token)
            if self._is_macro(index):
                if macro_ends:
                    self._fault(token.offset, f"`{token.text}` inside another macro", "use one after the other")
                macro_ends.append(depth)
            if token.text == "matches" and self._is(index + 1, "("):
                self._pattern(index)
            if token.kind == "operator":
                depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(token.text, 0)
                if macro_ends and token.text == ")" and depth == macro_ends[-1]:
                    macro_ends.pop()
                if depth > DEPTH_MAX:
                    self._fault(token.offset, f"nested more than {DEPTH_MAX} deep", "split the expression")
                    return
            if token.kind == "operator" and token.text == "." and self._is_root_dot(index):
                self._fault(token.offset, "a path begins with a dot", "begin it with inputs, steps, env or run")

    def _unknown(self, index: int) -> None:
        token = self._tokens[index]
        remedy = did_you_mean(token.text, ROOTS, "use inputs, steps, env, run or secrets; quote plain text")
        if self._is(index - 1, "-") and index > 3 and self._follows_dot(index - 2):
            name = f"{self._tokens[index - 2].text}-{token.text}"
            remedy = f'a name with a dash is written {self._tokens[index - 4].text}["{name}"]'
        self._fault(token.offset, f"there is no variable `{token.text}`", remedy)

    def _function(self, token: Token) -> None:
        known = FUNCTIONS | MACROS
        if token.text not in known:
            remedy = did_you_mean(token.text, sorted(known), "the functions are those of standard CEL")
            self._fault(token.offset, f"there is no function `{token.text}`", remedy)

    def _pattern(self, index: int) -> None:
        # A pattern made at run time could be one that takes the regex engine's full 10 MB to compile, in a macro.
        argument = self._tokens[index + 2] if index + 2 < len(self._tokens) else None
        if argument is None or argument.kind not in {"string", "raw"}:
            self._fault(self._tokens[index].offset, "the pattern of `matches` is no literal", "write it in quotes")
        elif len(argument.text) > PATTERN_CHARS_MAX:
            self._fault(argument.offset, f"the pattern is over {PATTERN_CHARS_MAX} characters", "shorten it")

    def _dynamic(self, path: tuple[str, ...], token: Token, after: int) -> None:
        if token.text in {"steps", "secrets"} and len(path) == 1:
            what = "step" if token.text == "steps" else "secret"
            where = "name the step" if self._is(after, "[") else f"write {token.text}.NAME"
            message = f"`{token.text}` needs the name of one {what} here"
            self._fault(token.offset, message, f"{where}: what a step reads is known before the run")

    def _path(self, index: int) -> tuple[tuple[str, ...], int]:
        """The fixed part of a path that begins at a token, and the index after it."""
        parts = [self._tokens[index].text]
        at = index + 1
        while at + 1 < len(self._tokens):
            following = self._tokens[at + 1]
            if self._is(at, ".") and following.kind == "name" and not self._is(at + 2, "("):
                parts.append(following.text)
                at += 2
            elif self._is(at, "[") and following.kind in {"string", "raw"} and self._is(at + 2, "]"):
                parts.append(_unquoted(following))
                at += 3
            else:
                break
        return tuple(parts), at

    def _bound(self) -> frozenset[str]:
        found = set()
        for index in range(len(self._tokens)):
            if self._is_macro(index) and index + 3 < len(self._tokens):
                name, comma = self._tokens[index + 2], self._tokens[index + 3]
                if name.kind == "name" and comma.text == "," and name.text not in ROOTS:
                    found.add(name.text)
        return frozenset(found)

    def _is_macro(self, index: int) -> bool:
        token = self._tokens[index]
        return token.text in MACROS and self._follows_dot(index) and self._is(index + 1, "(")

    def _is_root_dot(self, index: int) -> bool:
        before = self._tokens[index - 1] if index else None
        return before is None or (before.kind == "operator" and before.text not in {")", "]", "}"})

    def _follows_dot(self, index: int) -> bool:
        return index > 0 and self._is(index - 1, ".")

    def _is(self, index: int, text: str) -> bool:
        return 0 <= index < len(self._tokens) and self._tokens[index].text == text

    def _fault(self, offset: int, message: str, remedy: str) -> None:
        self._faults.append(Fault(offset, message, remedy))


def _unquoted(token: Token) -> str:
    body = token.text
    if token.kind == "raw":
        return body[body.index(body[-1]) + 1 : -1]
    return _ESCAPED.sub(r"\1", body[body.index(body[-1]) + 1 : -1])
