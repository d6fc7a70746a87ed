"""The order of steps: topological, stable, with cycles told as paths; nothing recurses, so depth costs nothing."""

from __future__ import annotations

import heapq
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
    """Cycles without a step in common, each begun at its first step in the file."""
    place = {name: index for index, name in enumerate(edges)}
    found: list[list[str]] = []
    state: dict[str, int] = {}
    for start in edges:
        path: list[str] = []
        name = start
        while name not in state:
            state[name] = len(found) + 1
            path.append(name)
            onward = [need for need in edges[name] if state.get(need, 0) >= 0]
            if not onward:
                break
            name = onward[0]
        if name in path[:-1] or (path and name == path[-1] and name in edges[name]):
            loop = path[path.index(name) :]
            first = min(range(len(loop)), key=lambda index: place[loop[index]])
            loop = loop[first:] + loop[:first]
            found.append([*loop, loop[0]])
        for each in path:
            state[each] = -1
    return found


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
