"""What a log says of its own pruning: which of its entries are gone by a signed event, and not by somebody's hand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

STREAM = b"personal/data"
"""The chain in which every event of a pruning stands."""
KIND = "audit.pruned"


@dataclass(frozen=True)
class Mark:
    """The leaf that says that entries below ``min_index`` of a log are kept no longer; ``index`` is its own."""

    index: int
    origin: str
    min_index: int


def marks(leaves: Sequence[bytes], first: int) -> list[Mark]:
    """The events of a pruning among leaves in log order, the first of which has that index."""
    found = []
    for at, leaf in enumerate(leaves):
        if KIND.encode() in leaf:
            mark = _mark(leaf, first + at)
            found += [mark] if mark is not None else []
    return found


def newest(found: Iterable[Mark], origin: str) -> Mark | None:
    """The one of a log that reaches farthest."""
    return max((each for each in found if each.origin == origin), key=lambda mark: mark.min_index, default=None)


def _mark(leaf: bytes, index: int) -> Mark | None:
    try:
        fields: Any = json.loads(leaf)
        if fields["kind"] != KIND or fields["stream"] != STREAM.decode():
            return None
        return Mark(index, str(fields["data"]["origin"]), int(fields["data"]["min_index"]))
    except (ValueError, TypeError, KeyError):
        return None
