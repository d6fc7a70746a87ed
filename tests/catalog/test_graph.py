"""The order of steps: needs first, ties in the file's order, every knot told."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from mandamus.catalog.graph import Reach, order

NAMES = "abcdefg"


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    names = NAMES[: draw(st.integers(1, len(NAMES)))]
    some = st.lists(st.sampled_from(names), unique=True, max_size=3)
    return {name: draw(some) for name in names}


def reached(edges: dict[str, list[str]], start: str) -> set[str]:
    """By brute force: what a step needs, directly or through others."""
    found: set[str] = set()
    stack = list(edges[start])
    while stack:
        name = stack.pop()
        if name not in found:
            found.add(name)
            stack += edges[name]
    return found


@settings(deadline=None)
@given(graphs())
def test_each_stands_after_what_it_needs(edges):
    """Every name stands once; without cycles after all it needs, and no earlier step of the file had to wait."""
    made, cycles = order(edges)
    assert sorted(made) == sorted(edges)
    if cycles:
        return
    for index, name in enumerate(made):
        done = set(made[:index])
        assert set(edges[name]) <= done
        ready = [each for each in edges if each not in done and set(edges[each]) <= done]
        assert name == ready[0]


@settings(deadline=None)
@given(graphs())
def test_every_knot_is_told_once_by_a_shortest_cycle(edges):
    """Steps that need each other are one finding: a real cycle that begins at the first of them in the file."""
    knotted = {name for name in edges if name in reached(edges, name)}
    _, cycles = order(edges)
    covered: set[str] = set()
    for cycle in cycles:
        assert cycle[0] == cycle[-1]
        assert len(set(cycle)) == len(cycle) - 1
        assert all(need in edges[name] for name, need in itertools.pairwise(cycle))
        knot = {name for name in reached(edges, cycle[0]) if cycle[0] in reached(edges, name)}
        assert cycle[0] == min(knot)
        assert not covered & knot
        covered |= knot
    assert covered == knotted


@settings(deadline=None)
@given(graphs())
def test_reach_is_what_is_reached(edges):
    """Asked in any order, the answer is the transitive closure; cycles do no harm."""
    reach = Reach(edges)
    if any(name in reached(edges, name) for name in edges):
        for name in edges:
            reach.needs(name, next(iter(edges)))
        return
    for name, other in itertools.product(edges, edges):
        assert reach.needs(name, other) == (other in reached(edges, name))


def test_disjoint_cycles_are_all_told():
    """Mending one cycle must not be the way to learn of the next."""
    edges = {"a": ["c", "b"], "b": ["a"], "c": ["d"], "d": ["c"], "e": ["e"], "f": ["a"]}
    assert order(edges)[1] == [["a", "b", "a"], ["c", "d", "c"], ["e", "e"]]


def test_depth_does_not_matter():
    """A chain of 10,000 steps, told from its end, needs no stack."""
    chain = {str(n): [str(n + 1)] if n < 9_999 else [] for n in range(10_000)}
    made, cycles = order(chain)
    assert (made[0], made[-1], cycles) == ("9999", "0", [])
    assert Reach(chain).needs("0", "9999")
    chain["9999"] = ["0"]
    (cycle,) = order(chain)[1]
    assert len(cycle) == 10_001
