"""Pooling over windows: MaxPool, AveragePool, LpPool. Gradients are operators of our own: ``pooling_gradient``.

Tensors are (batch, channels, spatial...). Sums and maxima of boxes are taken axis by axis, so a window of k x k costs
2k passes, not k squared. Pooling over everything is in ``global_pooling``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.errors import ShapeError
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, where
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, operator
from toolkit.operators.standard.windows import auto_pad as padding_mode
from toolkit.operators.standard.windows import cropped, explicit_geometry, output_sizes, overhang, padded, per_axis

Shape = Sequence[int]


def canonical_pooling(attributes: Mapping[str, Any], x_shape: Shape) -> dict[str, Any]:
    """The attributes of a pooling as explicit ``kernel_shape``, ``strides``, ``pads``, ``dilations`` and ``ceil_mode``.

    Raises ``ShapeError`` where they do not fit the shape.
    """
    if len(x_shape) < 3:
        raise ShapeError(f"the input must be (batch, channels, spatial...), got {len(x_shape)} axes")
    if not attributes.get("kernel_shape"):
        raise ShapeError("attribute 'kernel_shape' is required")
    kernel = per_axis(attributes, "kernel_shape", len(x_shape) - 2)
    keeps_size = padding_mode(attributes).startswith("SAME")
    ceil_mode = 0 if keeps_size else int(attributes.get("ceil_mode", 0))
    return {"kernel_shape": kernel, **explicit_geometry(attributes, x_shape[2:], kernel), "ceil_mode": ceil_mode}


class Box:
    """The windows of one pooling on concrete sizes."""

    def __init__(self, attributes: Mapping[str, Any], x_shape: Shape) -> None:
        explicit = canonical_pooling(attributes, x_shape)
        self.spatial = tuple(x_shape[2:])
        self.kernel: list[int] = explicit["kernel_shape"]
        self.strides: list[int] = explicit["strides"]
        self.dilations: list[int] = explicit["dilations"]
        self.pads: list[int] = explicit["pads"]
        geometry = (self.kernel, self.strides, self.pads, self.dilations)
        self.output = output_sizes(self.spatial, *geometry, ceil_mode=explicit["ceil_mode"])
        self.room = overhang(self.spatial, *geometry, output=self.output)
        self.shape = (*x_shape[:2], *self.output)

    def taps(self, axis: int) -> list[tuple[slice | None, ...] | Any]:
        """Per position of the window on a spatial axis, the index of that element of all windows of a padded tensor."""
        stride, dilation, count = self.strides[axis], self.dilations[axis], self.output[axis]
        lead = (slice(None),) * (2 + axis)
        starts = [place * dilation for place in range(self.kernel[axis])]
        return [(*lead, slice(start, start + (count - 1) * stride + 1, stride)) for start in starts]

    def sums(self, x: np.ndarray) -> np.ndarray:
        """The sum of every window of ``x``; padding counts as zero."""
        total = padded(x, self.room)
        for axis in reversed(range(len(self.kernel))):
            first, *others = self.taps(axis)
            partial = total[first].copy()
            for tap in others:
                partial += total[tap]
            total = partial
        return total

    def spread(self, g: np.ndarray) -> np.ndarray:
        """The transpose of ``sums``: every element of ``g`` is added to all elements of its window."""
        for axis in range(len(self.kernel)):
            rank = len(self.kernel)
            size = self.spatial[axis] + self.room[axis] + self.room[rank + axis]
            total = np.zeros((*g.shape[: 2 + axis], size, *g.shape[3 + axis :]), g.dtype, like=g)
            for tap in self.taps(axis):
                total[tap] += g
            g = total
        return cropped(g, self.room, self.spatial)

    def counts(self, include_pads: int, like: Any = None) -> np.ndarray:
        """How many elements the mean of each window divides by; what overhangs the padding never counts."""
        found = np.ones((1,) * len(self.kernel), like=like)
        for axis, size in enumerate(self.spatial):
            low = -self.pads[axis] if include_pads else 0
            high = size + (self.pads[len(self.kernel) + axis] if include_pads else 0)
            starts = np.arange(self.output[axis], like=like) * self.strides[axis] - self.pads[axis]
            places = starts[:, None] + np.arange(self.kernel[axis], like=like) * self.dilations[axis]
            inside = ((places >= low) & (places < high)).sum(axis=1)
            found = found * inside.reshape(*(-1 if other == axis else 1 for other in range(len(self.kernel))))
        return np.maximum(found, 1)

    def maxima(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The largest element of every window (of equals the first), and its row-major offset in the window (int32)."""
        lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        values, offsets, step = padded(x, self.room, lowest), None, 1
        for axis in reversed(range(len(self.kernel))):
            taps = self.taps(axis)
            best = values[taps[0]].copy()
            chosen = np.zeros(best.shape, np.int32, like=x) if offsets is None else offsets[taps[0]].copy()
            for place, tap in enumerate(taps[1:], 1):
                larger = values[tap] > best
                np.copyto(best, values[tap], where=larger)
                offset = place * step if offsets is None else offsets[tap] + np.int32(place * step)
                np.copyto(chosen, offset, where=larger, casting="same_kind")
            values, offsets, step = best, chosen, step * self.kernel[axis]
        assert offsets is not None
        return values, offsets

    def places(self, selected: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """The coordinates per spatial axis of chosen elements, and whether they lie inside the tensor."""
        coordinates, inside, step = [], np.ones((), bool, like=selected), int(np.prod(self.kernel))
        for axis, size in enumerate(self.kernel):
            step //= size
            starts = np.arange(self.output[axis], like=selected) * self.strides[axis] - self.pads[axis]
            starts = starts.reshape(*(-1 if other == axis else 1 for other in range(len(self.kernel))))
            place = starts + (selected // step % size) * self.dilations[axis]
            inside = inside & (place >= 0) & (place < self.spatial[axis])
            coordinates.append(np.clip(place, 0, self.spatial[axis] - 1))
        return coordinates, inside

    def flat(self, coordinates: Sequence[np.ndarray], storage_order: int = 0) -> np.ndarray:
        """Row-major positions in the whole tensor; with ``storage_order`` 1 the spatial part is column-major."""
        axes = range(len(self.spatial))
        position, step = np.zeros((), np.int64, like=coordinates[0]), 1
        for axis in axes if storage_order else reversed(axes):
            position = position + coordinates[axis] * step
            step *= self.spatial[axis]
        planes = np.arange(self.shape[0] * self.shape[1], like=position) * step
        return position + planes.reshape(self.shape[0], self.shape[1], *(1,) * len(self.spatial))


@in_float32
def _max_pool(
    x: np.ndarray,
    *,
    kernel_shape: Shape,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Shape | None = None,
    pads: Shape | None = None,
    storage_order: int = 0,
    strides: Shape | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """ONNX MaxPool with its Indices."""
    given = {"auto_pad": auto_pad, "dilations": dilations, "pads": pads, "strides": strides, "ceil_mode": ceil_mode}
    box = Box({"kernel_shape": kernel_shape, **given}, x.shape)
    y, selected = box.maxima(x)
    return y, box.flat(box.places(selected)[0], storage_order)


@in_float32
def _average_pool(
    x: np.ndarray,
    *,
    kernel_shape: Shape,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Shape | None = None,
    pads: Shape | None = None,
    strides: Shape | None = None,
) -> np.ndarray:
    given = {"auto_pad": auto_pad, "dilations": dilations, "pads": pads, "strides": strides, "ceil_mode": ceil_mode}
    box = Box({"kernel_shape": kernel_shape, **given}, x.shape)
    return box.sums(x) / box.counts(count_include_pad, x).astype(x.dtype)


@in_float32
def _lp_pool(x: np.ndarray, *, p: float = 2, **attributes: Any) -> np.ndarray:
    """The power is a float in version 1, an integer since."""
    powers = np.abs(x) ** p
    return Box(attributes, x.shape).sums(powers) ** x.dtype.type(1.0 / p)


def pooled_shape(attributes: dict[str, Any], shape: Shape) -> tuple[int, ...]:
    """The shape of a pooling of a tensor of ``shape``; errors as ``canonical_pooling``."""
    return Box(attributes, shape).shape


def _infer_maximum(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    assert inputs[0] is not None
    shape = pooled_shape(attributes, inputs[0][1])
    return [(inputs[0][0], shape), (np.dtype(np.int64), shape)]


def _infer_pooled(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    assert inputs[0] is not None
    return [(inputs[0][0], pooled_shape(attributes, inputs[0][1]))]


def max_pool_gradient(g: Expression, selected: Expression, shape: Shape, attributes: Mapping[str, Any]) -> Expression:
    """Emit MaxPoolGradient."""
    dx: Expression = emit("MaxPoolGradient", g, selected, domain=TOOLKIT_DOMAIN, **attributes, input_shape=list(shape))
    return dx


def _max_gradient(call: Call, g: Expression, _: Expression | None = None) -> list[Expression | None]:
    """For a MaxPool that was not replaced by its training form: the selection is made again."""
    attributes = canonical_pooling(call.attributes, call.x.shape)
    _, selected = emit("MaxPoolTraining", call.x, domain=TOOLKIT_DOMAIN, **attributes, outputs=2)
    return [max_pool_gradient(g, selected, call.x.shape, attributes)]


def _average_gradient(call: Call, g: Expression) -> list[Expression | None]:
    attributes = canonical_pooling(call.attributes, call.x.shape)
    counted = int(call.attribute("count_include_pad", 0))
    shape = list(call.x.shape)
    made = {**attributes, "count_include_pad": counted, "input_shape": shape}
    return [emit("AveragePoolGradient", g, domain=TOOLKIT_DOMAIN, **made)]


def _lp_gradient(call: Call, g: Expression) -> list[Expression | None]:
    """Every window sends g y^(1-p) to its elements, which scale it by sign(x) |x|^(p-1)."""
    p, box = call.attribute("p", 2), Box(call.attributes, call.x.shape)
    shared = power_share(g, call.y, p) * float(np.prod(box.kernel))
    reached = emit(
        "AveragePoolGradient",
        shared,
        domain=TOOLKIT_DOMAIN,
        kernel_shape=box.kernel,
        strides=box.strides,
        pads=box.room,
        dilations=box.dilations,
        ceil_mode=0,
        count_include_pad=1,
        input_shape=list(call.x.shape),
    )
    return [reached * power_slope(call.x, p)]


def power_share(g: Expression, y: Expression, p: float) -> Expression:
    """g y^(1-p), zero where the norm ``y`` is zero."""
    if p == 1:
        return g
    is_zero = emit("Equal", y, 0.0)
    norm = where(is_zero, 1.0, y)
    return where(is_zero, 0.0, g / (norm if p == 2 else emit("Pow", norm, float(p - 1))))


def power_slope(x: Expression, p: float) -> Expression:
    """sign(x) |x|^(p-1)."""
    if p == 2:
        return x
    sign: Expression = emit("Sign", x)
    return sign if p == 1 else sign * emit("Pow", emit("Abs", x), float(p - 1))


operator("MaxPool", reference=_max_pool, gradient=_max_gradient, infer=_infer_maximum)
operator("AveragePool", reference=_average_pool, gradient=_average_gradient, infer=_infer_pooled)
operator("LpPool", reference=_lp_pool, gradient=_lp_gradient, infer=_infer_pooled)
