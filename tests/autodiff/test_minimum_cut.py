"""Minimum cuts: as cheap as the best of all ways to cut."""

from itertools import chain, combinations

import numpy as np
import pytest

from toolkit.autodiff.minimum_cut import UNCUT, FlowNetwork


def cheapest(edges, vertices, source, sink):
    """By trying every set of vertices around the source."""
    others = [item for item in range(vertices) if item not in (source, sink)]
    every = chain.from_iterable(combinations(others, size) for size in range(len(others) + 1))
    return min(price(edges, {source, *chosen}) for chosen in every)


def price(edges, side):
    return sum(capacity for start, end, capacity in edges if start in side and end not in side)


@pytest.mark.parametrize("seed", range(30))
def test_cuts_are_the_cheapest(seed):
    random, vertices = np.random.default_rng(seed), 7
    pairs = [(a, b) for a in range(vertices) for b in range(vertices) if a != b and random.random() < 0.4]
    edges = [(a, b, int(random.integers(0, 9))) for a, b in pairs]
    graph = FlowNetwork()
    for _ in range(vertices):
        graph.vertex()
    for edge in edges:
        graph.edge(*edge)
    side = graph.source_side(0, 1)
    assert 0 in side and 1 not in side
    assert price(edges, side) == cheapest(edges, vertices, 0, 1)


def test_what_must_stay_is_not_cut():
    graph = FlowNetwork()
    source, middle, sink = (graph.vertex() for _ in range(3))
    graph.edge(source, middle, UNCUT)
    graph.edge(middle, sink, 1 << 40)
    assert graph.source_side(source, sink) == {source, middle}
