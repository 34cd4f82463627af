"""Regions of interest in standard operators: what the fused gradients of RoiAlign and MaxRoiPool stand for.

The number of samples or elements of a bin is computed from its region, so no shape may depend on it. Averages need the
share of every element in every bin only, and few samples reach an element; maxima of whole elements look at the element
or not; maxima of samples need a fixed number of them and are refused without.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.operators.derivative import cast, element_count, filled
from toolkit.operators.expression import Expression, emit, indices, reshape, split, transpose, where
from toolkit.operators.record import Call
from toolkit.operators.standard.sampling_expansion import rows_of

INT64 = np.dtype(np.int64)
REACHING = 6  # samples that may reach an element: more than half an element apart, on a width of two; one for rounding


def _extent(rois: Expression, axis: int, attributes: dict[str, Any]) -> tuple[Expression, Expression]:
    """Start and length of the regions of a RoiAlign along ``axis`` (0 rows, 1 columns): (regions, 1) each."""
    aligned = attributes.get("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    corners = split(rois * float(attributes.get("spatial_scale", 1.0)) - (0.5 if aligned else 0.0), 4, 1)
    start, length = corners[1 - axis], corners[3 - axis] - corners[1 - axis]
    return start, length if aligned else emit("Max", length, 1.0)


def _bins(axis: int, attributes: dict[str, Any]) -> int:
    return int(attributes.get(("output_height", "output_width")[axis], 1))


def _is_inside(at: Expression, size: int) -> Expression:
    return emit("And", emit("GreaterOrEqual", at, -1.0), emit("LessOrEqual", at, float(size)))


def _nearness(at: Expression, size: int) -> Expression:
    """The bilinear weight of every element for samples ``at`` (..., samples, 1): (..., samples, elements)."""
    inside, within = _is_inside(at, size), emit("Clip", at, 0.0, float(size - 1))
    near = emit("Max", 1.0 - emit("Abs", within - np.arange(size).astype(at.dtype)), 0.0)
    return where(inside, near, 0.0)


def _evenly(rois: Expression, axis: int, ratio: int, attributes: dict[str, Any]) -> Expression:
    """Where the samples of all bins are, ``ratio`` in each: (regions, bins * ratio)."""
    start, length = _extent(rois, axis, attributes)
    count = _bins(axis, attributes) * ratio
    return start + length * ((np.arange(count) + 0.5) / count).astype(rois.dtype)


def _shares(call: Call, axis: int) -> Expression:
    """How much each element along ``axis`` enters each bin: (regions, 1, bins, elements)."""
    rois, attributes, size = call.inputs[1], call.attributes, call.attributes["input_shape"][2 + axis]
    assert rois is not None
    bins, ratio = _bins(axis, attributes), attributes.get("sampling_ratio", 0)
    if ratio <= 0:
        return _adaptive_shares(rois, axis, size, attributes)
    at = _evenly(rois, axis, ratio, attributes)
    near = reshape(_nearness(reshape(at, (*at.shape, 1)), size), (rois.shape[0], 1, bins, ratio, size))
    return emit("ReduceMean", near, indices(rois, [3]), keepdims=0)


def _adaptive_shares(rois: Expression, axis: int, size: int, attributes: dict[str, Any]) -> Expression:
    """The same for a sample to an element's length of a bin, rounded up: only those near an element are looked at."""
    count, bins = rois.shape[0], _bins(axis, attributes)
    start, length = (reshape(item, (count, 1, 1, 1, 1)) for item in _extent(rois, axis, attributes))
    part = length / float(bins)
    samples = emit("Ceil", part)
    has_some = emit("Greater", samples, 0.0)
    apart = where(has_some, part / emit("Max", samples, 1.0), 1.0)
    begins = start + part * np.arange(bins).astype(rois.dtype).reshape(bins, 1, 1)
    places = np.arange(size).astype(rois.dtype)
    before = emit("Max", emit("Floor", emit("Sub", places - 1.0, begins) / apart - 0.5), 0.0)
    number = before + np.arange(REACHING).astype(rois.dtype).reshape(REACHING, 1)
    at = begins + (number + 0.5) * apart
    near = emit("Max", 1.0 - emit("Abs", emit("Clip", at, 0.0, float(size - 1)) - places), 0.0)
    counts = emit("And", emit("Less", number, samples), _is_inside(at, size))
    total = emit("ReduceSum", where(counts, near, 0.0), indices(rois, [3]), keepdims=0)
    return total / emit("Max", reshape(samples, (count, 1, 1, 1)), 1.0)


def average_gradient(call: Call) -> list[Expression | None]:
    """The expansion of RoiAlignAverageGradient: a matrix product from either side, added up in the images."""
    g, rois, images = call.inputs
    assert g is not None and rois is not None and images is not None
    rows, columns = (cast(_shares(call, axis), g.dtype) for axis in (0, 1))
    parts = transpose(rows, [0, 1, 3, 2]) @ g @ columns
    places = reshape(cast(images, INT64), (images.shape[0], 1))
    return [emit("ScatterND", filled(g, tuple(call.attributes["input_shape"])), places, parts, reduction="add")]


