"""YAML documents as nodes that know their file, line and column; bytes in, nodes out.

PyYAML's C parser (libyaml) reads the syntax; scalars follow the core schema of YAML 1.2.2 (section 10.3.2), so ``no``
is a string and ``012`` is twelve. What makes a document mean something other than what a reviewer sees, or cost more
than its size, is refused: anchors, aliases, tags, merge keys, duplicate keys, directives, control and bidirectional
characters. The tree is built from events with an explicit stack, so that no depth of nesting can exhaust the C stack.
"""

from __future__ import annotations

import functools
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, NoReturn

import yaml
from yaml import events

from mandamus.kernel.errors import Code, Problem, raise_problems

BYTES_MAX = 4 * 1024 * 1024
NODES_MAX = 200_000
DEPTH_MAX = 50
PROBLEMS_MAX = 100
NUMBER_CHARS_MAX = 64
EXPONENT_MAX = 400
EXPRESSION_OPEN = "${{"

_REMEDY = "correct the file; `mandamus check FILE` shows every problem at once"

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_OCT = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_NUMERIC_START = frozenset("0123456789+-.")

# C0 and C1 controls except tab and line ends, the line separators only YAML 1.1 knows (they would shift every line
# number), non-characters, and the bidirectional controls that make text read differently from what it does
# (CVE-2021-42574).
_HIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]")


class Kind(StrEnum):
    """The three shapes a node can have."""

    MAP = "map"
    LIST = "list"
    SCALAR = "scalar"


class Finding(StrEnum):
    """The ``code`` of a problem in a document; the reference page of workflows lists them."""

    SYNTAX = "syntax"
    LIMIT = "limit"
    HIDDEN_CHARACTER = "hidden-character"
    REFUSED_YAML = "refused-yaml"
    DUPLICATE_KEY = "duplicate-key"
    UNKNOWN_KEY = "unknown-key"
    MISSING_KEY = "missing-key"
    WRONG_TYPE = "wrong-type"
    WRONG_VALUE = "wrong-value"
    EXPRESSION = "expression"
    EXPRESSION_REFUSED = "expression-refused"
    UNKNOWN_NAME = "unknown-name"
    NOT_NEEDED = "not-needed"
    CYCLE = "cycle"


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a file; ``line`` and ``col`` count from 1, columns in code points."""

    file: str
    line: int
    col: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.col}"

    def problem(self, code: str, message: str, remedy: str) -> Problem:
        """A finding at this place."""
        return Problem(self.file, self.line, self.col, code, message, remedy)


@dataclass(frozen=True, slots=True)
class Source:
    """The text that positions point into."""

    file: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One value of a document.

    ``value`` is a ``dict[str, Node]`` for a map, a ``list[Node]`` for a list, else ``str | int | bool | Decimal |
    None``. ``start`` and ``end`` delimit the node in ``source.text``; ``style`` is YAML's: empty for plain, or one of
    ``' " | >``. ``keys`` gives the line and column of each key of a map.
    """

    kind: Kind
    value: Any
    source: Source
    line: int
    col: int
    start: int = 0
    end: int = 0
    style: str = ""
    keys: dict[str, tuple[int, int]] = field(default_factory=dict, repr=False)

    @property
    def file(self) -> str:
        """The file the node stands in."""
        return self.source.file

    @property
    def at(self) -> Position:
        """Where the node begins."""
        return Position(self.source.file, self.line, self.col)

    @property
    def fields(self) -> Mapping[str, Node]:
        """The values of a map by key, in the file's order; empty for other kinds."""
        return self.value if self.kind is Kind.MAP else {}

    @property
    def elements(self) -> Sequence[Node]:
        """The elements of a list; empty for other kinds."""
        return self.value if self.kind is Kind.LIST else ()

    @property
    def late(self) -> bool:
        """Whether the node is text with a ``${{ }}`` in it, whose value only a run knows."""
        return isinstance(self.value, str) and EXPRESSION_OPEN in self.value

    @property
    def shape(self) -> str:
        """The kind of value in words a user reads: map, list, string, integer, number, boolean or null."""
        if self.kind is not Kind.SCALAR:
            return str(self.kind)
        if isinstance(self.value, bool):
            return "boolean"
        names = {str: "string", int: "integer", Decimal: "number"}
        return names.get(type(self.value), "null")

    def key_at(self, key: str) -> Position:
        """Where a key of this map stands."""
        line, col = self.keys[key]
        return Position(self.source.file, line, col)

    def plain(self) -> Any:
        """The value as JSON-ready data, fractions as ``Decimal``."""
        if self.kind is Kind.MAP:
            return {key: node.plain() for key, node in self.value.items()}
        if self.kind is Kind.LIST:
            return [node.plain() for node in self.value]
        return self.value

    def scalars(self) -> Iterator[Node]:
        """Every scalar below this node (and itself), in the file's order."""
        if self.kind is Kind.SCALAR:
            yield self
            return
        for child in self.value.values() if self.kind is Kind.MAP else self.value:
            yield from child.scalars()

    def locate(self, offset: int) -> Position:
        """The place in the file of a code point of this scalar's string, whatever its quoting, folding or escapes.

        Exact for characters that are not white space; an offset on white space or past the end gives the place just
        after the last character before it.
        """
        places = _trace(self)
        index = places[min(offset, len(places) - 1)]
        text = self.source.text
        line_start = text.rfind("\n", 0, index) + 1
        line = self.line + text.count("\n", self.start, index)
        return Position(self.source.file, line, index - line_start + 1)


