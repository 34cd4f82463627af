"""Arithmetic with broadcasting: Add, Sub, Mul, Div, Pow, Mod, and Sum, Mean, Max, Min of any number of inputs.

Where several inputs of Max or Min share the extreme value, the gradient is split evenly between them. Before opset 8
the inputs of Sum, Mean, Max and Min had to have one shape; the first opsets of the others are in ``limited_broadcast``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np

from toolkit.operators.derivative import binary, cast, indicator, masked
from toolkit.operators.expression import Expression, emit, unbroadcast
from toolkit.operators.record import Call, Gradient, Reference, TensorType, operator


def divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The quotient; integers are truncated toward zero."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if a.dtype.kind not in "iu":
            return np.true_divide(a, b)
        quotient = np.floor_divide(a, b)
        inexact_negative = (quotient * b != a) & ((a < 0) != (b < 0)) & (b != 0)
        return (quotient + inexact_negative).astype(a.dtype)


def power(base: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """The power in the element type of the base; exponents may be of another type."""
    with np.errstate(all="ignore"):
        if base.dtype.kind in "iu":
            if (
                exponent.dtype.kind in "iu"
                and isinstance(base, np.ndarray)
                and (exponent.size == 0 or exponent.min() >= 0)
            ):
                return np.power(base, exponent.astype(base.dtype))
            return np.power(base.astype(np.float64), exponent.astype(np.float64)).astype(base.dtype)
        return np.power(base, exponent.astype(base.dtype))


def _power_gradient(call: Call, g: Expression) -> list[Expression | None]:
    base, exponent = call.inputs
    assert base is not None and exponent is not None
    in_base = in_exponent = None
    if call.wants[0]:
        in_base = unbroadcast(g * _power_slope(base, exponent), base.shape)
    if call.wants[1]:
        slope = masked(emit("Not", emit("Equal", base, 0)), call.y * emit("Log", base))
        in_exponent = unbroadcast(cast(g * slope, exponent.dtype), exponent.shape)
    return [in_base, in_exponent]


def _power_slope(base: Expression, exponent: Expression) -> Expression:
    """b * a**(b-1), without a power for squares and with 0 for a constant exponent of 0."""
    known = exponent.value
    if known is not None and known.size == 1 and float(known.reshape(-1)[0]) == 2.0:
        return base * 2
    factor = cast(exponent, base.dtype)
    return masked(emit("Not", emit("Equal", factor, 0)), factor * emit("Pow", base, factor - 1))


def modulo(a: np.ndarray, b: np.ndarray, *, fmod: int = 0) -> np.ndarray:
    """The remainder: of the divisor's sign, or of the dividend's with ``fmod``."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.fmod(a, b) if fmod else np.mod(a, b)


def total(*inputs: np.ndarray) -> np.ndarray:
    """The sum of all inputs."""
    return reduce(np.add, inputs[1:], inputs[0])


def mean(*inputs: np.ndarray) -> np.ndarray:
    """The mean of all inputs."""
    return (total(*inputs) / inputs[0].dtype.type(len(inputs))).astype(inputs[0].dtype)


def largest(*inputs: np.ndarray) -> np.ndarray:
    """The largest element at each place."""
    return reduce(np.maximum, inputs[1:], inputs[0])


def smallest(*inputs: np.ndarray) -> np.ndarray:
    """The smallest element at each place."""
    return reduce(np.minimum, inputs[1:], inputs[0])


def _of_one_shape(function: Reference) -> Reference:
    def reference(*inputs: np.ndarray, consumed_inputs: Any = None) -> Any:
        return function(*inputs)

    return reference


def _infer_one_shape(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    assert types[0] is not None
    if any(item is not None and item[1] != types[0][1] for item in types):
        raise ValueError("before opset 8 all inputs must have one shape")
    return [types[0]]


def _sum_gradient(call: Call, g: Expression) -> list[Expression | None]:
    return _spread(call, lambda x: g)


def _mean_gradient(call: Call, g: Expression) -> list[Expression | None]:
    share = g * (1 / len(call.inputs))
    return _spread(call, lambda x: share)


def _extreme_gradient(call: Call, g: Expression) -> list[Expression | None]:
    """The gradient goes to the inputs that equal the result, evenly."""
    if len(call.inputs) == 1:
        return [g]
    winners = [indicator(emit("Equal", x, call.y), g) for x in call.inputs]
    share = g / emit("Sum", *winners)
    by_input = dict(zip(map(id, call.inputs), winners, strict=True))
    return _spread(call, lambda x: share * by_input[id(x)])


def _spread(call: Call, part: Callable[[Expression], Expression]) -> list[Expression | None]:
    """One part per wanted input, summed back to its shape."""
    return [
        unbroadcast(part(x), x.shape) if wanted and x is not None else None
        for x, wanted in zip(call.inputs, call.wants, strict=True)
    ]


operator("Add", since=7, reference=np.add, gradient=binary(lambda g, a, b, y: g, lambda g, a, b, y: g))
operator("Sub", since=7, reference=np.subtract, gradient=binary(lambda g, a, b, y: g, lambda g, a, b, y: -g))
operator("Mul", since=7, reference=np.multiply, gradient=binary(lambda g, a, b, y: g * b, lambda g, a, b, y: g * a))
operator("Div", since=7, reference=divide, gradient=binary(lambda g, a, b, y: g / b, lambda g, a, b, y: -(g * y) / b))
operator("Pow", since=7, reference=power, gradient=_power_gradient)
operator(
    "Mod",
    since=10,
    reference=modulo,
    gradient=binary(lambda g, a, b, y: g, lambda g, a, b, y: -g * emit("Round", (a - y) / b)),
)
_VARIADIC: tuple[tuple[str, Reference, Gradient], ...] = (
    ("Sum", total, _sum_gradient),
    ("Mean", mean, _mean_gradient),
    ("Max", largest, _extreme_gradient),
    ("Min", smallest, _extreme_gradient),
)
for _name, _function, _gradient in _VARIADIC:
    operator(_name, reference=_of_one_shape(_function), gradient=_gradient, infer=_infer_one_shape)
    operator(_name, since=8, reference=_function, gradient=_gradient)
