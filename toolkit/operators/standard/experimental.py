"""Operators that the default domain had as experiments up to opset 8 and that old models still carry.

ONNX has no schemas for them any more; what they mean is what its documents said then. Most are composed of standard
operators; ConstantFill and GivenTensorFill are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators import wire
from toolkit.operators.axes import known
from toolkit.operators.composed import composed, required
from toolkit.operators.expression import Expression, emit, indices
from toolkit.operators.record import Call, TensorType, not_differentiable, operator

FLOAT = 1  # ONNX's number of float32
Shape = Sequence[int]


def _affine(call: Call) -> list[Expression]:
    """alpha x + beta"""
    return [call.x * call.attribute("alpha", 1.0) + call.attribute("beta", 0.0)]


def _scale(call: Call) -> list[Expression]:
    return [call.x * call.attribute("scale", 1.0)]


def _image_scaler(call: Call) -> list[Expression]:
    """scale x + bias, a bias per channel."""
    _require_image(call)
    bias = np.asarray(call.attribute("bias", [0.0]), call.x.dtype)
    if bias.size not in (1, call.x.shape[1]):
        raise ValueError(f"bias must hold {call.x.shape[1]} numbers, one per channel, got {bias.size}")
    return [call.x * call.attribute("scale", 1.0) + bias.reshape(1, -1, 1, 1)]


def _parametric_softplus(call: Call) -> list[Expression]:
    """alpha log(exp(beta x) + 1)"""
    return [emit("Softplus", call.x * call.attribute("beta", 1.0)) * call.attribute("alpha", 1.0)]


def _scaled_tanh(call: Call) -> list[Expression]:
    """alpha tanh(beta x)"""
    return [emit("Tanh", call.x * call.attribute("beta", 1.0)) * call.attribute("alpha", 1.0)]


def _require_image(call: Call) -> None:
    if call.x.ndim != 4:
        raise ValueError(f"the input must be (batch, channels, height, width), got {call.x.ndim} axes")


def _crop(call: Call) -> list[Expression]:
    """Without the border (left, top, right, bottom); with a scale, that many rows and columns from left and top on."""
    _require_image(call)
    (left, top, right, bottom), (height, width) = call.attribute("border", [0] * 4), call.x.shape[2:]
    size = call.attribute("scale") or (height - bottom - top, width - right - left)
    ends = (top + size[0], left + size[1])
    if min(left, top, *size) < 0 or ends[0] > height or ends[1] > width:
        raise ValueError(f"a crop of {tuple(size)} from row {top}, column {left} does not lie in {height} x {width}")
    return [emit("Slice", call.x, indices(call.x, (top, left)), indices(call.x, ends), indices(call.x, (2, 3)))]


def _dynamic_slice(call: Call) -> list[Expression]:
    """Slice without steps."""
    bounds = required(call, 1, "starts"), required(call, 2, "ends")
    return [emit("Slice", call.x, *bounds, *call.inputs[3:])]


def _filled_shape(given: Shape | None, content: np.ndarray | None, attributes: dict[str, Any]) -> tuple[int, ...]:
    """The input's shape, or its content, and then ``extra_shape``; without an input, the attribute ``shape``."""
    if given is None:
        if "shape" not in attributes:
            raise ValueError("without an input, attribute 'shape' is required")
        return tuple(int(size) for size in attributes["shape"])
    sizes = known(content, "shape").reshape(-1).tolist() if attributes.get("input_as_shape") else list(given)
    return tuple(int(size) for size in [*sizes, *attributes.get("extra_shape", [])])


def _shape_of(like: np.ndarray | None, attributes: dict[str, Any]) -> tuple[int, ...]:
    return _filled_shape(None if like is None else like.shape, like, attributes)


def constant_fill(like: np.ndarray | None = None, /, **attributes: Any) -> np.ndarray:
    """One value everywhere."""
    dtype = wire.element_dtype(int(attributes.get("dtype", FLOAT)))
    return np.full(_shape_of(like, attributes), attributes.get("value", 0.0), dtype)


def given_tensor_fill(like: np.ndarray | None = None, /, **attributes: Any) -> np.ndarray:
    """The attribute ``values`` in a shape."""
    values, sizes = np.asarray(attributes["values"], np.float32), _shape_of(like, attributes)
    if values.size != np.prod(sizes):
        raise ValueError(f"the {values.size} values must fill the shape {sizes}")
    return values.reshape(sizes)


def _infer_fill(
    types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Sequence[np.ndarray | None]
) -> list[TensorType]:
    kind, content = (types[0], constants[0]) if types else (None, None)
    dtype = wire.element_dtype(int(attributes.get("dtype", FLOAT)))
    return [(dtype, _filled_shape(None if kind is None else kind[1], content, attributes))]


composed("Affine", _affine)
composed("Crop", _crop)
composed("DynamicSlice", _dynamic_slice, host_inputs=(1, 2, 3))
composed("ImageScaler", _image_scaler)
composed("ParametricSoftplus", _parametric_softplus)
composed("Scale", _scale)
composed("ScaledTanh", _scaled_tanh)
for _name, _reference in (("ConstantFill", constant_fill), ("GivenTensorFill", given_tensor_fill)):
    operator(
        _name,
        reference=_reference,
        gradient=not_differentiable("its result does not depend on data", slope_is_zero=True),
        infer=_infer_fill,
        host_only="its content is an attribute",
    )
