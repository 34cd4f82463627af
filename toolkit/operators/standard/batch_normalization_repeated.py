"""BatchNormalizationRepeated: what BatchNormalizationTraining made, once more, from the statistics that it took.

One sweep over the image is less than the training form needs, which has to find the statistics first. It is what a
backward pass repeats of a normalisation, see ``toolkit.autodiff.recomputation``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.errors import ShapeError
from toolkit.operators.composed import gradient_through
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit
from toolkit.operators.record import Call, TensorType, operator
from toolkit.operators.standard.batch_normalization import normalise


def _repeated(
    x: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    *,
    epsilon: float = 1e-5,
    activation: str = "",
) -> np.ndarray:
    y = normalise(x, scale, bias, mean, variance, epsilon=epsilon)
    return np.maximum(y, y.dtype.type(0)) if activation else y


def _infer(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    x, *vectors = inputs
    assert x is not None
    for item in vectors:
        if item is None or item[1] != x[1][1:2]:
            raise ShapeError(f"scale, bias, mean and variance must be vectors of the channels of {x[1]}, got {item}")
    if attributes.get("activation", "") not in ("", "Relu"):
        raise ShapeError(f"activation must be '' or 'Relu', got {attributes['activation']!r}")
    return [x]


def _expansion(call: Call) -> list[Expression]:
    epsilon = float(call.attribute("epsilon", 1e-5))
    y = emit("BatchNormalization", *call.inputs[:5], version=15, epsilon=epsilon)
    return [emit("Relu", y) if call.attribute("activation", "") else y]


operator(
    "BatchNormalizationRepeated",
    domain=TOOLKIT_DOMAIN,
    reference=_repeated,
    gradient=gradient_through(_expansion),
    infer=_infer,
    expansion=_expansion,
)
