"""Builtin errors as OPA has them by default: a call that errs is undefined, and the evaluation goes on without it.

The library is always strict. Strict means: OPA evaluates to the end, as it does by default, and only then gives the
first builtin error instead of the answer. So nothing of a set needs to be rewritten: a function of our own, the last
step of the query, is told the answer before it is withheld.
"""

from __future__ import annotations

import re

TOLD = "mandamus.told"
"""The function that is told how many values the query has, and which; it exists in lenient engines only."""

ARITY = 2
"""How many values, and the array of them."""

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
