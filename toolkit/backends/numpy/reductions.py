"""Direct numpy kernels that reduce: sums, means, extrema and products over axes, where extrema are, root mean squares.

Refused, so left to the reference: axes that only the data tells, whole numbers, half width.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from toolkit.backends.numpy.bound import FLOATS, Arrays, Direct, Lower
from toolkit.backends.protocol import Step
from toolkit.compiler.known import known_input
from toolkit.compiler.program import Node


def _reduction(function: np.ufunc, *, is_mean: bool = False) -> Lower:
    def lower(node: Node) -> Direct | None:
        is_known, axes = known_input(node, "axes", 1)
        if not is_known or not node.x.size or node.x.dtype not in FLOATS:
            return None
        if (axes is None or not len(axes)) and node.attributes.get("noop_with_empty_axes", 0):
            return None
        rank = len(node.x.shape)
        along = tuple(range(rank)) if axes is None or not len(axes) else tuple(int(axis) % rank for axis in axes)
        kept = tuple(1 if axis in along else size for axis, size in enumerate(node.x.shape))
        count = node.x.dtype.type(node.x.size // max(node.y.size, 1))

        def bind(inputs: Arrays, outputs: Arrays) -> Step:
            x, y = inputs[0], outputs[0].reshape(kept)
            reduce = partial(function.reduce, x, axis=along, out=y, keepdims=True)
            if not is_mean:
                return reduce

            def step() -> None:
                reduce()
                np.divide(y, count, out=y)

            return step

        return Direct(bind)

    return lower


def _position(choose: Callable[..., Any]) -> Lower:
    def lower(node: Node) -> Direct | None:
        if node.attributes.get("select_last_index", 0) or node.x.dtype == object or not node.x.size:
            return None
        axis, shape = int(node.attributes.get("axis", 0)) % max(len(node.x.shape), 1), node.x.shape
        if not shape:
            return None
        kept = (*shape[:axis], *shape[axis + 1 :])

        def bind(inputs: Arrays, outputs: Arrays) -> Step:
            return partial(choose, inputs[0], axis=axis, out=outputs[0].reshape(kept))

        return Direct(bind)

    return lower


def _root_mean_square(node: Node) -> Direct | None:
    """RMSNormalization, operation by operation as the reference has it."""
    scale = node.inputs[1]
    assert scale is not None
    if node.x.dtype not in FLOATS or scale.dtype != node.x.dtype or not node.x.size:
        return None
    axes = tuple(range(int(node.attributes.get("axis", -1)) % len(node.x.shape), len(node.x.shape)))
    count = node.x.dtype.type(np.prod([node.x.shape[axis] for axis in axes]))
    epsilon = node.x.dtype.type(node.attributes.get("epsilon", 1e-5))

    def bind(inputs: Arrays, outputs: Arrays) -> Step:
        (x, factor), y = inputs, outputs[0]
        squares = np.empty_like(x)
        root = np.empty([1 if axis in axes else size for axis, size in enumerate(x.shape)], x.dtype)

        def step() -> None:
            np.square(x, out=squares)
            np.add.reduce(squares, axis=axes, out=root, keepdims=True)
            np.divide(root, count, out=root)
            np.add(root, epsilon, out=root)
            np.sqrt(root, out=root)
            np.divide(x, root, out=y)
            np.multiply(y, factor, out=y)

        return step

    return Direct(bind, in_place=((0, 0),))


REDUCTIONS: dict[tuple[str, str], Lower] = {
    ("", "ReduceSum"): _reduction(np.add),
    ("", "ReduceMean"): _reduction(np.add, is_mean=True),
    ("", "ReduceMax"): _reduction(np.maximum),
    ("", "ReduceMin"): _reduction(np.minimum),
    ("", "ReduceProd"): _reduction(np.multiply),
    ("", "ArgMax"): _position(np.argmax),
    ("", "ArgMin"): _position(np.argmin),
    ("", "RMSNormalization"): _root_mean_square,
}
