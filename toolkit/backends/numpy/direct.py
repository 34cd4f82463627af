"""Direct numpy kernels: operators whose numpy function takes ``out=``, so that a run allocates nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from toolkit.backends.protocol import Step
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.indexing import row_sums

Arrays = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Direct:
    """How to turn arrays into a step; ``in_place`` as in ``Kernel``."""

    bind: Callable[[Arrays, Arrays], Step]
    in_place: tuple[tuple[int, int], ...] = ()


def _ufunc(function: Callable[..., Any]) -> Callable[[Node], Direct | None]:
    def lower(node: Node) -> Direct | None:
        if any(item is not None and item.dtype == object for item in (*node.inputs, *node.outputs)):
            return None
        if "axis" in node.attributes:  # how broadcasting was placed before opset 7
            return None
        kept = [
            (0, index)
            for index, item in enumerate(node.inputs)
            if item is not None and item.shape == node.y.shape and item.dtype == node.y.dtype
        ]
        return Direct(lambda inputs, outputs: partial(function, *inputs, out=outputs[0]), tuple(kept))

    return lower


def _division(node: Node) -> Direct | None:
    return _ufunc(np.divide)(node) if node.y.dtype.kind == "f" else None


def _transpose(node: Node) -> Direct | None:
    permutation = node.attributes.get("perm") or list(range(len(node.x.shape)))[::-1]

    def bind(inputs: Arrays, outputs: Arrays) -> Step:
        return partial(np.copyto, outputs[0], inputs[0].transpose(permutation))

    return Direct(bind)


def _concat(node: Node) -> Direct | None:
    axis = node.attributes.get("axis", 1)
    return Direct(lambda inputs, outputs: partial(np.concatenate, inputs, axis=axis, out=outputs[0]))


def _gather(node: Node) -> Direct | None:
    axis, indices = node.attributes.get("axis", 0), node.inputs[1]
    if indices is None or node.x.dtype == object:
        return None
    size = node.x.shape[axis]

    def bind(inputs: Arrays, outputs: Arrays) -> Step:
        def step() -> None:
            where = inputs[1]
            if where.size and (where.min() < -size or where.max() >= size):
                raise IndexError(f"Gather {node.layer!r}: index out of range for axis {axis} of size {size}.")
            np.take(inputs[0], where, axis=axis, out=outputs[0], mode="wrap")

        return step

    return Direct(bind)


def _gather_gradient(node: Node) -> Direct | None:
    if node.y.dtype.name not in ("float32", "float64"):
        return None
    return Direct(lambda inputs, outputs: partial(row_sums, inputs[0], inputs[1], outputs[0]))


def _expand(node: Node) -> Direct | None:
    shape = node.y.shape
    return Direct(lambda inputs, outputs: partial(np.copyto, outputs[0], np.broadcast_to(inputs[0], shape)))


def _split(node: Node) -> Direct | None:
    axis = node.attributes.get("axis", 0)

    def bind(inputs: Arrays, outputs: Arrays) -> Step:
        starts = np.cumsum([0] + [item.shape[axis] for item in outputs])
        cut = [slice(None)] * (axis % inputs[0].ndim)
        pairs = [
            (item, inputs[0][(*cut, slice(start, start + item.shape[axis]))])
            for item, start in zip(outputs, starts, strict=False)
        ]

        def step() -> None:
            for target, source in pairs:
                np.copyto(target, source)

        return step

    return None if any(item is None for item in node.outputs) else Direct(bind)


def _matmul(node: Node) -> Direct | None:
    if len(node.y.shape) < 2 or node.y.dtype.kind != "f" or node.x.dtype.name == "bfloat16":
        return None
    return Direct(lambda inputs, outputs: partial(np.matmul, *inputs, out=outputs[0]))


DIRECT: dict[tuple[str, str], Callable[[Node], Direct | None]] = {
    ("", "Add"): _ufunc(np.add),
    ("", "Sub"): _ufunc(np.subtract),
    ("", "Mul"): _ufunc(np.multiply),
    ("", "Div"): _division,
    ("", "Neg"): _ufunc(np.negative),
    ("", "Abs"): _ufunc(np.absolute),
    ("", "Sqrt"): _ufunc(np.sqrt),
    ("", "Exp"): _ufunc(np.exp),
    ("", "Log"): _ufunc(np.log),
    ("", "Tanh"): _ufunc(np.tanh),
    ("", "Sin"): _ufunc(np.sin),
    ("", "Cos"): _ufunc(np.cos),
    ("", "Reciprocal"): _ufunc(np.reciprocal),
    ("", "Equal"): _ufunc(np.equal),
    ("", "Greater"): _ufunc(np.greater),
    ("", "Less"): _ufunc(np.less),
    ("", "And"): _ufunc(np.logical_and),
    ("", "Or"): _ufunc(np.logical_or),
    ("", "Not"): _ufunc(np.logical_not),
    ("", "Transpose"): _transpose,
    ("", "Concat"): _concat,
    ("", "Gather"): _gather,
    (TOOLKIT_DOMAIN, "GatherGradient"): _gather_gradient,
    ("", "Expand"): _expand,
    ("", "Split"): _split,
    ("", "MatMul"): _matmul,
}
