"""``CutSequences``: what a layer over sequences gives, up to the end of each, and what each gives last.

Inputs are Y (steps, batch, size) and as many steps of each sequence as count (batch,). Outputs are Y with zeros behind
the ends, whatever stood there, and the last row of each sequence (batch, size), zeros where a sequence is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.composed import gradient_through
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, reduce_sum, reshape, where
from toolkit.operators.record import Call, TensorType, operator


def cut_sequences(y: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The reference."""
    steps = len(y)
    if (lengths == steps).all() and steps:
        return y, y[-1]
    if lengths.min() < 0 or lengths.max() > steps:
        raise ValueError(f"sequence_lens must lie in [0, {steps}], got {lengths.tolist()}")
    step = np.arange(1, steps + 1, like=lengths)[:, None]
    nothing = y.dtype.type(0)
    cut = np.where((step <= lengths)[..., None], y, nothing)
    return cut, np.where((step == lengths)[..., None], cut, nothing).sum(axis=0)


def _expansion(call: Call) -> list[Expression | None]:
    y, lengths = call.inputs
    assert y is not None and lengths is not None
    steps, batch, _ = y.shape
    step = np.arange(1, steps + 1, dtype=lengths.dtype).reshape(-1, 1)
    over = reshape(emit("Less", lengths, step), (steps, batch, 1))
    is_last = reshape(emit("Equal", lengths, step), (steps, batch, 1))
    cut = where(over, 0.0, y)
    return [cut, reduce_sum(where(is_last, cut, 0.0), [0], keepdims=False)]


def _infer(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    y, lengths = types
    assert y is not None and lengths is not None
    dtype, (_, batch, size) = y
    if lengths[1] != (batch,):
        raise ValueError(f"lengths must be ({batch},), got {lengths[1]}")
    return [y, (dtype, (batch, size))]


operator(
    "CutSequences",
    domain=TOOLKIT_DOMAIN,
    reference=cut_sequences,
    gradient=gradient_through(_expansion),
    infer=_infer,
    expansion=_expansion,
)
