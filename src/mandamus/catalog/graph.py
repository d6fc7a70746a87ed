"""The order of steps: topological, stable, with cycles told as paths; nothing recurses, so depth costs nothing."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping, Sequence

Edges = Mapping[str, Sequence[str]]
"""By step, in the file's order: the steps it needs. Every need is a key."""


def order(edges: Edges) -> tuple[list[str], list[list[str]]]:
    """Names so that each stands after what it needs, ties in the file's order; and the cycles, as ``[a, b, a]``.

    With cycles the order still holds every name once, so that a check can go on. O((steps + needs) log steps).
    """
    names = list(edges)
    place = {name: index for index, name in enumerate(names)}
    users: dict[str, list[str]] = {name: [] for name in names}
    left = {name: len(edges[name]) for name in names}
    for name in names:
        for need in edges[name]:
            users[need].append(name)
    ready = [place[name] for name in names if not left[name]]
    made: list[str] = []
    while ready:
        name = names[heapq.heappop(ready)]
        made.append(name)
        for user in users[name]:
            left[user] -= 1
            if not left[user]:
                heapq.heappush(ready, place[user])
    done = set(made)
    stuck = [name for name in names if name not in done]
    return made + stuck, _cycles({name: [need for need in edges[name] if need not in done] for name in stuck})


def _cycles(edges: Edges) -> list[list[str]]:
    """One for every knot of steps that need each other: a shortest way from its first step back to it."""
    place = {name: index for index, name in enumerate(edges)}
    knots = sorted((sorted(knot, key=place.__getitem__) for knot in _knots(edges)), key=lambda knot: place[knot[0]])
    return [_round_trip(knot[0], edges) for knot in knots if len(knot) > 1 or knot[0] in edges[knot[0]]]


def _knots(edges: Edges) -> list[list[str]]:
    """The strongly connected components, by Kosaraju's two walks."""
    users: dict[str, list[str]] = {name: [] for name in edges}
    for name, needs in edges.items():
        for need in needs:
            users[need].append(name)
    seen: set[str] = set()
    finished = [each for name in edges if name not in seen for each in _walk(name, edges, seen)]
    seen = set()
    return [_walk(name, users, seen) for name in reversed(finished) if name not in seen]


def _walk(start: str, edges: Edges, seen: set[str]) -> list[str]:
    """What is reached from here and was not seen before, each after what it leads to."""
    seen.add(start)
    stack = [(start, iter(edges[start]))]
    made = []
    while stack:
        name, onward = stack[-1]
        following = next((each for each in onward if each not in seen), None)
        if following is None:
            made.append(name)
            stack.pop()
        else:
            seen.add(following)
            stack.append((following, iter(edges[following])))
    return made


def _round_trip(start: str, edges: Edges) -> list[str]:
    """A shortest path from a step of a cycle through what it needs and back."""
    came_from: dict[str, str] = {}
    queue = deque([start])
    while queue:
        name = queue.popleft()
        for need in edges[name]:
            if need == start:
                path = [name]
                while path[-1] != start:
                    path.append(came_from[path[-1]])
                return [*reversed(path), start]
            if need not in came_from:
                came_from[need] = name
                queue.append(need)
    raise AssertionError(f"{start} is in no cycle")


class Reach:
    """Whether one step needs another, directly or through others; closures are worked out only when asked for."""

    def __init__(self, edges: Edges) -> None:
        self._edges = edges
        self._bit = {name: 1 << index for index, name in enumerate(edges)}
        self._above: dict[str, int] = {}

    def needs(self, name: str, other: str) -> bool:
        """Whether ``other`` is done before ``name`` may begin."""
        if other in self._edges[name]:
            return True
        return bool(self._closure(name) & self._bit[other])

    def _closure(self, name: str) -> int:
        stack = [name]
        entered: set[str] = set()
        while stack:
            current = stack[-1]
            if current in self._above:
                stack.pop()
                continue
            waiting = [need for need in self._edges[current] if need not in self._above and need not in entered]
            if waiting and current not in entered:
                entered.add(current)
                stack.extend(waiting)
                continue
            bits = 0
            for need in self._edges[current]:
                bits |= self._bit[need] | self._above.get(need, 0)
            self._above[current] = bits
            stack.pop()
        return self._above[name]
