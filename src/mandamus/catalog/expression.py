"""CEL in ``${{ }}``: found with positions, checked before a run, evaluated against what the run knows.

An expression is total: no loops but CEL's macros, no I/O, no clock. What it refers to is read off its text, so that a
workflow can be checked without running it. A plain path (``steps.a.outputs.id``) never goes through CEL: its value
comes back as it is, of whatever size and type.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from importlib import machinery, util
from typing import Any, Protocol, cast

from mandamus.catalog import scan as scanner
from mandamus.catalog.scan import Reference, Scan
from mandamus.kernel.document import EXPRESSION_OPEN, Finding, Kind, Node, Position
from mandamus.kernel.errors import Code, MandamusError, Problem
from mandamus.kernel.reader import did_you_mean

TEXT_CHARS_MAX = 1_000_000
TEMPLATE_CHARS_MAX = 64 * 1024
TEMPLATE_EXPRESSIONS_MAX = 200
COST_MAX = 100_000_000
ELEMENTS_MAX = 4_000

Scope = Mapping[str, Any]
"""What a run knows: ``inputs``, ``steps``, ``env``, ``run`` and, at the last moment only, ``secrets``."""


class Program(Protocol):
    """A compiled CEL expression."""

    def execute(self, scope: Mapping[str, Any], /) -> Any:
        """The value in this scope."""
        ...


@functools.cache
def engine() -> Callable[[str], Program]:
    """CEL's ``compile``, from the extension module alone.

    The package's own ``__init__`` imports its command line with three terminal libraries: 0.7 s against 0.02 s.
    """
    package = util.find_spec("cel")
    if package is None or package.submodule_search_locations is None:
        raise MandamusError(
            Code.INTERNAL, "the package common-expression-language is not installed", remedy="install Mandamus again"
        )
    spec = machinery.PathFinder.find_spec("cel.cel", package.submodule_search_locations)
    if spec is None or spec.loader is None:
        raise MandamusError(
            Code.INTERNAL, "the package common-expression-language is damaged", remedy="install Mandamus again"
        )
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return cast("Callable[[str], Program]", module.compile)


@dataclass(frozen=True, eq=False)
class Expression:
    """One ``${{ }}``: its text, where it begins in the file, and what it refers to."""

    text: str
    at: Position
    scan: Scan
    program: Program | None

    def value(self, scope: Scope) -> Any:
        """JSON-ready value in the scope, fractions as ``Decimal``; raises ``expression_invalid``."""
        if self.scan.plain_path:
            return self._look_up(scope, self.scan.references[0])
        for reference in self.scan.references:
            if not self.scan.tolerant:
                self._look_up(scope, reference)
        if self.program is None:
            raise self._fail("it does not compile", "run `mandamus check`")
        given = self._narrow(scope)
        try:
            return self._from_cel(self.program.execute(given))
        except MandamusError:
            raise
        except BaseException as error:  # a panic of the engine is a BaseException
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            raise self._fail(self._words(error), "correct the expression, or the value it was given") from error

    def _words(self, error: BaseException) -> str:
        if self.scan.roots & {"secrets"}:
            return "it failed; the reason is not shown because it reads a secret"
        if isinstance(error, KeyError):
            return f"there is no `{error.args[0]}`"
        return str(error).split("\n", 1)[0][:300] or type(error).__name__

    def _look_up(self, scope: Scope, reference: Reference) -> Any:
        value: Any = scope
        for depth, part in enumerate(reference.path):
            if isinstance(value, Mapping) and part in value:
                value = value[part]
                continue
            above = ".".join(reference.path[:depth]) or "the scope"
            known = [str(key) for key in value] if isinstance(value, Mapping) else []
            remedy = did_you_mean(part, known, f"see what `{above}` holds in `mandamus runs show`")
            raise self._fail(f"there is no `{part}` in {above}", remedy)
        return value

    def _narrow(self, scope: Scope) -> dict[str, Any]:
        """The part of the scope it refers to, in CEL's types: converting all of it would make a long run quadratic."""
        whole = {ref.path[0] for ref in self.scan.references if len(ref.path) == 1}
        given: dict[str, Any] = {root: scope.get(root, {}) for root in whole}
        for reference in self.scan.references:
            root = reference.path[0]
            source = scope.get(root, {})
            if root not in whole:
                part = given.setdefault(root, {})
                if isinstance(source, Mapping) and reference.path[1] in source:
                    part[reference.path[1]] = source[reference.path[1]]
        size, elements = _measure(given)
        self._afford(size + len(self.text), elements)
        return cast("dict[str, Any]", _to_cel(given))

    def _afford(self, size: int, elements: int) -> None:
        """Refuse what could take seconds: CEL copies on every ``+`` and its ``map`` takes the square of the length."""
        uses = max(1, self.scan.uses)
        rounds = 1
        if self.scan.macros:
            elements = elements * uses + len(self.text) // 2
            if elements > ELEMENTS_MAX:
                raise self._fail(f"it goes over up to {elements} elements; {ELEMENTS_MAX} are allowed", "use less data")
            rounds = max(1, elements)
        if size * rounds * uses ** max(1, self.scan.macros) > COST_MAX:
            raise self._fail("it could make too much data", "use less data, or shape the data in a script step")

    def _from_cel(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int)):
            return value
        if isinstance(value, str):
            if len(value) > TEXT_CHARS_MAX:
                raise self._fail("it makes a text that is too long", f"keep it under {TEXT_CHARS_MAX} characters")
            return value
        if isinstance(value, float):
            made = Decimal(repr(value))
            if not made.is_finite():
                raise self._fail(f"its value is {value}", "check for a division by zero")
            return made
        return self._from_cel_other(value)

    def _from_cel_other(self, value: Any) -> Any:
        if isinstance(value, (datetime, timedelta)):
            return _time_text(value)
        if isinstance(value, list):
            return [self._from_cel(item) for item in value]
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {key: self._from_cel(item) for key, item in value.items()}
        what = "a map with keys that are no strings" if isinstance(value, dict) else type(value).__name__
        raise self._fail(f"its value is {what}", "make it a string, number, boolean, list or map with string keys")

    def _fail(self, why: str, remedy: str) -> MandamusError:
        return failure(self.at, self.text, why, remedy)


