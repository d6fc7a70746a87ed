"""Inputs: checked where they are declared, typed and bounded where they are given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from mandamus.audit.secret_forms import holds_secret
from mandamus.catalog import expression
from mandamus.kernel import canonical
from mandamus.kernel.document import EXPONENT_MAX, NUMBER_CHARS_MAX, Finding, Position
from mandamus.kernel.errors import Code, MandamusError, Problem, raise_problems
from mandamus.kernel.reader import did_you_mean

TEXT_CHARS_MAX = 4096
PATTERN_CHARS_MAX = 512
DATA_BYTES_MAX = 64 * 1024
INTEGER_MAX = 2**63 - 1
"""CEL's integers have 64 bits."""

# Decimal alone would also take 1_000, blanks around it, and digits of other scripts.
_DIGITS = re.compile(r"[-+]?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,4})?")


class InputType(StrEnum):
    """The types of an input."""

    STRING = "string"
    NUMBER = "number"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    LIST = "list"
    MAP = "map"


@dataclass(frozen=True)
class InputSpec:
    """One declared input; ``pattern`` is a regular expression in RE2 syntax, searched in the text."""

    name: str
    type: InputType
    at: Position
    required: bool = True
    default: Any = None
    pattern: str = ""
    enum: tuple[str | int | Decimal, ...] = ()
    description: str = ""


class RefusedError(ValueError):
    """A value that does not fit its declaration: ``why`` reads on from the input's name, ``remedy`` says what would."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(why)
        self.why = why
        self.remedy = remedy


def bind(specs: Sequence[InputSpec], given: Mapping[str, Any], file: str) -> dict[str, Any]:
    """A value for every declared input: given, else its default, else null when it is not required."""
    known = {spec.name: spec for spec in specs}
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    for name in given:
        if name not in known:
            at = Position(file, 1, 1)
            remedy = did_you_mean(name, known, f"the inputs are {', '.join(known) or 'none'}")
            problems.append(at.problem(Finding.UNKNOWN_NAME, f"there is no input {_show(name)}", remedy))
    for spec in specs:
        if spec.name not in given:
            if spec.required and spec.default is None:
                remedy = f"give it with --input {spec.name}=..."
                problems.append(spec.at.problem(Finding.MISSING_KEY, f"the input `{spec.name}` is required", remedy))
            values[spec.name] = spec.default
            continue
        try:
            values[spec.name] = given_value(spec, given[spec.name])
        except RefusedError as error:
            why = f"the input `{spec.name}` {error.why}"
            problems.append(spec.at.problem(Finding.WRONG_VALUE, why, error.remedy))
    raise_problems(Code.INPUT_INVALID, problems, remedy="correct the inputs; `mandamus check` shows what is declared")
    return values


def given_value(spec: InputSpec, given: Any) -> Any:
    """The typed value of what somebody gave for a run; raises ``RefusedError``, also for what is plainly a secret.

    A run keeps its inputs in the open: in rows and pages, for approvers, in evidence.
    """
    value = value_of(spec, given)
    if holds_secret(canonical.dumps(value)):
        raise RefusedError(
            "holds what looks like a secret, and inputs are shown to whoever may read the run",
            "have it named under `secrets` of the environment, and let the step read it as secrets.NAME",
        )
    return value


def value_of(spec: InputSpec, given: Any) -> Any:
    """The typed value of what was given; raises ``RefusedError``.

    Text is read as the declared type: ``true``, ``12``, ``1.5``, JSON for lists and maps.
    """
    value = _typed(str(spec.type), given)
    if isinstance(value, str):
        _check_text(spec, value)
    if spec.enum and value not in spec.enum:
        choices = ", ".join(str(choice) for choice in spec.enum)
        raise RefusedError(f"cannot be {_show(value)}", f"choose from {choices}")
    return value


def pattern_fault(pattern: str) -> str:
    """Why a pattern cannot be used, or an empty text."""
    if len(pattern) > PATTERN_CHARS_MAX:
        return f"the pattern is over {PATTERN_CHARS_MAX} characters"
    try:
        matches(pattern, "")
    except ValueError as error:
        return str(error)
    return ""


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern is found in the text, in time linear in the text whatever the pattern.

    CEL's ``matches`` is used, which is the Rust ``regex`` crate: it has no back-references and no look-around, so it
    cannot backtrack, and it refuses patterns that would compile to over 10 MB. ``$`` is the end of the text, not also
    before a last line end as in Python. Raises ``ValueError`` for a pattern it cannot read.
    """
    try:
        return bool(_matcher().execute({"text": text, "pattern": pattern}))
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        why = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), "it is too large")
        raise ValueError(f"the pattern cannot be read: {why.partition('. Check function')[0]}") from error


