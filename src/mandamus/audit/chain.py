"""Follows the chain inside each stream: dense sequence numbers, each leaf naming the hash of the one before it."""

from __future__ import annotations

import json
from typing import Any

from mandamus.audit.model import FORMAT


class Chains:
    """Feed leaves in log order; what does not fit its stream is said in words.

    The tree proves that no leaf of a checkpoint changed; the chains also show an event that was taken out of the
    database between its commit and its first checkpoint.
    """

    def __init__(self) -> None:
        self._newest: dict[str, tuple[int, bytes]] = {}

    def follow(self, leaf: bytes, hashed: bytes) -> str:
        """What is wrong with this leaf in its stream, or an empty text."""
        try:
            # The plain parser: exact numbers do not matter here, and it is several times faster.
            fields: Any = json.loads(leaf)
            stream, seq, prev = fields["stream"], fields["seq"], fields["prev"]
            known = fields["format"] == FORMAT and isinstance(stream, str)
        except (ValueError, TypeError, KeyError, RecursionError):
            known = False
        if not known:
            return f"it is not a leaf of the format {FORMAT}"
        newest, expected = self._newest.get(stream, (-1, b""))
        self._newest[stream] = (newest + 1 if seq == newest + 1 else seq if isinstance(seq, int) else newest, hashed)
        if seq != newest + 1:
            return f"stream {stream} goes from event {newest} to {seq}"
        if prev != (expected.hex() or None):
            return f"it does not name the hash of event {newest} of stream {stream}"
        return ""

    def newest(self) -> dict[str, tuple[int, bytes]]:
        """Sequence number and hash of the newest leaf of each stream."""
        return dict(self._newest)