def parse(data: bytes, file: str) -> Node:
    """Parse one YAML document; ``file`` is the name its positions carry.

    At most 4 MiB, 200,000 nodes and 50 levels. Accepts a UTF-8 byte order mark and CRLF. Raises ``document_invalid``
    with every finding as ``file:line:col: code: message (remedy)``; a syntax error ends the list.
    """
    source = Source(file, _text(data, file))
    return _Builder(source).build()


def scalar(text: str) -> str | int | bool | Decimal | None:
    """The value of a plain scalar by the core schema of YAML 1.2.2; fractions become ``Decimal``.

    Raises ``ValueError`` for infinities, NaN and numbers too long to be meant.
    """
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if text[0] not in _NUMERIC_START:
        return text
    return _number(text)


def _number(text: str) -> str | int | Decimal:
    if _SPECIAL.fullmatch(text):
        raise ValueError(f"{text} is not a number JSON can hold")
    kind = next((base for base, form in ((10, _INT), (8, _OCT), (16, _HEX)) if form.fullmatch(text)), None)
    if kind is None and not _FLOAT.fullmatch(text):
        return text
    if len(text) > NUMBER_CHARS_MAX:
        raise ValueError(f"a number of {len(text)} characters; at most {NUMBER_CHARS_MAX} are read as a number")
    if kind is not None:
        return int(text[2:] if kind != 10 else text, kind)
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"{text} is out of range") from error
    if abs(number.adjusted()) > EXPONENT_MAX:
        raise ValueError(f"{text} is out of range")
    return number


def _text(data: bytes, file: str) -> str:
    """The document's text, or ``document_invalid`` for what no later stage should have to see."""
    if len(data) > BYTES_MAX:
        size = f"more than {BYTES_MAX // 1024 // 1024} MiB"
        _fail(Position(file, 1, 1), Finding.LIMIT, f"the file has {size}", "move large data into a file of its own")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        _fail(
            _end_of(file, before),
            Finding.SYNTAX,
            f"byte 0x{data[error.start]:02x} is not UTF-8",
            "save the file as UTF-8",
        )
    problems = []
    for match in _HIDDEN.finditer(text):
        at = _end_of(file, text[: match.start()])
        problems.append(
            at.problem(
                Finding.HIDDEN_CHARACTER,
                f"the character U+{ord(match.group()):04X} is invisible or a control character",
                'delete it; inside double quotes an escape such as "\\u2028" or "\\x1b" writes it visibly',
            )
        )
        if len(problems) == PROBLEMS_MAX:
            break
    raise_problems(Code.DOCUMENT_INVALID, problems, remedy=_REMEDY)
    return text


def _end_of(file: str, before: str) -> Position:
    return Position(file, before.count("\n") + 1, len(before) - before.rfind("\n"))


