"""Typed identifiers: UUIDv7 (RFC 9562) shown with the prefix of their kind, as in ``run_06f3...``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NewType

from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError

RunId = NewType("RunId", str)
StepId = NewType("StepId", str)
DecisionId = NewType("DecisionId", str)
ApprovalId = NewType("ApprovalId", str)
ExemptionId = NewType("ExemptionId", str)
Digest = NewType("Digest", str)
"""``sha256:`` and 64 lower-case hex digits."""

Entropy = Callable[[int], bytes]
"""Gives that many unpredictable bytes; bootstrap hands in the system's source, tests a seeded one."""

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(high + low for high in _ALPHABET for low in _ALPHABET)
"""Two digits at a time: every event gets an id."""
_FORM = re.compile(r"[a-z]{2,8}_[0-9a-hjkmnp-tv-z]{26}")
_DIGEST_FORM = re.compile(r"sha256:[0-9a-f]{64}")


class Ids:
    """Makes identifiers whose text order is their time order (to the millisecond)."""

    def __init__(self, clock: Clock, entropy: Entropy) -> None:
        self._clock = clock
        self._entropy = entropy

    def run(self) -> RunId:
        """A new run id."""
        return RunId(self.new("run"))

    def decision(self) -> DecisionId:
        """A new decision id."""
        return DecisionId(self.new("dec"))

    def approval(self) -> ApprovalId:
        """A new approval id."""
        return ApprovalId(self.new("apr"))

    def exemption(self) -> ExemptionId:
        """A new exemption id."""
        return ExemptionId(self.new("exm"))

    def new(self, prefix: str) -> str:
        """``prefix_`` and a UUIDv7 in 26 characters of Crockford's base 32, lower case."""
        random = int.from_bytes(self._entropy(10), "big")
        value = _millis(self._clock.now_us())
        value |= 0x7 << 76 | (random >> 68 & 0xFFF) << 64
        value |= 0b10 << 62 | random & ((1 << 62) - 1)
        return f"{prefix}_{_base32(value)}"


def first_at(prefix: str, at_us: int) -> str:
    """The lowest id of a moment: those that are made from then on are not below it, those made before are."""
    return f"{prefix}_{_base32(_millis(at_us))}"


def parse(prefix: str, text: str) -> str:
    """Check an id given by a person; raises ``id_invalid``."""
    if _FORM.fullmatch(text) and text.startswith(f"{prefix}_"):
        return text
    raise MandamusError(
        Code.ID_INVALID,
        f"{text[:80]!r} is not a {prefix} id",
        remedy=f"give an id such as {prefix}_ followed by 26 letters and digits; list them with `mandamus runs list`",
    )


def is_digest(text: str) -> bool:
    """Whether the text has the form of a digest."""
    return _DIGEST_FORM.fullmatch(text) is not None


def _millis(at_us: int) -> int:
    return (max(at_us, 0) // 1000 & ((1 << 48) - 1)) << 80


def _base32(value: int) -> str:
    return "".join(_PAIRS[value >> shift & 1023] for shift in range(120, -10, -10))