def failure(at: Position, text: str, why: str, remedy: str) -> MandamusError:
    """``expression_invalid`` at a place in the file."""
    shown = text if len(text) <= 80 else text[:80] + "..."
    return MandamusError(
        Code.EXPRESSION_INVALID,
        f"{at}: ${{{{ {shown} }}}}: {why}",
        remedy=remedy,
        context={"file": at.file, "line": at.line, "col": at.col},
    )


@dataclass(frozen=True, eq=False)
class Template:
    """Text with expressions in it. A single expression with no text around it keeps the type of its value."""

    parts: tuple[str | Expression, ...]
    at: Position

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """The expressions, in order."""
        return tuple(part for part in self.parts if isinstance(part, Expression))

    def evaluate(self, scope: Scope) -> Any:
        """The value in the scope; raises ``expression_invalid``, also for null or a list pasted into text."""
        if len(self.parts) == 1 and isinstance(self.parts[0], Expression):
            return self.parts[0].value(scope)
        return "".join(part if isinstance(part, str) else _pasted(part, scope) for part in self.parts)

    def references(self) -> frozenset[str]:
        """Dotted paths the expressions read, such as ``steps.bucket.outputs.name``."""
        return frozenset(".".join(ref.path) for made in self.expressions for ref in made.scan.references)

    def __str__(self) -> str:
        return "".join(part if isinstance(part, str) else f"${{{{ {part.text} }}}}" for part in self.parts)


def parse(node: Node, problems: list[Problem]) -> Template | str:
    """A template from a string node, or the string itself when it has no ``${{``; notes what is wrong.

    A text with expressions has at most 64 KiB and 200 of them: reading one costs more than its size.
    """
    text: str = node.value
    if EXPRESSION_OPEN not in text:
        return text
    if len(text) > TEMPLATE_CHARS_MAX or text.count(EXPRESSION_OPEN) > TEMPLATE_EXPRESSIONS_MAX:
        what = f"{TEMPLATE_CHARS_MAX} characters or {TEMPLATE_EXPRESSIONS_MAX} expressions"
        remedy = "keep the text in a file, and give it fewer values"
        problems.append(node.at.problem(Finding.LIMIT, f"a text with expressions is over {what}", remedy))
        return text
    parts: list[str | Expression] = []
    position = 0
    while (begin := text.find(EXPRESSION_OPEN, position)) >= 0:
        if begin > position:
            parts.append(text[position:begin])
        found = scanner.expression(text, begin + len(EXPRESSION_OPEN))
        parts.append(_compile(node, found, problems))
        if found.end is None:
            return Template(tuple(parts), node.at)
        position = found.end
    if position < len(text):
        parts.append(text[position:])
    return Template(tuple(parts), node.at)