def _fail(at: Position, finding: Finding, message: str, remedy: str) -> NoReturn:
    raise_problems(Code.DOCUMENT_INVALID, [at.problem(finding, message, remedy)], remedy=_REMEDY)
    raise AssertionError("a list with a problem always raises")


class _Builder:
    """Builds the tree from parse events and gathers what is refused."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._problems: list[Problem] = []
        self._open: list[Node] = []
        self._key: list[str | None] = []
        self._root: Node | None = None
        self._nodes = 0
        self._documents = 0

    def build(self) -> Node:
        loader = yaml.CSafeLoader(self._source.text)
        try:
            while loader.check_event():
                self._take(loader.get_event())
        except yaml.YAMLError as error:
            self._problems.append(_syntax(self._source, error))
        finally:
            loader.dispose()
        if self._root is None and not self._problems:
            self._refuse((1, 1), Finding.SYNTAX, "the file holds no document", "write the document, or delete the file")
        raise_problems(Code.DOCUMENT_INVALID, self._problems, remedy=_REMEDY)
        assert self._root is not None  # noqa: S101 - for mypy: without a root there was a problem
        return self._root

    def _take(self, event: Any) -> None:
        kind = type(event)
        if kind is events.ScalarEvent:
            self._scalar(event)
        elif kind is events.MappingStartEvent or kind is events.SequenceStartEvent:
            self._start(event, Kind.MAP if kind is events.MappingStartEvent else Kind.LIST)
        elif kind is events.MappingEndEvent or kind is events.SequenceEndEvent:
            self._open.pop()
            self._key.pop()
        elif kind is events.AliasEvent:
            self._refused(event, f"the alias *{event.anchor}", "write the value out where it is used")
            self._place(self._node(event, Kind.SCALAR, None))
        elif kind is events.DocumentStartEvent:
            self._document(event)

    def _document(self, event: Any) -> None:
        self._documents += 1
        if self._documents == 2:
            self._refuse(
                _mark(event), Finding.REFUSED_YAML, "a second document begins here", "keep one document in one file"
            )
            self._stop()
        if event.version or event.tags:
            self._refused(event, "a % directive", "delete the line; documents are read as YAML 1.2")

    def _start(self, event: Any, kind: Kind) -> None:
        if len(self._open) == DEPTH_MAX:
            self._refuse(
                _mark(event), Finding.LIMIT, f"nested more than {DEPTH_MAX} levels deep", "flatten the document"
            )
            self._stop()
        self._properties(event)
        if self._is_key():
            self._refuse(_mark(event), Finding.SYNTAX, f"a {kind} is no key", "use plain text as the key")
            self._stop()
        node = self._node(event, kind, {} if kind is Kind.MAP else [])
        self._place(node)
        self._open.append(node)
        self._key.append(None)

    def _scalar(self, event: Any) -> None:
        self._properties(event)
        if self._is_key():
            self._take_key(event)
            return
        value = event.value
        if not event.style and event.tag is None:
            value = self._resolve(event)
        self._place(self._node(event, Kind.SCALAR, value))

    def _resolve(self, event: Any) -> Any:
        try:
            return scalar(event.value)
        except ValueError as error:
            self._refuse(_mark(event), Finding.WRONG_VALUE, str(error), "put it in quotes if it is text")
            return None

    def _take_key(self, event: Any) -> None:
        key, where = event.value, _mark(event)
        parent = self._open[-1]
        if not event.style and key == "<<":
            self._refused(event, "the merge key <<", "write the keys out")
        elif not event.style and not isinstance(self._resolve(event), str):
            what = "no text" if key else "empty"
            self._refuse(where, Finding.WRONG_TYPE, f"the key {key} is {what}", f'put it in quotes: "{key}"')
        elif key in parent.value:
            first = parent.key_at(key)
            self._refuse(
                where,
                Finding.DUPLICATE_KEY,
                f"the key {_show(key)} stands twice; first at line {first.line}",
                "keep one of the two",
            )
        parent.keys.setdefault(key, where)
        self._key[-1] = key

    def _properties(self, event: Any) -> None:
        if event.anchor is not None:
            self._refused(event, f"the anchor &{event.anchor}", "write the value out where it is used")
        if event.tag is not None:
            self._refused(event, f"the tag {_show(event.tag)}", "delete the tag; quote what must stay text")

    def _is_key(self) -> bool:
        return bool(self._open) and self._open[-1].kind is Kind.MAP and self._key[-1] is None

    def _node(self, event: Any, kind: Kind, value: Any) -> Node:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            self._refuse(_mark(event), Finding.LIMIT, f"more than {NODES_MAX} values", "split the document")
            self._stop()
        start, end = event.start_mark, event.end_mark
        style = getattr(event, "style", None) or ""
        return Node(kind, value, self._source, start.line + 1, start.column + 1, start.index, end.index, style)

    def _place(self, node: Node) -> None:
        if not self._open:
            self._root = node
            return
        parent = self._open[-1]
        if parent.kind is Kind.LIST:
            parent.value.append(node)
            return
        parent.value.setdefault(self._key[-1], node)
        self._key[-1] = None

    def _refused(self, event: Any, what: str, remedy: str) -> None:
        self._refuse(_mark(event), Finding.REFUSED_YAML, f"{what} is not accepted", remedy)

    def _refuse(self, where: tuple[int, int], finding: Finding, message: str, remedy: str) -> None:
        self._problems.append(Position(self._source.file, *where).problem(finding, message, remedy))
        if len(self._problems) >= PROBLEMS_MAX:
            self._stop()

    def _stop(self) -> NoReturn:
        raise_problems(Code.DOCUMENT_INVALID, self._problems, remedy=_REMEDY)
        raise AssertionError("a list with a problem always raises")


def _mark(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _show(text: str) -> str:
    return text if len(text) <= 60 else text[:60] + "..."


def _syntax(source: Source, error: yaml.YAMLError) -> Problem:
    """A problem from libyaml's error; a tab used as indentation gets its own words."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return Position(source.file, 1, 1).problem(Finding.SYNTAX, "not valid YAML", "check the file's encoding")
    at = Position(source.file, mark.line + 1, mark.column + 1)
    lines = source.text.split("\n", mark.line + 1)
    line = lines[mark.line] if mark.line < len(lines) else ""
    tab = line.find("\t")
    if 0 <= tab <= mark.column and not line[:tab].strip(" \t-?:"):
        at = Position(source.file, mark.line + 1, tab + 1)
        return at.problem(Finding.SYNTAX, "a tab is used as indentation", "indent with spaces")
    if "exceeded maximum nesting depth" in str(error):
        return at.problem(Finding.LIMIT, f"nested more than {DEPTH_MAX} levels deep", "flatten the document")
    problem = getattr(error, "problem", None) or "not valid YAML"
    context = getattr(error, "context", None)
    message = f"{problem} {context}" if context else problem
    return at.problem(Finding.SYNTAX, message, "check quotes, brackets and indentation on this line and the one above")


