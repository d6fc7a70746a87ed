"""The JSON and YAML files of an OPA bundle: read exactly, and in the form that OPA hashes.

A number stays the text it came with, whatever its size. YAML is read by OPA as YAML 1.1 with rounded numbers; what
would mean one thing there and another to a reader of YAML 1.2 is refused, so that both read the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NoReturn

from mandamus.kernel import canonical, document
from mandamus.kernel.document import Finding, Kind, Node
from mandamus.kernel.errors import Code, MandamusError, Problem

YAML_NAMES = ("data.yaml", "data.yml")

_UNICODE_LINES = str.maketrans({"\u2028": "\\u2028", "\u2029": "\\u2029"})
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?P<fraction>\.[0-9]+)?(?P<exponent>[eE][-+]?[0-9]+)?")
_WORDS = frozenset(["y", "yes", "n", "no", "on", "off"])
_NUMBER_THERE = re.compile(
    r"[-+]?(?:0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)"
)
"""What OPA takes for a number when the underscores are gone."""
_UINT64_MAX = 2**64 - 1
_INT64_MIN = -(2**63)


class Number(str):
    """A JSON number as it is written."""

    __slots__ = ()


def parse_json(data: bytes) -> Any:
    """JSON with each number as `Number`; raises ``value_invalid``, with the line in its context.

    Refuses what is not UTF-8 and an object that gives a key twice.
    """
    try:
        text = data.decode("utf-8-sig")
        value = json.loads(
            text, parse_int=Number, parse_float=Number, parse_constant=_constant, object_pairs_hook=_unique
        )
    except UnicodeDecodeError as error:
        _refuse(f"it is not UTF-8 at byte {error.start}", 1)
    except json.JSONDecodeError as error:
        _refuse(f"it is not JSON: {error.msg}", error.lineno)
    except _TwiceError as error:
        _refuse(f"it gives the key {error.args[0]!r} twice", _line_of_twice(data))
    except RecursionError:
        _refuse("it is nested too deeply", 1)
    except ValueError as error:
        _refuse(f"it is not JSON: {error}", 1)
    if _depth(value) > canonical.DEPTH_MAX:
        _refuse("it is nested too deeply", 1)
    return value


def plain(value: Any) -> Any:
    """A value of `parse_json` as everybody else takes it: integers of any size, fractions as ``Decimal``."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, Number):
        return Decimal(value) if set(value) & set(".eE") else int(value)
    return value


def parse_yaml(data: bytes, file: str) -> tuple[Any, list[Problem]]:
    """The value of a data file in YAML, as `parse_json` gives it, and every problem in it."""
    try:
        node = document.parse(data, file)
    except MandamusError as error:
        found = error.context.get("problems")
        listed = found if isinstance(found, list) else []
        return {}, [Problem(**each) for each in listed]
    problems: list[Problem] = []
    return _value(node, problems), problems


def json_text(value: Any) -> str:
    """A value of `parse_json` or `parse_yaml` as the text of a ``data.json``."""
    return canonical.dumps(plain(value)).decode()


def hashed_form(name: str, data: bytes) -> bytes:
    """What OPA hashes of a data file or manifest: JSON, keys sorted, without white space, numbers as they stand.

    Raises ``value_invalid`` where OPA could read the file otherwise than we do.
    """
    if name not in YAML_NAMES:
        value = parse_json(data)
    else:
        value, problems = parse_yaml(data, name)
        if problems:
            _refuse(problems[0].message, problems[0].line)
    try:
        return "".join(_walk(value)).encode()
    except UnicodeEncodeError:
        _refuse("a text in it holds half a character (a lone surrogate)", 1)


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [
            item
            for each in level
            if isinstance(each, (dict, list))
            for item in (each.values() if isinstance(each, dict) else each)
        ]
    return depth


def _walk(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield "{"
        for index, key in enumerate(sorted(value)):
            yield f"{',' if index else ''}{_text(key)}:"
            yield from _walk(value[key])
        yield "}"
    elif isinstance(value, list):
        yield "["
        for index, item in enumerate(value):
            yield "," if index else ""
            yield from _walk(item)
        yield "]"
    elif isinstance(value, Number):
        yield str(value)
    else:
        yield _text(value)


def _text(value: Any) -> str:
    """A string, boolean or null as Go's encoder writes it, which spares ``<>&`` and escapes two separators."""
    return json.dumps(value, ensure_ascii=False).translate(_UNICODE_LINES)


class _TwiceError(Exception):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        raise _TwiceError(next(key for key, _ in pairs if key in seen or seen.add(key)))  # type: ignore[func-returns-value]
    return made


def _line_of_twice(data: bytes) -> int:
    """The parser of YAML, of which JSON is nearly a part, knows the line; it may be stopped by other things first."""
    _, problems = parse_yaml(data, "")
    return next((problem.line for problem in problems if problem.code == Finding.DUPLICATE_KEY), 1)


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _value(node: Node, problems: list[Problem]) -> Any:
    if node.kind is Kind.MAP:
        for key in node.fields:
            at = node.key_at(key)
            # Only where the key stands as it is written is it without quotes.
            if _at(node, at.line, at.col).startswith(key) and _unclear(key):
                problems.append(
                    at.problem("data_invalid", f"the key {key} is not the same in every YAML", "put it in quotes")
                )
        return {key: _value(child, problems) for key, child in node.fields.items()}
    if node.kind is Kind.LIST:
        return [_value(child, problems) for child in node.elements]
    return _plain_scalar(node, problems) if node.style == "" else node.value


def _at(node: Node, line: int, col: int) -> str:
    return node.source.text.split("\n", line)[line - 1][col - 1 :]


def _unclear(text: str) -> bool:
    return text.lower() in _WORDS or _NUMBER_THERE.fullmatch(text.replace("_", "")) is not None


def _plain_scalar(node: Node, problems: list[Problem]) -> Any:
    text = node.source.text[node.start : node.end].strip()
    if node.value is None or isinstance(node.value, bool):
        return node.value
    number = _NUMBER.fullmatch(text)
    if number is None:
        if _unclear(text):
            remedy = "put it in quotes, or write the number as in JSON"
            problems.append(node.at.problem("data_invalid", f"{text} is not the same in every YAML", remedy))
        return node.value
    made = _as_go(text, whole=not (number["fraction"] or number["exponent"]))
    if made is None:
        remedy = "write it in a data.json, which keeps it exactly"
        problems.append(node.at.problem("data_invalid", f"OPA would round {text[:40]}", remedy))
        return 0
    return Number(made)


def _as_go(text: str, *, whole: bool) -> str | None:
    """A number as it comes out of Go's parser and encoder, or None where that is another number."""
    if whole:
        return str(int(text)) if len(text) < 21 and _INT64_MIN <= int(text) <= _UINT64_MAX else None
    value = float(text)
    shortest = Decimal(repr(value))
    if not shortest.is_finite() or shortest != Decimal(text):
        return None
    if value == 0 or 1e-6 <= abs(value) < 1e21:
        return f"{shortest:f}".removesuffix(".0")
    mantissa, _, exponent = f"{shortest.normalize():e}".partition("e")
    return f"{mantissa}e{exponent[0]}{exponent[1:]}"


def _refuse(message: str, line: int) -> NoReturn:
    raise MandamusError(Code.VALUE_INVALID, message, remedy="mend the file", context={"line": line})
