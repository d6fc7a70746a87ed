"""The values of an export: a leaf on its way out, what takes it, and the text that carries it through any sink."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from mandamus.audit import leaf as leaves
from mandamus.kernel.errors import Code, MandamusError

PRODUCT = "Mandamus"
PEN = 32473
"""The private enterprise number that RFC 5612 keeps for examples: who has one of their own sets it."""

_ERROR_CHARS_MAX = 500
_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), check_circular=False).encode


@dataclass(frozen=True)
class Record:
    """A published leaf: its exact bytes, and its index in the log of that origin; ``index`` counts from 0."""

    origin: str
    index: int
    leaf: bytes

    @cached_property
    def fields(self) -> Mapping[str, Any]:
        """What the leaf says; raises ``audit_tampered`` when it is none."""
        return leaves.decode(self.leaf)


class Taker(Protocol):
    """One sink that is written to. ``batch`` is how many records it is given at once, at most 256."""

    batch: int

    def take(self, records: Sequence[Record]) -> None:
        """Return once the sink has all of them; raises ``audit_unavailable``, and then any of them may come again."""

    def close(self) -> None:
        """Let go of connections."""


def line(value: object) -> str:
    """JSON in printable ASCII on one line: no text in it can end the line, move a cursor or turn its direction."""
    return _encode(value)


def trouble(sink: str, why: str) -> MandamusError:
    """The error of a sink that did not take what it was given."""
    return MandamusError(
        Code.AUDIT_UNAVAILABLE,
        f"the sink {sink} took nothing: {visible(why)[:_ERROR_CHARS_MAX]}",
        remedy="mend the sink, then run `mandamus audit export run` again; it goes on where the sink stopped",
        context={"sink": sink},
        retryable=True,
    )


def visible(text: str) -> str:
    """A stranger's text as printable ASCII."""
    return line(text)[1:-1]
