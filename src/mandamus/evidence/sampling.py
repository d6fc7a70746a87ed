"""Draws an auditor's sample so that the auditor can draw it again: no chance but the seed, no order but a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

ALGORITHM = "sha256(seed LF run LF), ascending, the first n"


@dataclass(frozen=True)
class Closed:
    """A run that ended in the period, and the leaf that tells it."""

    run: str
    leaf: int


@dataclass(frozen=True)
class Drawn:
    """A run of the sample; ``rank`` counts from 1, ``key`` is what it was ordered by (hex)."""

    rank: int
    key: str
    closed: Closed


def key(seed: str, run: str) -> str:
    """SHA-256 of seed and run id, each with a line end, in hex."""
    return hashlib.sha256(f"{seed}\n{run}\n".encode()).hexdigest()


def draw(population: Iterable[Closed], seed: str, count: int) -> list[Drawn]:
    """The ``count`` runs with the smallest keys (all, when there are fewer), smallest first.

    Every run has the same chance, and a larger sample with the same seed holds the smaller one.
    """
    ordered = sorted((key(seed, closed.run), closed.run, closed) for closed in population)
    return [Drawn(rank, found, closed) for rank, (found, _, closed) in enumerate(ordered[:count], 1)]
