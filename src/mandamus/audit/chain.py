"""Follows the chain inside each stream: dense sequence numbers, each leaf naming the hash of the one before it."""

from __future__ import annotations

import json
import re
from binascii import hexlify
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mandamus.audit.model import FORMAT

Stream = bytes
"""The name of a stream as UTF-8."""

Newest = dict[Stream, tuple[int, bytes]]
"""Sequence number and hash of the newest leaf of each stream."""

_TEXT = rb'"[^"]*+"'
_NAME = rb'(?:null|"[^"]*+")'
_OBJECT = rb"\{[^}]*+\}"
_DATA_ENDS = b'},"format":"leaf/1"'
_END = re.compile(
    rb',"format":"leaf/1","id":%(t)s,"kind":%(t)s,"outcome":%(t)s,"prev":(?:null|"([0-9a-f]{64})"),"project":%(n)s,'
    rb'"run":%(n)s,"seq":(0|[1-9][0-9]{0,15}),"step":%(n)s,"stream":"([^"]*+)","what":%(o)s,"where":%(o)s,'
    rb'"who":%(o)s,"why":%(t)s\}' % {b"t": _TEXT, b"n": _NAME, b"o": _OBJECT}
).fullmatch
"""The end of a leaf without a backslash, from behind its ``data``; parsing whole leaves takes longer than hashing them.

This reads what a parser reads, of every leaf that is JSON. Without a backslash each quotation mark begins or ends a
string, so every key here is a key. The end closes five objects, the first of them ``data``, and names three that it
opens; the leaf is closed with it, so it opens no other, and its keys are those of the leaf itself, not of something
inside ``data``. Whatever does not match is parsed.
"""


@dataclass
class Segment:
    """A part of the log: what it needs of the part before, and what it leaves to the part behind it.

    ``firsts`` has, for each stream, the index of its first leaf here, its number and the hash it names (hex).
    """

    firsts: dict[Stream, tuple[int, int, bytes]] = field(default_factory=dict)
    newest: Newest = field(default_factory=dict)

    def follow(self, leaves: Sequence[bytes], hashes: Sequence[bytes], index: int) -> list[tuple[int, str]]:
        """Take leaves in log order, the first of which has that index; gives what is wrong, by leaf index."""
        wrong = []
        newest, firsts = self.newest, self.firsts
        for at, leaf in enumerate(leaves):
            found = None if b"\\" in leaf else _END(leaf, leaf.rfind(_DATA_ENDS) + 1)
            if found is not None:
                prev, number, stream = found.groups(b"")
                seq = int(number)
            else:
                parsed = _parse(leaf)
                if parsed is None:
                    wrong.append((index + at, f"it is not a leaf of the format {FORMAT}"))
                    continue
                stream, seq, prev = parsed
            last = newest.get(stream)
            newest[stream] = seq, hashes[at]
            if last is None:
                firsts[stream] = index + at, seq, prev
            elif seq != last[0] + 1 or prev != hexlify(last[1]):
                wrong.append((index + at, _break(stream, last, seq)))
        return wrong


class Chains:
    """The chains of a log from its first leaf, or from where its ``newest`` leaves are known.

    The tree proves that no leaf of a checkpoint changed; the chains also show an event that was taken out of the
    database between its commit and its first checkpoint. ``open_`` chains may go on from leaves nobody knows.
    """

    def __init__(self, newest: Newest | None = None, *, open_: bool = False) -> None:
        self._newest: Newest = dict(newest or {})
        self._open = open_
        self.loose: dict[bytes, tuple[int, str]] = {}
        """What continues no leaf that was seen, by the hash it names (hex): its index, and what is wrong with it unless
        the leaf with that hash is among those that are pruned."""

    def follow(self, leaf: bytes, hashed: bytes, index: int) -> str:
        """What is wrong with this leaf in its stream, or an empty text; it may be ``loose``, too."""
        segment = Segment()
        wrong = segment.follow([leaf], [hashed], index)
        return next((message for _, message in (*wrong, *self.join(segment))), "")

    def join(self, segment: Segment) -> Iterator[tuple[int, str]]:
        """Go on with a part of the log; gives what is wrong where it begins, by leaf index."""
        for stream, (index, seq, prev) in segment.firsts.items():
            last = self._newest.get(stream)
            if last is None and self._open and bool(seq) == bool(prev):
                continue
            last = last or (-1, b"")
            if seq > last[0] + 1 and prev:
                self.loose[prev] = (index, _break(stream, last, seq))
            elif seq != last[0] + 1 or prev != hexlify(last[1]):
                yield index, _break(stream, last, seq)
        self._newest.update(segment.newest)

    @property
    def known(self) -> Newest:
        """The newest leaf of each stream."""
        return self._newest

    def newest(self) -> dict[str, tuple[int, bytes]]:
        """The same by the streams' names as text."""
        return {stream.decode(errors="replace"): last for stream, last in self._newest.items()}


def _break(stream: Stream, last: tuple[int, bytes], seq: int) -> str:
    name = stream.decode(errors="replace")
    if seq != last[0] + 1:
        return f"stream {name} goes from event {last[0]} to {seq}"
    return f"it does not name the hash of event {last[0]} of stream {name}"


def _parse(leaf: bytes) -> tuple[Stream, int, bytes] | None:
    """Stream, number and the hash named, of any leaf that is JSON; None when it is not a leaf."""
    try:
        # The plain parser: exact numbers do not matter here, and it is several times faster.
        fields: Any = json.loads(leaf)
        stream, seq, prev = fields["stream"], fields["seq"], fields["prev"]
        if fields["format"] != FORMAT or type(seq) is not int or seq < 0:
            return None
        return str.encode(stream), seq, b"" if prev is None else str.encode(prev)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
