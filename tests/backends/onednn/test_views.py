"""Axes of one position come and go without a copy, whatever the layout."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.onednn.driver import BACKEND, node_of, run
from tests.backends.onednn.test_parts import channels_last, made
from toolkit.compiler.program import Node, Program, Variable

# shape before, shape behind, and whether channels that lie last before do so behind
ROWS = {
    "dropped behind": ((2, 8, 5, 1), (2, 8, 5), True),
    "dropped in front": ((2, 8, 1, 5), (2, 8, 5), True),
    "added": ((2, 8, 5), (2, 8, 5, 1), True),
    "another dimension": ((2, 8, 5, 3), (2, 8, 5, 1, 3), True),
    "moved into the channels": ((2, 8, 5, 1), (2, 1, 8, 5), False),
}


def reshape(before: tuple[int, ...], behind: tuple[int, ...]) -> Node:
    """A Reshape of something computed: a parameter lies where it is."""
    arrays = [made(*before), np.array(behind)]
    node = node_of("Reshape", arrays, constants=[1])
    source = Variable("source", node.x.dtype, before)
    node.inputs[0] = Program().append("Identity", [source], {}, version=16).y
    return node


@pytest.mark.parametrize("name", ROWS)
def test_channels_stay_last(name: str) -> None:
    before, behind, stays = ROWS[name]
    node, array = reshape(before, behind), made(*before)
    for lying in ({}, {0: channels_last(*before)}):
        found = run(node, [array, np.array(behind)], lying=lying)
        assert found.kernel.is_free
        np.testing.assert_array_equal(found.y, array.reshape(behind))
    assert (found.kernel.outputs[0] == channels_last(*behind)) is stays


def test_what_is_left_to_others() -> None:
    assert not BACKEND.supports(node_of("Reshape", [made(2, 8, 5), np.array([2, 8, 5, 1])], constants=[1]))
    assert not BACKEND.supports(reshape((2, 8, 5, 1), (16, 5)))
    assert not BACKEND.supports(reshape((2, 8, 4, 2), (2, 16, 2, 2)))
