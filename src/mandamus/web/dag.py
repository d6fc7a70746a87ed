"""Lays out the steps of a run in layers: from left to right, each behind all that it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

NODES_MAX = 150
"""A larger picture says less than the list of steps does."""
WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 168, 40, 56, 16, 8
SWEEPS = 4


@dataclass(frozen=True)
class Node:
    """One step; ``x`` and ``y`` are its upper left corner."""

    name: str
    x: int
    y: int


@dataclass(frozen=True)
class Picture:
    """Where everything goes, in pixels. ``edges`` are paths of SVG."""

    width: int
    height: int
    nodes: tuple[Node, ...]
    edges: tuple[str, ...]


def layout(names: Sequence[str], needs: Mapping[str, Sequence[str]]) -> Picture:
    """The picture of steps that stand in an order that respects what they need.

    Longest path for the layers, a bend in every layer that an edge passes, and the barycentre of the neighbours for
    the order within a layer (Sugiyama, Tagawa, Toda 1981).
    """
    layer: dict[str, int] = {}
    for name in names:
        layer[name] = 1 + max((layer[need] for need in needs.get(name, ())), default=-1)
    chains = [_chain(need, name, layer) for name in names for need in needs.get(name, ())]
    rows = _ordered(names, layer, chains)
    tallest = max((len(row) for row in rows), default=0)
    at: dict[str, tuple[int, int]] = {}
    for column, row in enumerate(rows):
        top = MARGIN + (tallest - len(row)) * (HEIGHT + GAP_Y) // 2
        for place, name in enumerate(row):
            at[name] = (MARGIN + column * (WIDTH + GAP_X), top + place * (HEIGHT + GAP_Y))
    return Picture(
        width=2 * MARGIN + max(len(rows) * (WIDTH + GAP_X) - GAP_X, 0),
        height=2 * MARGIN + max(tallest * (HEIGHT + GAP_Y) - GAP_Y, 0),
        nodes=tuple(Node(name, *at[name]) for name in names),
        edges=tuple(_path(chain, at) for chain in chains),
    )


def _chain(before: str, after: str, layer: dict[str, int]) -> list[str]:
    """The edge with its bends, which get layers of their own; no step has a name with a NUL in it."""
    bends = []
    for place in range(layer[before] + 1, layer[after]):
        bends.append(f"{before}\0{after}\0{place}")
        layer[bends[-1]] = place
    return [before, *bends, after]


def _ordered(names: Sequence[str], layer: Mapping[str, int], chains: Sequence[Sequence[str]]) -> list[list[str]]:
    rows: list[list[str]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for name in [*names, *(bend for chain in chains for bend in chain[1:-1])]:
        rows[layer[name]].append(name)
    before: dict[str, list[str]] = {name: [] for name in layer}
    after: dict[str, list[str]] = {name: [] for name in layer}
    for chain in chains:
        for left, right in pairwise(chain):
            before[right].append(left)
            after[left].append(right)
    for sweep in range(SWEEPS):
        beside, columns = (before, rows[1:]) if sweep % 2 == 0 else (after, rows[-2::-1])
        place = {name: index for row in rows for index, name in enumerate(row)}
        for row in columns:
            row.sort(key=lambda name: _barycentre(name, beside, place))
            place.update({name: index for index, name in enumerate(row)})
    return rows


def _barycentre(name: str, beside: Mapping[str, Sequence[str]], place: Mapping[str, int]) -> float:
    found = [place[other] for other in beside[name]]
    return sum(found) / len(found) if found else float(place[name])


def _path(chain: Sequence[str], at: Mapping[str, tuple[int, int]]) -> str:
    x, y = at[chain[0]]
    parts = [f"M{x + WIDTH} {y + HEIGHT // 2}"]
    x += WIDTH
    for name in chain[1:]:
        to_x, to_y = at[name]
        from_y, to_y = y + HEIGHT // 2, to_y + HEIGHT // 2
        middle = (x + to_x) // 2
        parts.append(f"C{middle} {from_y} {middle} {to_y} {to_x} {to_y}")
        x, y = to_x, to_y - HEIGHT // 2
        if name != chain[-1]:
            x += WIDTH
            parts.append(f"H{x}")
    return "".join(parts)
