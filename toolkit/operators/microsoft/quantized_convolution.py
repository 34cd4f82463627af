"""com.microsoft QLinearConv: that of ONNX, whose images may have their channels last. Weights never have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.microsoft.quantization import MICROSOFT
from toolkit.operators.record import TensorType, operator
from toolkit.operators.standard.convolution import convolved_shape
from toolkit.operators.standard.quantization import ROUNDS
from toolkit.operators.standard.quantized_convolution import qlinear_conv


def channels_first(x: np.ndarray, channels_last: int) -> np.ndarray:
    """(batch, channels, spatial...) from the layout that the flag tells."""
    return np.moveaxis(x, -1, 1) if channels_last else x


def channels_back(y: np.ndarray, channels_last: int) -> np.ndarray:
    """The inverse of ``channels_first``."""
    return np.ascontiguousarray(np.moveaxis(y, 1, -1), like=y) if channels_last else y


def first_shape(shape: Sequence[int], channels_last: int) -> tuple[int, ...]:
    """A shape as ``channels_first`` makes it."""
    return (shape[0], shape[-1], *shape[1:-1]) if channels_last else tuple(shape)


def last_shape(shape: Sequence[int], channels_last: int) -> tuple[int, ...]:
    """The inverse of ``first_shape``."""
    return (shape[0], *shape[2:], shape[1]) if channels_last else tuple(shape)


def qlinear_conv_in_any_layout(*inputs: np.ndarray | None, channels_last: int = 0, **attributes: Any) -> np.ndarray:
    """QLinearConv of an image whose channels are its second or, if ``channels_last``, its last axis."""
    x, *rest = inputs
    assert x is not None
    first: Any = channels_first(x, channels_last)
    return channels_back(qlinear_conv(first, *rest, **attributes), channels_last)  # type: ignore[arg-type]


def _infer(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    x, w, zero_point = types[0], types[3], types[7]
    assert x is not None and w is not None and zero_point is not None
    flag = int(attributes.get("channels_last", 0))
    shape = convolved_shape(attributes, first_shape(x[1], flag), w[1])
    return [(zero_point[0], last_shape(shape, flag))]


operator("QLinearConv", domain=MICROSOFT, reference=qlinear_conv_in_any_layout, gradient=ROUNDS, infer=_infer)