_ESCAPE_CHARS = {"x": 3, "u": 5, "U": 9}


@functools.lru_cache(maxsize=1)
def _trace(node: Node) -> Sequence[int]:
    """Index in the source of every code point of the value, and of its end; kept for the many asked of one scalar.

    White space is skipped on both sides, since folding and indentation change only that; its place is just after the
    last character before it.
    """
    text, value, end = node.source.text, node.value, node.end
    index = node.start + (1 if node.style in {"'", '"'} else 0)
    if node.style in {"|", ">"}:
        index = text.find("\n", node.start, end) + 1
    places = array("L")
    for char in value:
        if char.isspace():
            places.append(index)
            continue
        at = _skip_blank(text, index, end, node.style)
        places.append(at)
        index = at + _width(text, at, node.style)
    places.append(index)
    return places


def _skip_blank(text: str, index: int, end: int, style: str) -> int:
    while index < end:
        if text[index].isspace():
            index += 1
        elif style == '"' and text[index] == "\\" and text[index + 1] in "nrtveab0N_LP \t\r\n":
            index += 2
        else:
            break
    return index


def _width(text: str, index: int, style: str) -> int:
    if style == "'" and text.startswith("''", index):
        return 2
    if style == '"' and text[index] == "\\":
        return 1 + _ESCAPE_CHARS.get(text[index + 1], 1)
    return 1
