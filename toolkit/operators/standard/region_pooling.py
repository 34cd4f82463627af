"""Pooling of regions of interest: RoiAlign and MaxRoiPool, and the gradients of what they pool.

RoiAlign averages samples whose bilinear weights are a product of one weight per axis, so the mean over a bin is a
matrix product from either side with what the region covers; its maximum takes weighted neighbours, one by one, as the
specification says. Where regions lie takes no gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit
from toolkit.operators.precision import in_float32
from toolkit.operators.record import (
    Call,
    Gradient,
    NotDifferentiable,
    Reference,
    TensorType,
    not_differentiable,
    operator,
)
from toolkit.operators.standard.region_expansion import average_gradient, sample_maximum_gradient

Shape = Sequence[int]


@dataclass(frozen=True, slots=True)
class Samples:
    """The samples of one region along one axis: two neighbours each, (bins, samples, 2)."""

    index: np.ndarray
    weight: np.ndarray

    @property
    def covered(self) -> slice:
        """The elements between the first and the last that is read."""
        read = self.index[self.weight != 0]
        return slice(int(read.min()), int(read.max()) + 1) if read.size else slice(0, 0)

    def matrix(self, covered: slice, dtype: np.dtype) -> np.ndarray:
        """The mean of the samples of each bin as weights of the covered elements: (bins, covered)."""
        bins, count, size = self.index.shape[0], self.index.shape[1], covered.stop - covered.start
        used = self.weight != 0
        rows = np.broadcast_to(np.arange(bins)[:, None, None], self.index.shape)[used]
        places = rows * size + self.index[used] - covered.start
        total = np.bincount(places, self.weight[used], minlength=bins * size)
        return (total.reshape(bins, size) / max(count, 1)).astype(dtype)


def _samples(start: float, length: float, bins: int, ratio: int, size: int) -> Samples:
    """Samples evenly spread in each of ``bins`` parts; those more than one element outside weigh nothing."""
    count = ratio if ratio > 0 else max(int(np.ceil(length / bins)), 0)
    part = length / bins
    at = start + np.arange(bins, dtype=np.result_type(start))[:, None] * part
    at = at + ((np.arange(count) + 0.5) * part / max(count, 1)).astype(at.dtype)
    inside = (at >= -1) & (at <= size)
    low = np.clip(at, 0, size - 1)
    below = np.floor(low).astype(np.int64)
    upper = low - below
    weight = np.where(inside[..., None], np.stack([1 - upper, upper], axis=-1), 0)
    return Samples(np.minimum(np.stack([below, below + 1], axis=-1), size - 1), weight)


def _regions(
    rois: np.ndarray,
    batch_indices: np.ndarray,
    shape: Shape,
    coordinate_transformation_mode: str = "half_pixel",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Iterator[tuple[int, Samples, Samples]]:
    """Image number, samples of rows and samples of columns of each region (left, top, right, bottom)."""
    if coordinate_transformation_mode not in ("half_pixel", "output_half_pixel"):
        raise ValueError(
            f"coordinate_transformation_mode must be half_pixel or output_half_pixel, "
            f"got {coordinate_transformation_mode!r}"
        )
    if batch_indices.size and (batch_indices.min() < 0 or batch_indices.max() >= shape[0]):
        raise ValueError(f"batch_indices must lie in [0, {shape[0] - 1}]")
    aligned = coordinate_transformation_mode == "half_pixel"
    scaled = rois * rois.dtype.type(spatial_scale) - rois.dtype.type(0.5 if aligned else 0.0)
    lengths = scaled[:, 2:4] - scaled[:, :2]
    if not aligned:
        lengths = np.maximum(lengths, 1)
    for image, (left, top, *_), (width, height) in zip(batch_indices.tolist(), scaled, lengths, strict=True):
        rows = _samples(top, height, output_height, sampling_ratio, shape[2])
        yield image, rows, _samples(left, width, output_width, sampling_ratio, shape[3])


def _pooled_shape(rois: np.ndarray, shape: Shape, attributes: dict[str, Any]) -> tuple[int, ...]:
    return (rois.shape[0], shape[1], attributes.get("output_height", 1), attributes.get("output_width", 1))


def _roi_align(mode_of_version: str) -> Reference:
    """RoiAlign whose coordinates are transformed by default as ``mode_of_version`` says."""

    @in_float32
    def evaluate(
        x: np.ndarray, rois: np.ndarray, batch_indices: np.ndarray, *, mode: str = "avg", **attributes: Any
    ) -> np.ndarray:
        if mode not in ("avg", "max"):
            raise ValueError(f"mode must be avg or max, got {mode!r}")
        attributes.setdefault("coordinate_transformation_mode", mode_of_version)
        y = np.zeros(_pooled_shape(rois, x.shape, attributes), x.dtype)
        for number, (image, rows, columns) in enumerate(_regions(rois, batch_indices, x.shape, **attributes)):
            if mode == "max":
                y[number] = _largest(x[image], rows, columns)[0]
                continue
            down, along = rows.covered, columns.covered
            part = rows.matrix(down, x.dtype) @ x[image][:, down, along]
            y[number] = part @ columns.matrix(along, x.dtype).T
        return y

    return evaluate


def _by_bin(values: np.ndarray, rows: Samples, columns: Samples) -> np.ndarray:
    """(channels, row taps, column taps) as (channels, bins, bins, all taps of a bin)."""
    split = values.reshape(values.shape[0], rows.index.shape[0], -1, columns.index.shape[0], columns.index[0].size)
    return split.transpose(0, 1, 3, 2, 4).reshape(*split.shape[:2], split.shape[3], -1)


def _largest(image: np.ndarray, rows: Samples, columns: Samples) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per channel and bin: the largest weighted neighbour of any sample, its weight and its position in the image."""
    channels, _, width = image.shape
    if rows.index.size == 0 or columns.index.size == 0:
        empty = np.zeros((channels, rows.index.shape[0], columns.index.shape[0]), image.dtype)
        return empty, empty, empty.astype(np.int64)
    down, along = rows.index.reshape(-1), columns.index.reshape(-1)
    weight = (rows.weight.reshape(-1, 1) * columns.weight.reshape(-1)).astype(image.dtype)
    candidates = _by_bin(image[:, down[:, None], along] * weight, rows, columns)
    chosen = candidates.argmax(axis=-1)
    weights = np.broadcast_to(_by_bin(weight[None], rows, columns), candidates.shape)
    places = np.broadcast_to(_by_bin((down[:, None] * width + along)[None], rows, columns), candidates.shape)
    found = [np.take_along_axis(item, chosen[..., None], -1)[..., 0] for item in (candidates, weights, places)]
    return found[0], found[1], found[2]


