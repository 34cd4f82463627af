"""MaxRoiPool: the maximum of each bin of a region, whose bins start and end at whole elements; and its gradient.

Regions are (image number, left, top, right, bottom). A bin without elements is 0. Where regions lie takes no gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, not_differentiable, operator
from toolkit.operators.standard.region_expansion import element_maximum_gradient

Shape = Sequence[int]


def _bins(first: np.ndarray, last: np.ndarray, count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """First elements and ends of the bins of every region along one axis: (regions, count) each."""
    part = (np.maximum(last - first + 1, 1) / count).astype(np.float32)[:, None]
    numbers = np.arange(count, dtype=np.float32)
    starts, ends = np.floor(numbers * part), np.ceil((numbers + 1) * part)
    low, high = (np.clip(edge + first[:, None], 0, size).astype(np.int64) for edge in (starts, ends))
    return low, high


def _regions(
    rois: np.ndarray, shape: Shape, pooled_shape: Shape, spatial_scale: float
) -> Iterator[tuple[int, tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]]:
    """Image number, bins of rows and bins of columns of each region."""
    images = rois[:, 0].astype(np.int64)
    if images.size and (images.min() < 0 or images.max() >= shape[0]):
        raise ValueError(f"the first number of a region must be that of an image, in [0, {shape[0] - 1}]")
    scaled = rois[:, 1:5] * rois.dtype.type(spatial_scale)
    left, top, right, bottom = (np.sign(scaled) * np.floor(np.abs(scaled) + 0.5)).T
    rows = _bins(top, bottom, pooled_shape[0], shape[2])
    columns = _bins(left, right, pooled_shape[1], shape[3])
    for number, image in enumerate(images.tolist()):
        yield image, (rows[0][number], rows[1][number]), (columns[0][number], columns[1][number])


def _maxima(x: np.ndarray, starts: np.ndarray, ends: np.ndarray, axis: int) -> np.ndarray:
    """The maximum of every range along ``axis``; the lowest value for empty ones."""
    pad = [(0, 1) if number == axis else (0, 0) for number in range(x.ndim)]
    padded = np.pad(x, pad, constant_values=-np.inf)
    edges = np.stack([starts, np.maximum(ends, starts)], axis=1).reshape(-1)
    found = np.maximum.reduceat(padded, edges, axis=axis).take(np.arange(0, edges.size, 2), axis=axis)
    is_empty = (ends <= starts).reshape([-1 if number == axis else 1 for number in range(x.ndim)])
    return np.where(is_empty, -np.inf, found)


@in_float32
def max_roi_pool(x: np.ndarray, rois: np.ndarray, *, pooled_shape: Shape, spatial_scale: float = 1.0) -> np.ndarray:
    """ONNX MaxRoiPool."""
    y = np.zeros((rois.shape[0], x.shape[1], *pooled_shape), x.dtype)
    for number, (image, rows, columns) in enumerate(_regions(rois, x.shape, pooled_shape, spatial_scale)):
        found = _maxima(_maxima(x[image], *rows, axis=1), *columns, axis=2)
        is_empty = (rows[1] <= rows[0])[:, None] | (columns[1] <= columns[0])
        y[number] = np.where(is_empty, 0, found)
    return y


@in_float32
def max_roi_pool_gradient(
    g: np.ndarray, x: np.ndarray, rois: np.ndarray, *, pooled_shape: Shape, spatial_scale: float = 1.0
) -> np.ndarray:
    """The gradient of the pooled tensor: all of a bin's goes to its first largest element."""
    dx, channels = np.zeros(x.shape, g.dtype), np.arange(x.shape[1])
    for number, (image, rows, columns) in enumerate(_regions(rois, x.shape, pooled_shape, spatial_scale)):
        for row, column in np.ndindex(*pooled_shape):
            top, bottom, left, right = rows[0][row], rows[1][row], columns[0][column], columns[1][column]
            if bottom > top and right > left:
                chosen = x[image, :, top:bottom, left:right].reshape(x.shape[1], -1).argmax(axis=1)
                down, along = np.divmod(chosen, right - left)
                dx[image, channels, top + down, left + along] += g[number, :, row, column]
    return dx


def _infer(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    assert types[0] is not None and types[1] is not None
    (dtype, shape), (_, rois) = types[0], types[1]
    pooled = tuple(int(size) for size in attributes["pooled_shape"])
    if len(shape) != 4 or len(rois) != 2 or rois[1] != 5 or len(pooled) != 2 or min(pooled) < 1:
        raise ValueError(
            "it takes an input (batch, channels, height, width), rois (count, 5) and two positive pooled sizes"
        )
    return [(dtype, (rois[0], shape[1], *pooled))]


def _infer_gradient(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    assert types[1] is not None
    return [types[1]]


def _gradient(call: Call, g: Expression) -> list[Expression | None]:
    return [emit("MaxRoiPoolGradient", g, *call.inputs, domain=TOOLKIT_DOMAIN, **call.attributes), None]


operator(
    "MaxRoiPool",
    reference=max_roi_pool,
    gradient=_gradient,
    infer=_infer,
    host_only="each region has a size of its own",
)
operator(
    "MaxRoiPoolGradient",
    domain=TOOLKIT_DOMAIN,
    reference=max_roi_pool_gradient,
    gradient=not_differentiable("gathering the chosen elements has no operator"),
    infer=_infer_gradient,
    expansion=element_maximum_gradient,
    host_only="each region has a size of its own",
)
