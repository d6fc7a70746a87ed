"""The frames between the pool and its workers: one header, then that many bytes, in both directions."""

from __future__ import annotations

import struct

HEADER = struct.Struct("<4sIIBB")
"""Magic, sequence number (a reply echoes its request's), payload length in bytes, operation, slot."""

MAGIC = b"MPW1"

HELLO = 0
"""Worker to parent, once: ASCII text saying how far the worker is walled in."""

LOAD = 1
"""Put modules and data into a slot and compile them; the payload is `pack`ed, the reply is OPA's envelope."""

EVALUATE = 2
"""Evaluate the slot's query; the payload is the input document, the reply is OPA's envelope."""

ASK = 3
"""Like `EVALUATE`, but an empty payload means that there is no input."""

TRACE = 4
"""Like `ASK`; the envelope holds the trace, too."""

COVER = 5
"""Like `ASK`; the envelope holds the lines that were covered, too."""

COMPILE = 6
"""Like `LOAD`, but the query is compiled against nothing: no rule is evaluated."""

LENIENT = 7
"""From now on a builtin that errs in this slot is undefined; the payload is `guard.lenient` of its query."""

CHOOSE = 8
"""Say what the function `opa.CHOSEN` gives in this slot from now on; the payload is JSON."""

SLOT_DECIDE = 0
SLOT_EXPLAIN = 1
SLOT_PARSE = 2
SLOTS = 3

_LENGTH = struct.Struct("<I")


def pack(parts: list[bytes]) -> bytes:
    """Byte strings one after the other, each behind its length."""
    return b"".join(_LENGTH.pack(len(part)) + part for part in parts)


def unpack(data: bytes) -> list[bytes]:
    """The inverse of `pack`; raises ``ValueError`` when the lengths do not add up."""
    parts = []
    at = 0
    while at < len(data):
        if at + _LENGTH.size > len(data):
            raise ValueError("a length is cut off")
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if at + size > len(data):
            raise ValueError("a part is cut off")
        parts.append(data[at : at + size])
        at += size
    return parts