@in_float32
def roi_align_average_gradient(
    g: np.ndarray, rois: np.ndarray, batch_indices: np.ndarray, *, input_shape: Shape, **attributes: Any
) -> np.ndarray:
    """The gradient of what RoiAlign averages."""
    dx = np.zeros(tuple(input_shape), g.dtype)
    for number, (image, rows, columns) in enumerate(_regions(rois, batch_indices, input_shape, **attributes)):
        down, along = rows.covered, columns.covered
        part = rows.matrix(down, g.dtype).T @ g[number]
        dx[image][:, down, along] += part @ columns.matrix(along, g.dtype)
    return dx


@in_float32
def roi_align_maximum_gradient(
    g: np.ndarray, x: np.ndarray, rois: np.ndarray, batch_indices: np.ndarray, **attributes: Any
) -> np.ndarray:
    """The gradient of what RoiAlign takes the maximum of: all of it goes to the neighbour that was chosen."""
    dx, plane = np.zeros(x.shape, g.dtype), x.shape[2] * x.shape[3]
    lead = np.arange(x.shape[1])[:, None, None] * plane
    for number, (image, rows, columns) in enumerate(_regions(rois, batch_indices, x.shape, **attributes)):
        _, weight, place = _largest(x[image], rows, columns)
        total = np.bincount((lead + place).reshape(-1), (g[number] * weight).reshape(-1), minlength=dx[image].size)
        dx[image] += total.reshape(dx[image].shape).astype(g.dtype)
    return dx


CORNERS = not_differentiable("the slope by the corners of the regions is not provided")


def _align_gradient(mode_of_version: str) -> Gradient:
    def gradient(call: Call, g: Expression) -> list[Expression | NotDifferentiable | None]:
        attributes = {"coordinate_transformation_mode": mode_of_version, **call.attributes}
        if attributes.pop("mode", "avg") == "max":
            dx = emit("RoiAlignMaximumGradient", g, *call.inputs, domain=TOOLKIT_DOMAIN, **attributes)
        else:
            made = {**attributes, "input_shape": list(call.x.shape)}
            dx = emit("RoiAlignAverageGradient", g, *call.inputs[1:], domain=TOOLKIT_DOMAIN, **made)
        return [dx, CORNERS, None]

    return gradient


def _gradient_of_average_gradient(call: Call, gg: Expression) -> list[Expression | NotDifferentiable | None]:
    attributes = {name: value for name, value in call.attributes.items() if name != "input_shape"}
    return [emit("RoiAlign", gg, *call.inputs[1:], **attributes), CORNERS, None]


def _infer_align(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    assert types[0] is not None and types[1] is not None and types[2] is not None
    (dtype, shape), (_, rois), (_, images) = types[0], types[1], types[2]
    if len(shape) != 4 or len(rois) != 2 or rois[1] != 4 or images != rois[:1]:
        raise ValueError("it takes an input (batch, channels, height, width), rois (count, 4), batch_indices (count,)")
    size = (int(attributes.get("output_height", 1)), int(attributes.get("output_width", 1)))
    return [(dtype, (rois[0], shape[1], *size))]


def _infer_input(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    assert types[0] is not None and types[1] is not None
    return [(types[0][0], tuple(attributes["input_shape"]) if "input_shape" in attributes else types[1][1])]


for _since, _default in ((10, "output_half_pixel"), (16, "half_pixel")):
    operator(
        "RoiAlign",
        since=_since,
        reference=_roi_align(_default),
        gradient=_align_gradient(_default),
        infer=_infer_align,
        host_only="each region has a size of its own",
    )
operator(
    "RoiAlignAverageGradient",
    domain=TOOLKIT_DOMAIN,
    reference=roi_align_average_gradient,
    gradient=_gradient_of_average_gradient,
    infer=_infer_input,
    expansion=average_gradient,
    host_only="each region has a size of its own",
)
operator(
    "RoiAlignMaximumGradient",
    domain=TOOLKIT_DOMAIN,
    reference=roi_align_maximum_gradient,
    gradient=not_differentiable("gathering the chosen neighbours has no operator"),
    infer=_infer_input,
    expansion=sample_maximum_gradient,
    host_only="each region has a size of its own",
)
