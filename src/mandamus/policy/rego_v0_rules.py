"""The statements of a Rego text, v0 or v1: where packages, imports, rule heads, values and bodies begin and end.

No full parser: expressions are followed only as far as is needed to know where they end. What is no statement is passed
over, so that any text gives some answer; whether the text is right is OPA's to say.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mandamus.policy.rego_v0_scan import NUMBER, RESERVED, STRING, WORD, Source

_OPERATORS = frozenset({"+", "-", "*", "/", "%", "&", "|", "==", "!=", "<", "<=", ">", ">="})


@dataclass(frozen=True)
class Import:
    """``import a.b as c``: tokens ``start`` to ``end``, the path's parts, the token of its last part, the alias."""

    start: int
    end: int
    path: tuple[str, ...]
    last: int
    alias: str

    @property
    def name(self) -> str:
        """The name it gives to the file."""
        return self.alias or self.path[-1]


@dataclass(frozen=True)
class Body:
    """``{...}`` behind a head or an ``else``; the indexes of its brackets, and whether an ``if`` stands before it."""

    opens: int
    closes: int
    marked: bool
    chained: bool = False


@dataclass
class Rule:
    """One rule with all its bodies and ``else`` branches; every number is the index of a token.

    ``parts`` are the bracketed or dotted parts behind the name as ``(first, last)`` token; ``arguments`` is the bracket
    that opens a function's arguments; ``head_end`` is behind the head's value.
    """

    start: int
    name: int
    default: bool = False
    parts: list[tuple[int, int]] = field(default_factory=list)
    arguments: int | None = None
    contains: bool = False
    value: bool = False
    marked: bool = False
    head_end: int = 0
    bodies: list[Body] = field(default_factory=list)
    end: int = 0


@dataclass
class Module:
    """The statements found, and the words among the tokens that stand there as ``if`` or ``contains``."""

    source: Source
    imports: list[Import] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    keywords: set[int] = field(default_factory=set)


def read(source: Source) -> Module:
    """All statements of a text."""
    reader = _Reader(source)
    index = 0
    while index < len(source.tokens):
        index = max(reader.statement(index), index + 1)
    return reader.module


def term_end(source: Source, index: int) -> int:
    """Behind the operand that starts here; the same index when none does."""
    start = index
    if source.word(index) in {"-", "."} and source.kind(index + 1) == NUMBER:
        index += 1
    if source.word(index) in {"(", "[", "{"}:
        if index not in source.partner:
            return start
        index = source.partner[index] + 1
    elif source.kind(index) in {NUMBER, STRING} or _is_name(source, index):
        index += 1
    else:
        return start
    return _suffixes_end(source, index)


def _is_name(source: Source, index: int) -> bool:
    return source.kind(index) == WORD and (source.word(index) not in RESERVED or source.suffixed(index))


def expression_end(source: Source, index: int) -> int:
    """Behind the operands and operators that start here; the same index when no operand does."""
    end = term_end(source, index)
    while end > index:
        after = end + 1
        if source.word(end) == ",":
            # `k, v in xs`: only with its `in` is the comma a part of the expression.
            second = _relation_end(source, after)
            if second == after or source.word(second) != "in":
                return end
            after = second + 1
        elif not is_operator(source, end):
            return end
        following = term_end(source, after)
        if following == after:
            return end
        end = following
    return end


def is_operator(source: Source, index: int) -> bool:
    """Whether an infix operator stands here, behind an operand."""
    return source.word(index) in _OPERATORS or (source.word(index) == "in" and not source.suffixed(index))


def _relation_end(source: Source, index: int) -> int:
    end = term_end(source, index)
    while end > index and source.word(end) in _OPERATORS:
        following = term_end(source, end + 1)
        if following == end + 1:
            return end
        end = following
    return end


def _suffixes_end(source: Source, index: int) -> int:
    while source.glued(index):
        if source.word(index) == "." and source.kind(index + 1) == WORD and source.glued(index + 1):
            index += 2
        elif source.word(index) in {"[", "("} and index in source.partner:
            index = source.partner[index] + 1
        else:
            break
    return index


