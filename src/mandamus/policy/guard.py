"""Builtin errors as OPA has them by default: a call that errs is undefined, and the evaluation goes on without it.

The library is always strict. Strict means: OPA evaluates to the end, as it does by default, and only then gives the
first builtin error instead of the answer. So nothing of a set needs to be rewritten: a function of our own, the last
step of the query, is told the answer before it is withheld.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

TOLD = "mandamus.told"
"""The function that is told how many values the query has, and which; it exists in lenient engines only."""

ARITY = 2
"""How many values, and the array of them."""

MOCKS = "mandamus_mocks/"
"""The folder of the modules that a report adds; neither traces nor coverage show them."""

_FAILED = re.compile(rb"eval_(?:builtin|type)_error: ([a-z0-9_.]+): ")
_PACKAGE = "mandamus_mocks"
_STOPPED = b"no single answer, as with two values for a complete rule; OPA hides the reason behind "
_NOTHING = b"[0,[]]"
_ONE = re.compile(rb"\[1,\[(.*)\]\]", re.DOTALL)
_BUILTIN_ERROR = re.compile(
    rb'\{"error":\{"code":"eval_error","message":"(?:.*?: )?eval_(?:builtin|type)_error: ', re.DOTALL
)


def lenient(query: str) -> str:
    """The query that tells what this one gives; the query must be one term, with any number of ``with`` behind it.

    A comprehension around it makes it total. Whoever hears nothing knows that the evaluation stopped half-way (two
    values for a complete rule, for example), which the builtin error hides.
    """
    return f"__told__ := [__value__ | __value__ := {query}]; {TOLD}(count(__told__), __told__)"


def withheld(envelope: bytes) -> bool:
    """Whether OPA's envelope says that a builtin erred: there may be an answer behind it."""
    return _BUILTIN_ERROR.match(envelope) is not None


def envelope(calls: list[bytes]) -> bytes | None:
    """The envelope that OPA would have given by default, from the arguments `TOLD` was called with.

    None when the evaluation never came to its end, or gave what no single query gives.
    """
    if calls == [_NOTHING]:
        return b'{"result":null}'
    match = _ONE.fullmatch(calls[0]) if len(calls) == 1 else None
    return b'{"result":[{"expressions":[{"value":' + match[1] + b"}]}]}" if match else None


def stopped(withheld_envelope: bytes) -> bytes:
    """The error of a lenient evaluation that has no answer: OPA names the builtin, which is not the reason."""
    return withheld_envelope.replace(b'"message":"', b'"message":"' + _STOPPED, 1)


def failed(withheld_envelope: bytes) -> str:
    """The name of the builtin that an envelope complains of; empty when it does not say."""
    match = _FAILED.search(withheld_envelope)
    return match[1].decode() if match else ""


def mock(name: str, arity: int, errs: str) -> str:
    """A module with a function that is undefined where the builtin errs, and else what the builtin gives.

    The call is shown to the function ``errs`` as Rego text in hexadecimal digits, since JSON has no sets.
    """
    arguments = ", ".join(f"a{number}" for number in range(arity))
    return (
        f"package {_PACKAGE}\n\n{_mock_of(name)}({arguments}) := value if {{\n"
        f'\tnot {errs}("{name}", hex.encode(sprintf("%v", [[{arguments}]])))\n\tvalue := {name}({arguments})\n}}\n'
    )


def call(arguments: bytes) -> bytes:
    """The query that makes the call which ``errs`` was shown; ``arguments`` are a JSON array."""
    _, name, _, digits, _ = arguments.split(b'"')
    return b"x := " + name + b"(" + bytes.fromhex(digits.decode())[1:-1] + b")"


def mocked(query: bytes, names: Sequence[str]) -> bytes:
    """The query with every named builtin replaced by its `mock`."""
    return query + "".join(f" with {name} as data.{_PACKAGE}.{_mock_of(name)}" for name in names).encode()


def same(whole: bytes, bare: bytes) -> bool:
    """Whether OPA's own envelope holds the result of one that `envelope` made."""
    if bare == b'{"result":null}':
        return b'"result":null' in whole and b'"expressions":' not in whole
    return bare[: -len(b"}]}]}")].removeprefix(b"{") + b',"text":' in whole


def own_coverage(coverage: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """OPA's coverage without the files that are mocks; its totals count them."""
    if coverage is None:
        return None
    files = {path: lines for path, lines in coverage["files"].items() if not path.startswith(MOCKS)}
    return {**coverage, "files": files}


def own_trace(trace: Sequence[Mapping[str, Any]] | None) -> Sequence[Mapping[str, Any]] | None:
    """OPA's trace without what happened in mocks."""
    return trace and [event for event in trace if not event["location"].startswith(MOCKS)]


def _mock_of(name: str) -> str:
    return "mock_" + name.replace(".", "_")