def _matcher() -> expression.Program:
    return expression.engine()("text.matches(pattern)")


def _check_text(spec: InputSpec, value: str) -> None:
    if len(value) > TEXT_CHARS_MAX:
        raise RefusedError(f"has {len(value)} characters", f"give at most {TEXT_CHARS_MAX}")
    if "\x00" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise RefusedError("holds a NUL or a lone surrogate", "give text without them")
    if spec.pattern and not matches(spec.pattern, value):
        raise RefusedError(f"is {_show(value)}, which does not match its pattern", f"it must match {spec.pattern}")


def _typed(wanted: str, given: Any) -> Any:
    if wanted == "string":
        if isinstance(given, str):
            return given
        raise RefusedError(f"is a string, not {_shape(given)}", "give text")
    if wanted == "boolean":
        return _boolean(given)
    if wanted in {"integer", "number"}:
        return _number(given, whole=wanted == "integer")
    return _data(wanted, given)


def _boolean(given: Any) -> bool:
    if isinstance(given, bool):
        return given
    if given in ("true", "false"):
        return bool(given == "true")
    raise RefusedError(f"is a boolean, not {_show(given)}", "give true or false")


def _number(given: Any, *, whole: bool) -> int | Decimal:
    refusal = RefusedError(
        f"is {'an integer' if whole else 'a number'}, not {_show(given)}",
        f"give a {'whole number' if whole else 'number such as 12 or 1.5'}",
    )
    if isinstance(given, bool) or not isinstance(given, (int, Decimal, str, float)):
        raise refusal
    if isinstance(given, float):
        given = repr(given)
    if isinstance(given, str) and (len(given) > NUMBER_CHARS_MAX or not _DIGITS.fullmatch(given)):
        raise refusal
    number = Decimal(given)
    if not number.is_finite() or abs(number.adjusted()) > EXPONENT_MAX:
        raise refusal
    if len(number.as_tuple().digits) > NUMBER_CHARS_MAX:
        raise refusal
    if number == number.to_integral_value() and "." not in str(given) and "e" not in str(given).lower():
        made = int(number)
        if abs(made) > INTEGER_MAX:
            raise RefusedError(f"is {_show(given)}", f"give at most {INTEGER_MAX}")
        return made
    if whole:
        raise refusal
    return number


def _data(wanted: str, given: Any) -> Any:
    kind = list if wanted == "list" else dict
    value = given
    if isinstance(given, str):
        try:
            value = canonical.loads(given.encode())
        except (MandamusError, UnicodeEncodeError):
            example = '["a", "b"]' if wanted == "list" else '{"a": 1}'
            raise RefusedError(
                f"is a {wanted}, and the text given is no JSON", f"give JSON such as {example}"
            ) from None
    if not isinstance(value, kind):
        raise RefusedError(f"is a {wanted}, not {_shape(value)}", f"give a {wanted}")
    try:
        size = len(canonical.dumps(value))
    except MandamusError as error:
        raise RefusedError(
            f"is no plain JSON: {error.message}", "give strings, numbers, booleans, lists, maps"
        ) from None
    if size > DATA_BYTES_MAX:
        raise RefusedError(f"has {size} bytes as JSON", f"give at most {DATA_BYTES_MAX}")
    return value


def _shape(value: Any) -> str:
    names = {str: "a string", bool: "a boolean", int: "an integer", list: "a list", dict: "a map", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, (Decimal, float)) else type(value).__name__)


def _show(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > 8 * NUMBER_CHARS_MAX:
        return "an enormous integer"  # Python refuses to write some of them out
    text = f"`{value}`" if isinstance(value, (str, int, Decimal, float)) else _shape(value)
    return text if len(text) <= 60 else text[:60] + "...`"