class _Reader:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.module = Module(source)

    def statement(self, index: int) -> int:
        """The statement that starts here, into the module; the index behind it, or of the next line when it is none."""
        word = self.source.word(index)
        if word in {"package", "import"} and not self.source.suffixed(index):
            return self._package(index) if word == "package" else self._import(index)
        return self._rule(index) or self._next_line(index)

    def _package(self, index: int) -> int:
        return _suffixes_end(self.source, index + 2)

    def _import(self, index: int) -> int:
        end = _suffixes_end(self.source, index + 2)
        path, last = [], index + 1
        for at in range(index + 1, min(end, len(self.source.tokens))):
            token = self.source.tokens[at]
            if token.kind in {WORD, STRING}:
                path.append(token.text.strip('"`'))
                last = at
        alias = ""
        if self.source.word(end) == "as" and self.source.kind(end + 1) == WORD:
            alias = self.source.word(end + 1)
            end += 2
        if path:
            self.module.imports.append(Import(index, end, tuple(path), last, alias))
        return end

    def _next_line(self, index: int) -> int:
        index = self.source.partner.get(index, index) + 1
        while index < len(self.source.tokens) and not self.source.tokens[index].first:
            index = max(self.source.partner.get(index, index), index) + 1
        return index

    def _rule(self, index: int) -> int:
        """The index behind the rule, 0 when there is none."""
        rule = Rule(index, index)
        if self.source.word(index) == "default" and not self.source.suffixed(index):
            rule.default = True
            rule.name = index = index + 1
        if not _is_name(self.source, index):
            return 0
        index = self._reference(rule, index + 1)
        index = self._value(rule, index)
        rule.head_end = index
        if not rule.default:
            index = self._bodies(rule, index)
        rule.end = index
        self.module.rules.append(rule)
        return index

    def _reference(self, rule: Rule, index: int) -> int:
        """The parts behind the name; before the first, and only there, a space may stand."""
        source = self.source
        while source.glued(index) or not rule.parts:
            if source.word(index) == "." and source.kind(index + 1) == WORD and source.glued(index + 1):
                rule.parts.append((index, index + 1))
                index += 2
            elif source.word(index) == "[" and index in source.partner:
                rule.parts.append((index, source.partner[index]))
                index = source.partner[index] + 1
            elif source.word(index) == "(" and index in source.partner:
                rule.arguments = index
                return source.partner[index] + 1
            else:
                break
        return index

    def _value(self, rule: Rule, index: int) -> int:
        source = self.source
        if rule.arguments is None and not rule.default and self._is_contains(index):
            self.module.keywords.add(index)
            rule.contains = True
            return expression_end(source, index + 1)
        if source.word(index) in {"=", ":="}:
            rule.value = True
            return expression_end(source, index + 1)
        return index

    def _is_contains(self, index: int) -> bool:
        """Whether it is the keyword, and not the head of a v0 rule of that name on the next line."""
        source = self.source
        if source.word(index) != "contains":
            return False
        another = source.suffixed(index) or source.word(index + 1) in {"=", ":=", "{"}
        return not (source.tokens[index].first and another and not _said_v1(self.module))

    def _bodies(self, rule: Rule, index: int) -> int:
        rule.marked = self.source.word(index) == "if" and not self.source.suffixed(index)
        index = self._body(rule, index)
        while rule.bodies or rule.marked:
            if self.source.word(index) == "else" and not self.source.suffixed(index):
                index = self._else(rule, index + 1)
            elif self.source.word(index) == "{" and index in self.source.partner:
                rule.bodies.append(Body(index, self.source.partner[index], marked=rule.marked, chained=True))
                index = self.source.partner[index] + 1
            else:
                break
        return index

    def _else(self, rule: Rule, index: int) -> int:
        if self.source.word(index) in {"=", ":="}:
            index = expression_end(self.source, index + 1)
        return self._body(rule, index)

    def _body(self, rule: Rule, index: int) -> int:
        """``if LITERAL``, ``if {...}`` or ``{...}``; the index behind it, the same when there is none."""
        source = self.source
        marked = source.word(index) == "if" and not source.suffixed(index)
        if marked:
            self.module.keywords.add(index)
            index += 1
            end = self._literal(index)
            if source.word(index) != "{" or end != source.partner.get(index, -2) + 1:
                return end
        if source.word(index) == "{" and index in source.partner:
            rule.bodies.append(Body(index, source.partner[index], marked=marked))
            return source.partner[index] + 1
        return index

    def _literal(self, index: int) -> int:
        """Behind one literal of a v1 body without braces."""
        source = self.source
        if source.word(index) in {"not", "some", "every"} and not source.suffixed(index):
            every = source.word(index) == "every"
            index = expression_end(source, index + 1)
            while source.word(index) == ",":
                index = expression_end(source, index + 1)
            if every and source.word(index) == "{" and index in source.partner:
                index = source.partner[index] + 1
        else:
            index = expression_end(source, index)
        if source.word(index) in {"=", ":="}:
            index = expression_end(source, index + 1)
        while source.word(index) == "with":
            index = expression_end(source, index + 1)
            if source.word(index) == "as":
                index = expression_end(source, index + 1)
        return index


def _said_v1(module: Module) -> bool:
    return any(one.path[:1] in {("rego",), ("future",)} for one in module.imports)
