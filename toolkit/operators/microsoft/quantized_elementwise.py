"""com.microsoft operators that map quantised elements one by one: sums, products, choices, activations, Concat.

All but MulInteger are ``quantize(function(dequantize(x)))``. Where the function has one 8-bit input, it is computed for
the 256 values that there are and looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from toolkit.operators.axes import normalised
from toolkit.operators.microsoft.quantization import MICROSOFT
from toolkit.operators.record import Inference, TensorType, operator
from toolkit.operators.standard.quantization import ROUNDS, centered, dequantize, quantize
from toolkit.operators.standard.quantized_convolution import one
from toolkit.operators.standard.quantized_linear import INTEGERS

Array = np.ndarray
Parameter = Array | None
Types = Sequence[TensorType | None]


def by_table(
    x: Array,
    x_scale: Array,
    x_zero_point: Parameter,
    y_scale: Array,
    y_zero_point: Parameter,
    function: Callable[[Array], Array] | None = None,
) -> Array:
    """``function`` of an 8-bit tensor, from one grid to another; ``None`` only changes the grid."""
    every = np.arange(256, dtype=np.uint8, like=x).view(x.dtype)
    values = _number(every, x_scale, x_zero_point)
    table = _on_grid(values if function is None else function(values), y_scale, y_zero_point, x.dtype)
    return table[x.view(np.uint8)]


def _number(x: Array, scale: Array, zero_point: Parameter) -> Array:
    return dequantize(x, scale.reshape(()), one(zero_point))


def _on_grid(y: Array, scale: Array, zero_point: Parameter, dtype: np.dtype) -> Array:
    return quantize(y, scale.reshape(()), one(zero_point), dtype)


def qlinear_add(
    a: Array,
    a_scale: Array,
    a_zero_point: Parameter,
    b: Array,
    b_scale: Array,
    b_zero_point: Parameter,
    c_scale: Array,
    c_zero_point: Parameter = None,
) -> Array:
    """a + b, each on its own grid."""
    total = _number(a, a_scale, a_zero_point) + _number(b, b_scale, b_zero_point)
    return _on_grid(total, c_scale, c_zero_point, a.dtype)


def qlinear_mul(
    a: Array,
    a_scale: Array,
    a_zero_point: Parameter,
    b: Array,
    b_scale: Array,
    b_zero_point: Parameter,
    c_scale: Array,
    c_zero_point: Parameter = None,
) -> Array:
    """a * b, each on its own grid."""
    product = _number(a, a_scale, a_zero_point) * _number(b, b_scale, b_zero_point)
    return _on_grid(product, c_scale, c_zero_point, a.dtype)


def mul_integer(a: Array, a_zero_point: Parameter, b: Array, b_zero_point: Parameter = None) -> Array:
    """The products of integers above their zero points, as int32."""
    wide = np.dtype(np.int32)
    return centered(a, one(a_zero_point), wide) * centered(b, one(b_zero_point), wide)


def qlinear_leaky_relu(
    x: Array,
    x_scale: Array,
    x_zero_point: Parameter,
    y_scale: Array,
    y_zero_point: Parameter = None,
    *,
    alpha: float = 0.01,
) -> Array:
    """LeakyRelu."""
    slope = np.float32(alpha)
    return by_table(x, x_scale, x_zero_point, y_scale, y_zero_point, lambda v: np.where(v >= 0, v, v * slope))


def qlinear_sigmoid(
    x: Array, x_scale: Array, x_zero_point: Parameter, y_scale: Array, y_zero_point: Parameter = None
) -> Array:
    """Sigmoid, by the tangent, which never overflows."""
    return by_table(x, x_scale, x_zero_point, y_scale, y_zero_point, lambda v: 0.5 + 0.5 * np.tanh(0.5 * v))


def qlinear_where(
    condition: Array,
    x: Array,
    x_scale: Array,
    x_zero_point: Array,
    y: Array,
    y_scale: Array,
    y_zero_point: Array,
    z_scale: Array,
    z_zero_point: Array,
) -> Array:
    """Elementwise choice between two tensors on grids of their own."""
    chosen = by_table(x, x_scale, x_zero_point, z_scale, z_zero_point)
    return np.where(condition, chosen, by_table(y, y_scale, y_zero_point, z_scale, z_zero_point))


def qlinear_concat(y_scale: Array, y_zero_point: Array, *triples: Array, axis: int) -> Array:
    """Tensors on grids of their own, each followed by its scale and zero point, brought to one grid and joined."""
    parts = [
        by_table(x, scale, zero_point, y_scale, y_zero_point)
        for x, scale, zero_point in zip(triples[::3], triples[1::3], triples[2::3], strict=True)
    ]
    return np.concatenate(parts, axis=axis)


def qlinear_softmax(
    x: Array,
    x_scale: Array,
    x_zero_point: Parameter,
    y_scale: Array,
    y_zero_point: Parameter = None,
    *,
    opset: int,
    axis: int = -1,
) -> Array:
    """Softmax along an axis, or, of an ``opset`` before 13, over all axes from there on."""
    values = _number(x, x_scale, x_zero_point)
    (first,) = normalised(axis, x.ndim)
    over = tuple(range(first, x.ndim)) if opset < 13 else (first,)
    weights = np.exp(values - values.max(axis=over, keepdims=True))
    return _on_grid(weights / weights.sum(axis=over, keepdims=True), y_scale, y_zero_point, x.dtype)


def _broadcast(*tensors: int, dtype: type | None = None) -> Inference:
    """The rule of operators whose inputs of these numbers broadcast; the result is of the last one's type."""

    def infer(types: Types, attributes: dict[str, Any], _: Any) -> list[TensorType]:
        found = [types[index] for index in tensors]
        shapes = [item[1] for item in found if item is not None]
        last = found[-1]
        assert last is not None and len(shapes) == len(tensors)
        return [(np.dtype(dtype or last[0]), np.broadcast_shapes(*shapes))]

    return infer


