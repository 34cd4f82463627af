"""BatchNormalization before version 14: up to five outputs, and with ``spatial`` 0 a statistic per element of an image.

Up to version 6 ``is_test`` says whether a node uses the statistics it is given or those of its batch. In 7 and 9 the
number of outputs says so, which a reference does not see: ``training_mode``, the attribute that version 14 has for it,
writes it out. Expansions tell each form as version 15 or, with all five outputs, as our own training form.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, reshape
from toolkit.operators.record import Call, Inference, TensorType, operator
from toolkit.operators.standard.batch_normalization import (
    normalise,
    normalise_batch,
    statistics_shape,
)
from toolkit.operators.standard.batch_normalization_gradient import gradient_of_inputs

FIRST_WITHOUT_TEST_MODE, FIRST_WITHOUT_SPATIAL = 7, 9


def uses_given_statistics(version: int, attributes: Mapping[str, Any]) -> bool:
    """Whether a BatchNormalization node of that version is a fixed scale and shift."""
    if version < FIRST_WITHOUT_TEST_MODE:
        return bool(attributes.get("is_test", 0))
    return not attributes.get("training_mode", 0)


def has_statistics_per_channel(version: int, attributes: Mapping[str, Any]) -> bool:
    """Whether statistics are vectors over axis 1, not over all elements of an image."""
    return version >= FIRST_WITHOUT_SPATIAL or bool(attributes.get("spatial", 1))


def _trains(call: Call) -> bool:
    if call.version >= FIRST_WITHOUT_TEST_MODE and any(item is not None for item in call.outputs[1:]):
        return True
    return not uses_given_statistics(call.version, call.attributes)


def _outputs(
    x: np.ndarray, statistics: Sequence[np.ndarray], given: bool, epsilon: float, momentum: float, spatial: int = 1
) -> tuple[np.ndarray, ...]:
    if not given:
        return normalise_batch(x, *statistics, epsilon=epsilon, momentum=momentum, spatial=spatial)
    _, _, mean, variance = statistics
    return normalise(x, *statistics, epsilon=epsilon, spatial=spatial), mean, variance, mean, variance


def _version_1(
    x: np.ndarray,
    *statistics: np.ndarray,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    is_test: int = 0,
    spatial: int = 1,
    consumed_inputs: Any = None,
) -> tuple[np.ndarray, ...]:
    return _outputs(x, statistics, bool(is_test), epsilon, momentum, spatial)


def _version_7(
    x: np.ndarray,
    *statistics: np.ndarray,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    spatial: int = 1,
    training_mode: int = 0,
) -> tuple[np.ndarray, ...]:
    return _outputs(x, statistics, not training_mode, epsilon, momentum, spatial)


def _version_9(
    x: np.ndarray, *statistics: np.ndarray, epsilon: float = 1e-5, momentum: float = 0.9, training_mode: int = 0
) -> tuple[np.ndarray, ...]:
    return _outputs(x, statistics, not training_mode, epsilon, momentum)


def _infer(version: int) -> Inference:
    def infer(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
        x, *vectors = (item for item in types if item is not None)
        channels = statistics_shape(x[1], has_statistics_per_channel(version, attributes))[1]
        for item in vectors:
            if math.prod(item[1]) != channels:
                raise ValueError(f"scale, B, mean and var must hold {channels} numbers, got the shape {item[1]}")
        scale, _, mean, variance = vectors
        return [x, mean, variance, scale, scale]

    return infer


def _gradient(call: Call, *grads: Expression | None) -> list[Expression | None]:
    view = statistics_shape(call.x.shape, has_statistics_per_channel(call.version, call.attributes))
    return gradient_of_inputs(call, grads, _trains(call), view)


def _expansion(call: Call) -> list[Expression | None]:
    x, *statistics = (item for item in call.inputs if item is not None)
    shape = statistics_shape(x.shape, has_statistics_per_channel(call.version, call.attributes))
    inputs = [reshape(x, shape), *(reshape(item, (shape[1],)) for item in statistics)]
    epsilon, momentum = float(call.attribute("epsilon", 1e-5)), float(call.attribute("momentum", 0.9))
    numbers: dict[str, Any] = {"epsilon": epsilon, "momentum": momentum}
    found: list[Expression]
    if not _trains(call):
        found = [emit("BatchNormalization", *inputs, epsilon=epsilon), *statistics[2:], *statistics[2:]]
    elif any(item is not None for item in call.outputs[3:]):
        found = emit("BatchNormalizationTraining", *inputs, domain=TOOLKIT_DOMAIN, **numbers, activation="", outputs=5)
    else:
        found = emit("BatchNormalization", *inputs, **numbers, training_mode=1, outputs=3)
    models = [x, statistics[2], statistics[3], statistics[0], statistics[0]]
    pairs = zip(found, models, strict=False)
    return [reshape(item, model.shape) for item, model in list(pairs)[: len(call.outputs)]]


operator("BatchNormalization", reference=_version_1, gradient=_gradient, infer=_infer(1), expansion=_expansion)
operator("BatchNormalization", since=7, reference=_version_7, gradient=_gradient, infer=_infer(7), expansion=_expansion)
operator("BatchNormalization", since=9, reference=_version_9, gradient=_gradient, infer=_infer(9), expansion=_expansion)
