"""Cases of ``toolkit.operators.standard.convolution``."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from tests.cases.activation import naive_activation
from tests.support.case import Case, spread, uniform

GEOMETRY: dict[str, Any] = {"strides": [2, 1], "pads": [1, 0, 2, 1], "dilations": [1, 2], "group": 2}
PLAIN: dict[str, Any] = {"strides": [1], "pads": [1, 1], "dilations": [1], "group": 1}


def terms(x_shape: Any, w_shape: Any, y_shape: Any, **geometry: Any) -> Any:
    """Every (x index, w index, y index) whose product a convolution sums, by the definition; for small shapes only."""
    strides, pads, dilations, group = (geometry[name] for name in ("strides", "pads", "dilations", "group"))
    outputs_in_group = w_shape[0] // group
    for batch, m, c in product(range(x_shape[0]), range(w_shape[0]), range(w_shape[1])):
        channel = m // outputs_in_group * w_shape[1] + c
        for out, tap in product(product(*map(range, y_shape[2:])), product(*map(range, w_shape[2:]))):
            place = [o * s + t * d - p for o, s, t, d, p in zip(out, strides, tap, dilations, pads, strict=False)]
            if all(0 <= at < size for at, size in zip(place, x_shape[2:], strict=True)):
                yield (batch, channel, *place), (m, c, *tap), (batch, m, *out)


def naive_convolution(x: np.ndarray, w: np.ndarray, **geometry: Any) -> np.ndarray:
    """The convolution, product by product, in float64."""
    rank, spans = x.ndim - 2, [(k - 1) * d for k, d in zip(w.shape[2:], geometry["dilations"], strict=True)]
    pads, strides = geometry["pads"], geometry["strides"]
    sizes = [(x.shape[2 + i] + pads[i] + pads[rank + i] - spans[i] - 1) // strides[i] + 1 for i in range(rank)]
    y = np.zeros((x.shape[0], w.shape[0], *sizes))
    for at_x, at_w, at_y in terms(x.shape, w.shape, y.shape, **geometry):
        y[at_y] += float(x[at_x]) * float(w[at_w])
    return y


def judge_fused(x: Any, w: Any, b: Any = None, residual: Any = None, **attributes: Any) -> np.ndarray:
    """FusedConv by its definition."""
    activation = {name: attributes.pop(name) for name in list(attributes) if name.startswith("activation")}
    y = naive_convolution(x, w, **attributes)
    if b is not None:
        y += b.reshape(-1, *(1,) * (x.ndim - 2))
    if residual is not None:
        y += residual
    return naive_activation(y, **activation).astype(x.dtype)


def fused(activation: str, alpha: float = 0.0, beta: float = 0.0) -> Case:
    """A one-dimensional fused convolution with everything."""
    numbers = {"activation": activation, "activation_alpha": alpha, "activation_beta": beta}
    return Case(
        "FusedConv",
        [uniform("N", 2, 6), spread(3, 2, 3, low=-1, high=1), uniform(3), spread("N", 3, 6)],
        {**PLAIN, **numbers},
        version=1,
        domain="toolkit",
        judge=judge_fused,
        note=f"{activation} {alpha:g}",
    )


CASES = [
    Case("Conv", [uniform("N", 3, 9, 8), uniform(4, 3, 3, 3), uniform(4)], {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
    Case("Conv", [uniform("N", 4, 9), uniform(6, 2, 3)], {"group": 2, "dilations": [2]}, version=1, note="groups"),
    Case("Conv", [uniform("N", 4, 6, 6), uniform(4, 1, 3, 3)], {"group": 4}, version=11, note="depthwise"),
    Case("Conv", [uniform("N", 4, 5, 4), uniform(6, 4, 1, 1), uniform(6)], note="pointwise"),
    Case("Conv", [uniform("N", 2, 9), uniform(3, 2, 4)], {"auto_pad": "SAME_UPPER", "strides": [2]}, note="same upper"),
    Case("Conv", [uniform("N", 2, 9), uniform(3, 2, 4)], {"auto_pad": "SAME_LOWER", "strides": [2]}, note="same lower"),
    Case(
        "Conv",
        [uniform("N", 2, 4, 5, 6), uniform(3, 2, 2, 3, 2), uniform(3)],
        {"auto_pad": "VALID", "strides": [1, 2, 1], "kernel_shape": [2, 3, 2]},
        note="three axes",
    ),
    Case(
        "Conv",
        [uniform("N", 2, 6, dtype="float16"), uniform(3, 2, 3, dtype="float16")],
        tolerance=5e-3,
        judge="onnx.reference",
        note="float16",
    ),
    Case(
        "FusedConv",
        [uniform("N", 4, 7, 8), uniform(6, 2, 3, 3), uniform(6)],
        {**GEOMETRY, "activation": ""},
        version=1,
        domain="toolkit",
        judge=judge_fused,
        note="plain",
    ),
    fused("Relu"),
    fused("LeakyRelu", 0.1),
    fused("LeakyRelu", -0.1),
    fused("Clip", -0.5, 0.7),
    fused("Sigmoid"),
    fused("Tanh"),
    fused("Elu", 0.7),
    fused("Elu", -0.7),
    fused("HardSigmoid", 0.2, 0.5),
    fused("HardSwish"),
    fused("Gelu"),
    fused("GeluTanh"),
    fused("Silu"),
    fused("Softplus"),
]
