"""Direct numpy kernels: operators whose numpy function takes ``out=``, so that a run allocates nothing.

Those that only copy are in ``parts``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from toolkit.backends.numpy.bound import FLOATS, Arrays, Direct, Lower
from toolkit.backends.numpy.parts import PARTS
from toolkit.backends.numpy.reductions import REDUCTIONS
from toolkit.backends.protocol import Step
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN


def _ufunc(function: Callable[..., Any]) -> Lower:
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


def _power(node: Node) -> Direct | None:
    """A square where the exponent turns out to be 2, which it mostly is: several times faster than a power."""
    base, exponent = node.inputs
    assert base is not None and exponent is not None
    if exponent.size != 1 or base.shape != node.y.shape or base.dtype not in FLOATS or "axis" in node.attributes:
        return None

    def bind(inputs: Arrays, outputs: Arrays) -> Step:
        (x, number), y = inputs, outputs[0]
        number, kind = number.reshape(()), y.dtype.type

        def step() -> None:
            if number == 2:
                np.square(x, out=y)
            else:
                np.power(x, kind(number), out=y)

        return step

    return Direct(bind, in_place=((0, 0),))


def _extremum(function: np.ufunc) -> Lower:
    def lower(node: Node) -> Direct | None:
        return _ufunc(function)(node) if len(node.inputs) == 2 and node.y.dtype.kind in "iuf" else None

    return lower


def _cast(node: Node) -> Direct | None:
    pair = (node.x.dtype, node.y.dtype)
    if any(dtype.isbuiltin != 1 or dtype.kind not in "biuf" for dtype in pair):  # float8 has its own ways
        return None
    is_same = node.x.dtype == node.y.dtype
    copy = partial(np.copyto, casting="unsafe")
    return Direct(lambda inputs, outputs: partial(copy, outputs[0], inputs[0]), is_same=is_same)


def _matmul(node: Node) -> Direct | None:
    if len(node.y.shape) < 2 or node.y.dtype.kind != "f" or node.x.dtype.name == "bfloat16":
        return None
    return Direct(lambda inputs, outputs: partial(np.matmul, *inputs, out=outputs[0]))


DIRECT: dict[tuple[str, str], Lower] = {
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
    ("", "GreaterOrEqual"): _ufunc(np.greater_equal),
    ("", "LessOrEqual"): _ufunc(np.less_equal),
    ("", "Max"): _extremum(np.maximum),
    ("", "Min"): _extremum(np.minimum),
    ("", "Pow"): _power,
    ("", "Cast"): _cast,
    ("", "MatMul"): _matmul,
    **PARTS,
    **REDUCTIONS,
}
RARE = {  # those that few models need, by domain and operator: module and name of the table
    ("", "DynamicQuantizeLinear"): ("quantized", "QUANTIZED"),
    ("", "GridSample"): ("sampling", "SAMPLING"),
    ("", "ReverseSequence"): ("sequences", "SEQUENCES"),
    ("", "SoftmaxCrossEntropyLoss"): ("loss", "LOSSES"),
    (TOOLKIT_DOMAIN, "CutSequences"): ("sequences", "SEQUENCES"),
    (TOOLKIT_DOMAIN, "SoftmaxCrossEntropyGradient"): ("loss", "LOSSES"),
}
OF_DOMAINS = {"ai.onnx.ml": (("tables", "TABLES"), ("trees", "TREES"))}  # the same for all of a domain


def direct_of(domain: str, operator: str) -> Lower | None:
    """How to lower an operator, ``None`` where it has no such kernel."""
    key = (domain, operator)
    if key not in DIRECT:
        for module, table in (RARE[key],) if key in RARE else OF_DOMAINS.get(domain, ()):
            DIRECT.update(getattr(import_module(f"{__package__}.{module}"), table))
    return DIRECT.get(key)