def resolve(spec: Any, scope: Scope) -> Any:
    """The spec with every template replaced by its value; raises ``expression_invalid`` at the first that fails."""
    if isinstance(spec, Template):
        return spec.evaluate(scope)
    if isinstance(spec, Mapping):
        return {key: resolve(value, scope) for key, value in spec.items()}
    if isinstance(spec, (list, tuple)):
        return [resolve(value, scope) for value in spec]
    return spec


def references_of(spec: Any) -> frozenset[str]:
    """Dotted paths read by any template in a spec."""
    if isinstance(spec, Template):
        return spec.references()
    children: tuple[Any, ...] = ()
    if isinstance(spec, Mapping):
        children = tuple(spec.values())
    elif isinstance(spec, (list, tuple)):
        children = tuple(spec)
    return frozenset[str]().union(*(references_of(child) for child in children))


def read(node: Node, problems: list[Problem]) -> Any:
    """A node as JSON-ready data whose strings with ``${{ }}`` are templates."""
    if node.kind is Kind.MAP:
        return {key: read(child, problems) for key, child in node.fields.items()}
    if node.kind is Kind.LIST:
        return [read(child, problems) for child in node.elements]
    return parse(node, problems) if isinstance(node.value, str) else node.value


def _compile(node: Node, found: Scan, problems: list[Problem]) -> Expression:
    at = node.locate(found.begin)
    before = len(problems)
    problems += [node.locate(f.offset).problem(Finding.EXPRESSION, f.message, f.remedy) for f in found.faults]
    program: Program | None = None
    if len(problems) == before and not found.plain_path:
        try:
            program = engine()(found.text)
        except ValueError as error:
            offset, why = _syntax(str(error), found.text)
            remedy = 'write CEL, such as inputs.name == "x" or inputs.count + 1'
            problems.append(node.locate(found.begin + offset).problem(Finding.EXPRESSION, why, remedy))
        except BaseException as error:  # a panic of the engine is a BaseException
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            problems.append(at.problem(Finding.EXPRESSION, "the expression cannot be read", "simplify it"))
    return Expression(found.text, at, found, program)


def _syntax(message: str, text: str) -> tuple[int, str]:
    """Offset and words of CEL's syntax error, whose form is ``ERROR: <input>:LINE:COL: words``."""
    _, _, rest = message.partition("ERROR: <input>:")
    line, _, rest = rest.partition(":")
    col, _, words = rest.partition(":")
    if not (line.isdigit() and col.isdigit()):
        return 0, "not a CEL expression"
    lines = text.split("\n")
    offset = sum(len(each) + 1 for each in lines[: int(line) - 1]) + int(col) - 1
    why = words.split("\n", 1)[0].strip().removeprefix("Syntax error: ").partition(" expecting ")[0]
    return min(offset, len(text)), "the expression ends too early" if "'<EOF>'" in why else why


def _time_text(value: datetime | timedelta) -> str:
    """RFC 3339 for a moment, CEL's form (``3600s``) for a duration."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return f"{value.total_seconds():f}".rstrip("0").rstrip(".") + "s"


def _pasted(made: Expression, scope: Scope) -> str:
    value = made.value(scope)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, Decimal)):
        return str(value)
    what = "null" if value is None else "a list" if isinstance(value, list) else "a map"
    raise failure(made.at, made.text, f"its value is {what}, which has no text form", "use the expression on its own")


def _measure(value: Any) -> tuple[int, int]:
    """Characters in all, and the length of the longest list or map."""
    size, longest, stack = 0, 0, [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            size += len(item)
        elif isinstance(item, Mapping):
            size += sum(len(str(key)) for key in item)
            longest = max(longest, len(item))
            stack.extend(item.values())
        elif isinstance(item, (list, tuple)):
            longest = max(longest, len(item))
            stack.extend(item)
        else:
            size += 8
    return size, longest


def _to_cel(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _to_cel(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_cel(item) for item in value]
    if isinstance(value, Decimal):
        return float(value)
    return value