def _infer_concat(types: Types, attributes: dict[str, Any], _: Any) -> list[TensorType]:
    first, *parts = [item for item in types[2::3] if item is not None]
    (axis,) = normalised(int(attributes["axis"]), len(first[1]))
    if len(types) < 5 or len(types) % 3 != 2:
        raise ValueError(f"y_scale, y_zero_point and three inputs a tensor are required, got {len(types)} inputs")
    for _dtype, shape in parts:
        if len(shape) != len(first[1]) or any(
            one_size != size and number != axis
            for number, (one_size, size) in enumerate(zip(shape, first[1], strict=True))
        ):
            raise ValueError(f"tensors must agree off axis {axis}, got {first[1]} and {shape}")
    total = first[1][axis] + sum(shape[axis] for _, shape in parts)
    return [(first[0], (*first[1][:axis], total, *first[1][axis + 1 :]))]


for _name, _reference, _infer in (
    ("QLinearAdd", qlinear_add, _broadcast(0, 3)),
    ("QLinearMul", qlinear_mul, _broadcast(0, 3)),
    ("QLinearLeakyRelu", qlinear_leaky_relu, _broadcast(0)),
    ("QLinearSigmoid", qlinear_sigmoid, _broadcast(0)),
    ("QLinearSoftmax", qlinear_softmax, _broadcast(0)),
    ("QLinearWhere", qlinear_where, _broadcast(0, 1, 4)),
    ("QLinearConcat", qlinear_concat, _infer_concat),
):
    operator(_name, domain=MICROSOFT, reference=_reference, gradient=ROUNDS, infer=_infer)
operator(
    "MulInteger", domain=MICROSOFT, reference=mul_integer, gradient=INTEGERS, infer=_broadcast(0, 2, dtype=np.int32)
)