def _taps(call: Call, axis: int) -> tuple[Expression, Expression]:
    """The two neighbours of every sample of every bin along ``axis``: positions and weights (regions, bins, taps)."""
    _, x, rois, _ = call.inputs
    assert x is not None and rois is not None
    bins, ratio, size = _bins(axis, call.attributes), call.attributes.get("sampling_ratio", 0), x.shape[2 + axis]
    if ratio <= 0:
        raise ValueError("how many samples a bin has is computed from the regions: set sampling_ratio")
    at = _evenly(rois, axis, ratio, call.attributes)
    inside, within = _is_inside(at, size), emit("Clip", at, 0.0, float(size - 1))
    below = emit("Floor", within)
    above = emit("Min", below + 1.0, float(size - 1))
    upper = within - below
    shape, last = (*at.shape, 1), at.ndim
    positions = emit("Concat", reshape(below, shape), reshape(above, shape), axis=last)
    weights = emit("Concat", *(reshape(where(inside, item, 0.0), shape) for item in (1.0 - upper, upper)), axis=last)
    wanted = (rois.shape[0], bins, ratio * 2)
    return reshape(cast(positions, INT64), wanted), reshape(cast(weights, x.dtype), wanted)


def sample_maximum_gradient(call: Call) -> list[Expression | None]:
    """The expansion of RoiAlignMaximumGradient: the first largest of all weighted neighbours of a bin gets it all."""
    g, x, _, images = call.inputs
    assert g is not None and x is not None and images is not None
    (rows, down), (columns, along) = (_taps(call, axis) for axis in (0, 1))
    regions, high, wide = rows.shape[0], rows.shape[1], columns.shape[1]
    bins, taps = regions * high * wide, rows.shape[2] * columns.shape[2]
    lengthwise, crosswise = (regions, high, 1, rows.shape[2], 1), (regions, 1, wide, 1, columns.shape[2])
    first = reshape(cast(images, INT64) * np.asarray(x.shape[2] * x.shape[3]), (regions, 1, 1, 1, 1))
    rows = first + reshape(rows, lengthwise) * np.asarray(x.shape[3])
    places = reshape(rows + reshape(columns, crosswise), (bins, taps))
    weights = reshape(reshape(down, lengthwise) * reshape(along, crosswise), (bins, taps))
    pixels = rows_of(x)
    candidates = emit("Gather", pixels, places, axis=0) * reshape(weights, (bins, taps, 1))
    chosen = emit("ArgMax", candidates, axis=1, keepdims=0)
    place, weight = (emit("GatherElements", item, chosen, axis=1) for item in (places, weights))
    parts = reshape(transpose(g, [0, 2, 3, 1]), (bins, x.shape[1])) * weight
    total = emit("ScatterElements", filled(g, pixels.shape), place, parts, axis=0, reduction="add")
    return [transpose(reshape(total, (x.shape[0], *x.shape[2:], x.shape[1])), [0, 3, 1, 2])]


def _held(first: Expression, last: Expression, bins: int, size: int) -> Expression:
    """Which elements along an axis each bin of a MaxRoiPool holds: (regions, bins, elements)."""
    part = emit("Max", last - first + 1.0, 1.0) / float(bins)
    numbers = np.arange(bins).astype(first.dtype)
    starts, ends = emit("Floor", part * numbers) + first, emit("Ceil", part * (numbers + 1)) + first
    shape, places = (*starts.shape, 1), np.arange(size).astype(first.dtype)
    begun = emit("LessOrEqual", reshape(starts, shape), places)
    return emit("And", begun, emit("Greater", reshape(ends, shape), places))


def element_maximum_gradient(call: Call) -> list[Expression | None]:
    """The expansion of MaxRoiPoolGradient: the first largest element of each bin, found along rows and then columns.

    It looks at every element of an image for every region and column of bins.
    """
    g, x, rois = call.inputs
    assert g is not None and x is not None and rois is not None
    (regions, channels, high, wide), (height, width) = g.shape, x.shape[2:]
    image, *corners = split(rois, 5, 1)
    scaled = [item * float(call.attribute("spatial_scale", 1.0)) for item in corners]
    left, top, right, bottom = (emit("Sign", item) * emit("Floor", emit("Abs", item) + 0.5) for item in scaled)
    rows, columns = _held(top, bottom, high, height), _held(left, right, wide, width)
    first = cast(image, INT64)
    seen = reshape(emit("Gather", x, reshape(first, (regions,)), axis=0), (regions, channels, 1, height, width))
    seen = where(reshape(columns, (regions, 1, wide, 1, width)), seen, -np.inf)
    along = emit("ArgMax", seen, axis=4, keepdims=0)
    best = emit("ReduceMax", seen, indices(x, [4]), keepdims=0)
    best = reshape(best, (regions, channels, 1, wide, height))
    down = emit("ArgMax", where(reshape(rows, (regions, 1, high, 1, height)), best, -np.inf), axis=4, keepdims=1)
    along = reshape(along, (regions, channels, 1, wide, height))
    along = emit("Expand", along, indices(x, [regions, channels, high, wide, height]))
    along = emit("GatherElements", along, down, axis=4)
    plane = reshape(first * np.asarray(channels), (regions, 1, 1, 1)) + np.arange(channels).reshape(channels, 1, 1)
    places = (plane * np.asarray(height) + reshape(down, g.shape)) * np.asarray(width) + reshape(along, g.shape)
    holds_rows, holds_columns = (
        emit("ReduceMax", cast(item, g.dtype), indices(x, [2]), keepdims=0) for item in (rows, columns)
    )
    kept = g * reshape(holds_rows, (regions, 1, high, 1)) * reshape(holds_columns, (regions, 1, 1, wide))
    count = element_count(g)
    total = emit(
        "ScatterElements",
        filled(g, (element_count(x),)),
        reshape(places, (count,)),
        reshape(kept, (count,)),
        reduction="add",
    )
    return [reshape(total, x.shape)]
