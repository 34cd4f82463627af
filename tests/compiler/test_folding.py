"""Folding computes what is small and known, and refuses by name what its operator cannot be given."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.models import network
from toolkit.compiler.folding import FOLD_LIMIT, fold
from toolkit.compiler.program import Variable
from toolkit.errors import ShapeError
from toolkit.graph.layer import Leaf


def given(*arrays):
    return [Variable(f"c{index}", array.dtype, array.shape, constant=array) for index, array in enumerate(arrays)]


def leaf(op_type: str, **attributes) -> Leaf:
    return Leaf(op_type, ["a"], ["b"], attributes, version=21, path="here")


def test_small_results_become_constants():
    (result,) = fold(leaf("Tile"), 13, given(np.array([1, 2]), np.array([2])), {})
    np.testing.assert_array_equal(result, [1, 2, 1, 2])


@pytest.mark.parametrize(
    ("op_type", "version", "arrays"),
    [
        ("ConstantOfShape", 21, [np.array([FOLD_LIMIT, 2])]),
        ("Expand", 13, [np.array([1]), np.array([FOLD_LIMIT + 1])]),
        ("Tile", 13, [np.array([1, 2]), np.array([FOLD_LIMIT])]),
        ("Range", 11, [np.array(0), np.array(1 << 40), np.array(1)]),
        ("Pad", 21, [np.array([1]), np.array([FOLD_LIMIT, 0])]),
        ("OneHot", 11, [np.array([1]), np.array(FOLD_LIMIT + 1), np.array([0, 1])]),
        ("Add", 14, [np.zeros((1 << 13, 1), np.int64), np.zeros((1, 1 << 13), np.int64)]),
    ],
)
def test_large_results_stay_computed(op_type, version, arrays):
    assert fold(leaf(op_type), version, given(*arrays), {}) is None


def test_what_cannot_be_computed_is_named():
    with pytest.raises(ShapeError, match=r"Gather 'here' cannot be computed on its constant inputs: .*Change them"):
        fold(leaf("Gather"), 13, given(np.array([1, 2]), np.array([7])), {})


def test_nodes_without_their_inputs_are_named():
    made = network("broken (float[N] x) => (int64[1] y) { y = Identity(x) }")
    made.graph.leaves[0] = Leaf("Shape", [], ["y"], version=21, path="here")
    with pytest.raises(ShapeError, match=r"Shape-21 'here': it takes 1 to 1 inputs, got 0"):
        made.run(np.zeros(3, np.float32))
