"""The few expressions that losses share: sums and means over real items, and classes where operators want them."""

from __future__ import annotations

import numpy as np

from toolkit.errors import ShapeError
from toolkit.graph.parameter import is_trainable_dtype
from toolkit.operators.derivative import cast, indicator
from toolkit.operators.expression import Expression, emit, reduce_sum, reshape, transpose, where

FLOAT, INT64 = np.dtype(np.float32), np.dtype(np.int64)
SMALLEST_PROBABILITY = 1e-12  # what log() is protected from when an output is a probability
SMALLEST_COUNT = 1e-30  # of items or their weights; less is nothing


def require_float(name: str, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """Raise ``ShapeError`` for an output that is not of floating-point numbers."""
    if not is_trainable_dtype(dtype):
        raise ShapeError(
            f"{name} requires a floating-point output, got {dtype.name} {shape}. Judge the output before the classes "
            "are picked (scores or probabilities)."
        )


def as_float32(x: Expression) -> Expression:
    """What a loss computes in, whatever the network does."""
    return cast(x, FLOAT)


def scalar(number: float) -> np.ndarray:
    """A float32 constant."""
    return np.asarray(number, np.float32)


def total(x: Expression) -> Expression:
    """The sum of all elements, a scalar."""
    return reduce_sum(x, list(range(x.ndim)), keepdims=False)


def at_least(x: Expression, low: float) -> Expression:
    """``x``, or ``low`` where it is less."""
    return emit("Max", x, scalar(low))


def safe_log(probability: Expression) -> Expression:
    """The logarithm of a probability that may be 0."""
    return emit("Log", at_least(as_float32(probability), SMALLEST_PROBABILITY))


def quotient(numerator: Expression, denominator: Expression) -> Expression:
    """A mean from its sum and its count: 0 where nothing was counted, which left nothing in the sum either."""
    is_nothing = emit(
        "Less", emit("Abs", denominator), scalar(SMALLEST_COUNT)
    )  # old opsets compare no floats for equality
    return numerator / where(is_nothing, scalar(1), denominator)


def mean_of_real(values: Expression, is_real: Expression | None, reduction: str = "mean") -> Expression:
    """The sum of ``values`` over what is real, or its mean; ``None`` says that everything is."""
    if is_real is None:
        return total(values) if reduction == "sum" else emit("ReduceMean", values, keepdims=0)
    summed = total(where(is_real, values, scalar(0)))
    return summed if reduction == "sum" else quotient(summed, total(indicator(is_real, values)))


def class_axis_second(x: Expression, axis: int) -> Expression:
    """``x`` with the classes on axis 1, where ONNX's losses expect them."""
    axis %= x.ndim
    return transpose(x, [0, axis, *(other for other in range(1, x.ndim) if other != axis)])


def one_hot(labels: Expression, classes: int) -> Expression:
    """(batch, classes, ...), true at the class of each label; nowhere for labels that are no class."""
    spread = reshape(labels, (labels.shape[0], 1, *labels.shape[1:]))
    numbers = np.arange(classes, dtype=np.int64).reshape(1, classes, *(1,) * (labels.ndim - 1))
    return emit("Equal", spread, numbers)


def real_labels(labels: Expression, ignore_index: int | None) -> Expression | None:
    """Which labels are not ``ignore_index``; ``None`` when all of them count."""
    return None if ignore_index is None else emit("Not", emit("Equal", labels, ignore_index))


def input_of(output: Expression, op_type: str, axis: int | None = None) -> Expression | None:
    """The input of the ``op_type`` (over ``axis``) that ``output`` comes from, ``None`` when it does not."""
    node = output.variable.producer
    if node is None or node.op_type != op_type or node.domain:
        return None
    before = Expression(output.emitter, node.x)
    if axis is None:
        return before
    normalised, wanted = node.attributes.get("axis", -1 if node.version >= 13 else 1) % output.ndim, axis % output.ndim
    # Before opset 13 everything from the axis on was one distribution.
    alone = node.version >= 13 or int(np.prod(output.shape[normalised + 1 :])) == 1
    return before if normalised == wanted and alone else None


def spread_over(shape: tuple[int, ...], axis: int, vector: np.ndarray) -> np.ndarray:
    """``vector`` shaped so that it lies along ``axis`` of something of ``shape``."""
    return vector.reshape([vector.size if other == axis else 1 for other in range(len(shape))])
