"""Convolutions of integers: ConvInteger and QLinearConv. Padding is the zero point, so it contributes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.record import operator
from toolkit.operators.standard.convolution import canonical_convolution, convolve, per_channel
from toolkit.operators.standard.quantization import ROUNDS, centered
from toolkit.operators.standard.quantized_linear import INTEGERS, SINGLE, as_integers, exact_type, requantized


def integer_convolution(
    x: np.ndarray,
    w: np.ndarray,
    x_zero_point: np.ndarray | None,
    w_zero_point: np.ndarray | None,
    bias: np.ndarray | None,
    attributes: dict[str, Any],
) -> np.ndarray:
    """The convolution of the numbers above their zero points, plus an int32 bias: exact, as floats."""
    geometry = canonical_convolution(attributes, x.shape, w.shape)
    image, kernel = centered(x, one(x_zero_point), SINGLE), centered(w, per_output(w_zero_point, w.ndim), SINGLE)
    compute = exact_type(image, kernel, tuple(range(1, w.ndim)), bias)
    y = convolve(image.astype(compute, copy=False), kernel.astype(compute, copy=False), geometry)
    if bias is not None:
        y += per_channel(bias.astype(compute), y.ndim)
    return y


def one(parameter: np.ndarray | None) -> np.ndarray | None:
    """A parameter of a whole tensor, given as a scalar or as a vector of one."""
    return parameter if parameter is None else parameter.reshape(())


def per_output(parameter: np.ndarray | None, rank: int) -> np.ndarray | None:
    """A parameter of the whole weight or of each output channel, in a form that broadcasts with the weight."""
    if parameter is None or parameter.size == 1:
        return one(parameter)
    return parameter.reshape(-1, *(1,) * (rank - 1))


def conv_integer(
    x: np.ndarray,
    w: np.ndarray,
    x_zero_point: np.ndarray | None = None,
    w_zero_point: np.ndarray | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> np.ndarray:
    """ONNX ConvInteger: int32 sums."""
    given = {"auto_pad": auto_pad, "dilations": dilations, "group": group, "pads": pads, "strides": strides}
    return as_integers(integer_convolution(x, w, x_zero_point, w_zero_point, None, given))


def qlinear_conv(
    x: np.ndarray,
    x_scale: np.ndarray,
    x_zero_point: np.ndarray,
    w: np.ndarray,
    w_scale: np.ndarray,
    w_zero_point: np.ndarray,
    y_scale: np.ndarray,
    y_zero_point: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> np.ndarray:
    """ONNX QLinearConv; the weight's scale and zero point may be per output channel."""
    given = {"auto_pad": auto_pad, "dilations": dilations, "group": group, "pads": pads, "strides": strides}
    total = integer_convolution(x, w, x_zero_point, w_zero_point, bias, given)
    multiplier = x_scale.reshape(()) * w_scale.reshape(-1) / y_scale.reshape(())
    return requantized(total, per_channel(multiplier, x.ndim), one(y_zero_point), y_zero_point.dtype)


operator("ConvInteger", since=10, reference=conv_integer, gradient=INTEGERS)
operator("QLinearConv", since=10, reference=qlinear_conv, gradient=ROUNDS)
