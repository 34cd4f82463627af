"""CenterCropPad: axes cut or padded with zeros to given sizes, evenly at both ends. It is the transpose of itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.axes import known, normalised
from toolkit.operators.expression import Expression, emit, indices
from toolkit.operators.record import Call, TensorType, operator


def _target(shape: Sequence[int], wanted: np.ndarray, axes: Sequence[int] | None) -> tuple[int, ...]:
    """``shape`` with the wanted sizes of ``axes`` (all by default)."""
    chosen = range(len(shape)) if axes is None else normalised(axes, len(shape))
    sizes = np.asarray(wanted).reshape(-1).tolist()
    if len(sizes) != len(chosen) or min(sizes, default=0) < 0:
        raise ValueError(f"shape must hold {len(chosen)} sizes of 0 or more, one per axis, got {sizes}")
    target = list(shape)
    for axis, size in zip(chosen, sizes, strict=True):
        target[axis] = size
    return tuple(target)


def center_crop_pad(x: np.ndarray, shape: np.ndarray, *, axes: Sequence[int] | None = None) -> np.ndarray:
    """What is odd goes to the end: one more element is cut or padded there."""
    target = _target(x.shape, shape, axes)
    kept, place = [], []
    for size, wanted in zip(x.shape, target, strict=True):
        common = min(size, wanted)
        first, start = max(size - wanted, 0) // 2, max(wanted - size, 0) // 2
        kept.append(slice(first, first + common))
        place.append(slice(start, start + common))
    y = np.full(target, "", object) if x.dtype == object else np.zeros(target, x.dtype, like=x)
    y[tuple(place)] = x[tuple(kept)]
    return y


def _infer(
    types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Sequence[np.ndarray | None]
) -> list[TensorType]:
    assert types[0] is not None
    dtype, shape = types[0]
    return [(dtype, _target(shape, known(constants[1], "shape"), attributes.get("axes")))]


def _gradient(call: Call, g: Expression) -> list[Expression | None]:
    return [emit("CenterCropPad", g, indices(g, call.x.shape)), None]


operator("CenterCropPad", since=18, reference=center_crop_pad, gradient=_gradient, infer=_infer, host_inputs=(1,))
