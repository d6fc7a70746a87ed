"""The picture of a run: every step in its place, and no two in one."""

from __future__ import annotations

import time
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from mandamus.web.dag import GAP_X, HEIGHT, WIDTH, layout

DIAMOND = {"lint": ["fetch"], "test": ["fetch"], "build": ["lint", "test"], "tell": ["build", "fetch"]}
NAMES = ["fetch", "lint", "test", "build", "tell"]


@st.composite
def graphs(draw):
    """Steps in an order that respects what they need."""
    count = draw(st.integers(1, 25))
    names = [f"s{each}" for each in range(count)]
    needs = {
        name: draw(st.lists(st.sampled_from(names[:at]), unique=True, max_size=4))
        for at, name in enumerate(names)
        if at
    }
    return names, needs


@settings(max_examples=50, deadline=None)
@given(graphs())
def test_every_step_has_its_place(graph):
    """To the right of all it needs, inside the picture, and over no other."""
    names, needs = graph
    made = layout(names, needs)
    at = {node.name: node for node in made.nodes}
    assert list(at) == names
    for name in names:
        assert 0 <= at[name].x <= made.width - WIDTH
        assert 0 <= at[name].y <= made.height - HEIGHT
        for need in needs.get(name, ()):
            assert at[need].x + WIDTH + GAP_X <= at[name].x
    places = sorted((node.x, node.y) for node in made.nodes)
    for one, other in pairwise(places):
        assert one[0] != other[0] or other[1] - one[1] >= HEIGHT
    assert len(made.edges) == sum(map(len, needs.values()))


def test_the_same_run_has_the_same_picture():
    """It is a function of steps and needs, and lines go from border to border."""
    made = layout(NAMES, DIAMOND)
    assert made == layout(NAMES, DIAMOND)
    at = {node.name: node for node in made.nodes}
    start = f"M{at['fetch'].x + WIDTH} {at['fetch'].y + HEIGHT // 2}"
    assert made.edges[0].startswith(start)
    assert made.edges[0].endswith(f"{at['lint'].x} {at['lint'].y + HEIGHT // 2}")


def test_no_steps_no_picture():
    """Nothing to draw is drawn as nothing."""
    made = layout([], {})
    assert (made.nodes, made.edges) == ((), ())


def test_a_large_run_is_laid_out_at_once():
    """150 steps, each behind up to three before it."""
    names = [f"s{each}" for each in range(150)]
    needs = {f"s{at}": [f"s{at - back}" for back in (1, 7, 20) if at >= back] for at in range(150)}
    begun = time.process_time()
    layout(names, needs)
    assert time.process_time() - begun < 5
