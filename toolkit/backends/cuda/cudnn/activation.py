"""The activations of fused operators as elementwise operations of a graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from toolkit.backends.cuda.cudnn.builder import Builder
from toolkit.backends.cuda.cudnn.graph import Tensor
from toolkit.backends.cuda.cudnn.graph_constants import PointwiseMode

# Our activation: the mode, and the parameter that ``activation_alpha`` is.
_MODES: dict[str, tuple[PointwiseMode, str]] = {
    "Relu": (PointwiseMode.RELU_FWD, ""),
    "LeakyRelu": (PointwiseMode.RELU_FWD, "relu_lower_clip_slope"),
    "Sigmoid": (PointwiseMode.SIGMOID_FWD, ""),
    "Tanh": (PointwiseMode.TANH_FWD, ""),
    "Elu": (PointwiseMode.ELU_FWD, "elu_alpha"),
    "Gelu": (PointwiseMode.GELU_FWD, ""),
    "GeluTanh": (PointwiseMode.GELU_APPROX_TANH_FWD, ""),
    "Silu": (PointwiseMode.SWISH_FWD, ""),
}
_COMPOSED = ("Clip", "HardSigmoid", "HardSwish")
_LARGEST = float(np.finfo(np.float32).max)


def knows(attributes: Mapping[str, Any]) -> bool:
    """Whether the attributes of a fused operator ask for no activation, or for one that is known here."""
    name = attributes.get("activation", "")
    return not name or name in _MODES or name in _COMPOSED


def activate(builder: Builder, x: Tensor, attributes: Mapping[str, Any], into: Tensor) -> Tensor:
    """The activation that ``attributes`` name, of ``x``; a copy where they name none."""
    name = attributes.get("activation", "")
    alpha, beta = (float(attributes.get(f"activation_{letter}", 0.0)) for letter in ("alpha", "beta"))
    if not name:
        return builder.pointwise(PointwiseMode.IDENTITY, x, into=into)
    if name in _MODES:
        mode, parameter = _MODES[name]
        return builder.pointwise(mode, x, into=into, numbers={parameter: alpha} if parameter else None)
    if name == "Clip":
        return _clip(builder, x, alpha, beta, into)
    slope, shift = (1 / 6, 0.5) if name == "HardSwish" else (alpha, beta)
    line = _with_number(builder, PointwiseMode.ADD, _with_number(builder, PointwiseMode.MUL, x, slope), shift)
    gate = _clip(builder, line, 0.0, 1.0, into if name == "HardSigmoid" else None)
    return gate if name == "HardSigmoid" else builder.pointwise(PointwiseMode.MUL, x, gate, into=into)


def _clip(builder: Builder, x: Tensor, low: float, high: float, into: Tensor | None) -> Tensor:
    """Bounds of float32's own range are none. A lower bound of 0 is spelt Relu, which more engines know."""
    has_high = high < _LARGEST
    if low == 0.0:
        x = builder.pointwise(PointwiseMode.RELU_FWD, x, into=None if has_high else into)
    elif low > -_LARGEST or not has_high:
        x = _with_number(builder, PointwiseMode.MAX, x, low, None if has_high else into)
    return _with_number(builder, PointwiseMode.MIN, x, high, into) if has_high else x


def _with_number(builder: Builder, mode: PointwiseMode, x: Tensor, value: float, into: Tensor | None = None) -> Tensor:
    return builder.pointwise(mode, x, builder.number(value, len(x.shape)), into=into)
