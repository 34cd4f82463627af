"""Interpolation and InterpolationGradient (toolkit domain): the linear maps that a Resize and its gradient are.

Every choice of a Resize is an attribute here (``canonical_resize`` makes them); each of the two is the gradient of the
other. A region of interest stays an input: it may be computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np

from toolkit.graph.parameter import is_trainable_dtype
from toolkit.operators.derivative import cast
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, as_expression, emit, transpose, where
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, operator
from toolkit.operators.standard.interpolation import Sampling, Stretch, Taps, taps

Shape = Sequence[int]
SAMPLING = tuple(field.name for field in fields(Sampling))
CROPPING = "tf_crop_and_resize"


def resized_shape(shape: Shape, canonical: Mapping[str, Any]) -> tuple[int, ...]:
    """``shape`` with the sizes of the resized axes replaced."""
    found = list(shape)
    for axis, size in zip(canonical["axes"], canonical["sizes"], strict=True):
        found[axis] = size
    return tuple(found)


def resampling_steps(shape: Shape, roi: np.ndarray | None, canonical: Mapping[str, Any]) -> list[tuple[int, Taps]]:
    """(axis, taps) of every axis that changes: those that shrink first, then growing ones, the last axis first."""
    sampling, axes = Sampling(**{name: canonical[name] for name in SAMPLING}), canonical["axes"]
    regions = [(0.0, 1.0)] * len(axes)
    if sampling.coordinate_transformation_mode == CROPPING:
        if roi is None or roi.size != 2 * len(axes):
            raise ValueError(f"tf_crop_and_resize requires a roi of {2 * len(axes)} numbers")
        regions = list(zip(roi[: len(axes)].tolist(), roi[len(axes) :].tolist(), strict=True))
    found = []
    stretches = zip(axes, canonical["sizes"], canonical["scales"], regions, strict=True)
    for axis, output, scale, region in stretches:
        made = taps(sampling, Stretch(shape[axis], output, scale, region))
        if made is not None:
            found.append((axis, made))
    return sorted(found, key=lambda step: (step[1].index.shape[0] / shape[step[0]], -step[0]))


@in_float32
def interpolation(x: np.ndarray, roi: np.ndarray | None = None, **canonical: Any) -> np.ndarray:
    """``x`` resampled along its axes, with the attributes that ``canonical_resize`` makes."""
    shape = resized_shape(x.shape, canonical)
    if 0 in shape:
        return np.zeros(shape, x.dtype, like=x)
    steps = resampling_steps(x.shape, roi, canonical)
    y = x
    if canonical["mode"] != "nearest" and x.dtype.kind != "f":
        y = x.astype(np.float64)
    for axis, found in steps:
        if found.weight is not None and y.dtype.kind != "f":
            found = Taps(found.index, None, found.outside)
        y = found.applied(y, axis)
    for axis, found in steps:
        if found.outside is not None:
            y[(slice(None),) * axis + (np.asarray(found.outside, like=x),)] = canonical["extrapolation_value"]
    return _in_type(y, x.dtype) if steps else x.copy()


def _in_type(y: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """``y`` in the source's type: integers are rounded and saturated."""
    if y.dtype == dtype:
        return y
    limits = ml_dtypes.iinfo(dtype)
    return np.clip(np.rint(y), float(limits.min), float(limits.max)).astype(dtype)


@in_float32
def interpolation_gradient(
    g: np.ndarray, roi: np.ndarray | None = None, *, input_shape: Shape, **canonical: Any
) -> np.ndarray:
    """The transpose of ``interpolation``: every element of ``g`` is shared out to what it was a weighted sum of."""
    if 0 in g.shape:
        return np.zeros(tuple(input_shape), g.dtype, like=g)
    steps = resampling_steps(input_shape, roi, canonical)
    for axis, found in reversed(steps):
        g = found.transposed(input_shape[axis]).applied(g, axis)
    return g if steps else g.copy()


def _infer_interpolation(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    assert types[0] is not None
    return [(types[0][0], resized_shape(types[0][1], attributes))]


def _infer_gradient(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    assert types[0] is not None
    return [(types[0][0], tuple(attributes["input_shape"]))]


def _interpolation_gradient(call: Call, g: Expression) -> list[Expression | None]:
    made = {**call.attributes, "input_shape": list(call.x.shape)}
    return [emit("InterpolationGradient", g, *call.inputs[1:], domain=TOOLKIT_DOMAIN, **made), None][: len(call.inputs)]


def _gradient_of_gradient(call: Call, gg: Expression) -> list[Expression | None]:
    made = {name: value for name, value in call.attributes.items() if name != "input_shape"}
    made["extrapolation_value"] = 0.0
    return [emit("Interpolation", gg, *call.inputs[1:], domain=TOOLKIT_DOMAIN, **made), None][: len(call.inputs)]


def _resampled(call: Call, is_gradient: bool) -> list[Expression | None]:
    """One step per axis: a Gather where elements are copied, else a product with the weights as a matrix."""
    shape = call.attributes["input_shape"] if is_gradient else call.x.shape
    roi = call.inputs[1] if len(call.inputs) > 1 else None
    if roi is not None and roi.value is None and call.attributes["coordinate_transformation_mode"] == CROPPING:
        raise ValueError("the region of interest is computed, so its weights are no constants: give it as one")
    y = call.x
    for axis, found in resampling_steps(shape, None if roi is None else roi.value, call.attributes):
        if found.weight is None and not is_gradient:
            y = emit("Gather", y, found.index[:, 0], axis=axis)
            continue
        matrix = found.matrix(shape[axis]).astype(y.dtype if is_trainable_dtype(y.dtype) else np.float64)
        last = [*(other for other in range(y.ndim) if other != axis), axis]
        moved = cast(transpose(y, last), matrix.dtype) @ as_expression(matrix if is_gradient else matrix.T, y)
        y = transpose(moved, [last.index(other) for other in range(y.ndim)])
    value = float(call.attributes["extrapolation_value"])
    for axis, found in (
        [] if is_gradient else resampling_steps(shape, None if roi is None else roi.value, call.attributes)
    ):
        if found.outside is not None:
            mask = found.outside.reshape([-1 if other == axis else 1 for other in range(y.ndim)])
            y = where(as_expression(mask, y), value, y)
    if y.dtype != call.x.dtype:
        limits = ml_dtypes.iinfo(call.x.dtype)
        y = cast(emit("Clip", emit("Round", y), float(limits.min), float(limits.max)), call.x.dtype)
    return [y]


operator(
    "Interpolation",
    domain=TOOLKIT_DOMAIN,
    reference=interpolation,
    gradient=_interpolation_gradient,
    infer=_infer_interpolation,
    expansion=partial(_resampled, is_gradient=False),
    host_inputs=(1,),
)
operator(
    "InterpolationGradient",
    domain=TOOLKIT_DOMAIN,
    reference=interpolation_gradient,
    gradient=_gradient_of_gradient,
    infer=_infer_gradient,
    expansion=partial(_resampled, is_gradient=True),
    host_inputs=(1,),
)
