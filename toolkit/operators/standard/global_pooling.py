"""Pooling over all positions: GlobalAveragePool, GlobalMaxPool, GlobalLpPool. (batch, channels, 1...) results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, operator
from toolkit.operators.standard.pooling import max_pool_gradient, power_share, power_slope


def _positions(x: np.ndarray) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


@in_float32
def _global_average_pool(x: np.ndarray) -> np.ndarray:
    return x.mean(axis=_positions(x), keepdims=True)


@in_float32
def _global_max_pool(x: np.ndarray) -> np.ndarray:
    return x.max(axis=_positions(x), keepdims=True)


@in_float32
def _global_lp_pool(x: np.ndarray, *, p: float = 2) -> np.ndarray:
    powers = np.abs(x) ** p
    return powers.sum(axis=_positions(x), keepdims=True) ** x.dtype.type(1.0 / p)


def whole_window(shape: tuple[int, ...]) -> dict[str, Any]:
    """The pooling attributes of one window over all positions of ``shape``."""
    rank = len(shape) - 2
    ones = [1] * rank
    return {
        "kernel_shape": list(shape[2:]),
        "strides": ones,
        "pads": [0] * (2 * rank),
        "dilations": ones,
        "ceil_mode": 0,
    }


def _average_gradient(call: Call, g: Expression) -> list[Expression | None]:
    made = {**whole_window(call.x.shape), "count_include_pad": 0, "input_shape": list(call.x.shape)}
    return [emit("AveragePoolGradient", g, domain=TOOLKIT_DOMAIN, **made)]


def _max_gradient(call: Call, g: Expression) -> list[Expression | None]:
    attributes = whole_window(call.x.shape)
    _, selected = emit("MaxPoolTraining", call.x, domain=TOOLKIT_DOMAIN, **attributes, outputs=2)
    return [max_pool_gradient(g, selected, call.x.shape, attributes)]


def _lp_gradient(call: Call, g: Expression) -> list[Expression | None]:
    p = call.attribute("p", 2)
    return [power_slope(call.x, p) * power_share(g, call.y, p)]


def _infer(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    """ONNX has none for version 1."""
    assert inputs[0] is not None
    dtype, shape = inputs[0]
    return [(dtype, (*shape[:2], *(1,) * (len(shape) - 2)))]


operator("GlobalAveragePool", reference=_global_average_pool, gradient=_average_gradient)
operator("GlobalMaxPool", reference=_global_max_pool, gradient=_max_gradient)
operator("GlobalLpPool", reference=_global_lp_pool, gradient=_lp_gradient, infer=_infer)
