"""Sampling between elements in standard operators: what the fused gradients of GridSample and DeformConv stand for.

The values are written once, in operators that have gradients; the gradients of the samples are those of these
operators. Grids are rows of channels, as in ``point_sampling``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from toolkit.operators.composed import pull_back
from toolkit.operators.derivative import cast, filled
from toolkit.operators.expression import Expression, emit, reshape, split, transpose, where
from toolkit.operators.record import Call
from toolkit.operators.standard.point_sampling import CUBIC_COEFFICIENT

INT64 = np.dtype(np.int64)


class Neighbour(NamedTuple):
    """A neighbour of every point along one axis: its position, a whole number that may lie outside, and its weight."""

    position: Expression
    weight: Expression


def neighbours(at: Expression, mode: str) -> list[Neighbour]:
    """The neighbours of coordinates: 1 for mode nearest, 2 for linear, 4 for cubic."""
    if mode == "nearest":
        return [Neighbour(emit("Round", at), filled(at, at.shape, 1.0))]
    below = emit("Floor", at)
    distance = at - below
    if mode == "linear":
        return [Neighbour(below, 1.0 - distance), Neighbour(below + 1.0, distance)]
    weights = [_far(distance + 1.0), _near(distance), _near(1.0 - distance), _far(2.0 - distance)]
    return [Neighbour(below + float(offset), weight) for offset, weight in zip(range(-1, 3), weights, strict=True)]


def _near(x: Expression) -> Expression:
    """The cubic convolution kernel up to distance 1,"""
    return (x * (CUBIC_COEFFICIENT + 2) - (CUBIC_COEFFICIENT + 3)) * x * x + 1.0


def _far(x: Expression) -> Expression:
    """and from there up to 2."""
    return (((x - 5.0) * x + 8.0) * x - 4.0) * CUBIC_COEFFICIENT


def within(found: Sequence[Neighbour], size: int) -> list[Neighbour]:
    """Neighbours beyond an axis of ``size`` elements count as zeros."""
    kept = []
    for position, weight in found:
        inside = emit("And", emit("GreaterOrEqual", position, 0.0), emit("LessOrEqual", position, float(size - 1)))
        kept.append(Neighbour(emit("Clip", position, 0.0, float(size - 1)), where(inside, weight, 0.0)))
    return kept


def sampled(rows: Expression, first: np.ndarray, sizes: Sequence[int], axes: Sequence[list[Neighbour]]) -> Expression:
    """The values (points, channels) at points whose grids begin at the rows ``first``."""
    whole = [[Neighbour(cast(position, INT64), weight) for position, weight in axis] for axis in axes]
    total = None
    for choice in product(*whole):
        row, share = choice[0].position, choice[0].weight
        for size, neighbour in zip(sizes[1:], choice[1:], strict=True):
            row, share = row * np.asarray(size) + neighbour.position, share * neighbour.weight
        part = emit("Gather", rows, row + first, axis=0) * reshape(share, (first.size, 1))
        total = part if total is None else total + part
    assert total is not None
    return total


def rows_of(x: Expression) -> Expression:
    """(batch, channels, spatial...) as (batch * positions, channels)."""
    last = transpose(x, [0, *range(2, x.ndim), 1])
    return reshape(last, (int(np.prod(last.shape[:-1])), x.shape[1]))


def grid_values(x: Expression, grid: Expression, attributes: dict[str, Any]) -> Expression:
    """GridSample, with mode nearest, linear or cubic."""
    batch, sizes, places = x.shape[0], x.shape[2:], grid.shape[1:-1]
    points = batch * int(np.prod(places))
    flat = reshape(grid, (points, len(sizes)))
    columns = [reshape(item, (points,)) for item in split(flat, len(sizes), 1)]
    axes = [_axis(column, size, **attributes) for column, size in zip(reversed(columns), sizes, strict=True)]
    first = np.repeat(np.arange(batch) * int(np.prod(sizes)), int(np.prod(places)))
    values = reshape(sampled(rows_of(x), first, sizes, axes), (batch, *places, x.shape[1]))
    return transpose(values, [0, values.ndim - 1, *range(1, values.ndim - 1)])


def _axis(
    normalized: Expression, size: int, mode: str = "linear", padding_mode: str = "zeros", align_corners: int = 0
) -> list[Neighbour]:
    low, high = (0.0, size - 1.0) if align_corners else (-0.5, size - 0.5)
    at = (normalized + 1.0) * ((size - 1) / 2) if align_corners else ((normalized + 1.0) * float(size) - 1.0) * 0.5
    if mode == "nearest":
        at = emit("Round", at)
    if padding_mode == "border" and mode != "cubic":
        beyond = emit("Or", emit("Less", at, low), emit("Greater", at, high))
        at = where(beyond, emit("Clip", at, 0.0, float(size - 1)), at)
    elif padding_mode == "reflection":
        at = _reflected(at, low, high)
    found = neighbours(at, mode)
    if padding_mode == "border":
        found = [Neighbour(emit("Clip", item.position, 0.0, float(size - 1)), item.weight) for item in found]
    elif padding_mode == "reflection":
        found = [Neighbour(_reflected(item.position, low, high), item.weight) for item in found]
    return within(found, size)


def _reflected(at: Expression, low: float, high: float) -> Expression:
    """Coordinates mirrored at both limits until they lie between them; those between stay as they are."""
    reach = high - low
    if reach == 0:
        return at * 0.0 + low
    along = at - low
    along = along - emit("Floor", along / (2 * reach)) * (2 * reach)
    mirrored = where(emit("Greater", along, reach), 2 * reach - along, along) + low
    beyond = emit("Or", emit("Less", at, low), emit("Greater", at, high))
    return where(beyond, mirrored, at)


def grid_input_gradient(call: Call) -> list[Expression | None]:
    """The expansion of GridSampleInputGradient; the values are linear in the tensor, so any will do."""
    g, grid = call.inputs
    assert g is not None and grid is not None
    attributes = {name: value for name, value in call.attributes.items() if name != "input_shape"}
    x = filled(g, tuple(call.attributes["input_shape"]))
    return pull_back(Call([x], [], {}, [True], call.version), [(grid_values(x, grid, attributes), g)])


def grid_gradient(call: Call) -> list[Expression | None]:
    """The expansion of GridSampleGridGradient."""
    g, x, grid = call.inputs
    assert g is not None and x is not None and grid is not None
    values = grid_values(x, grid, call.attributes)
    found = pull_back(Call([grid], [], {}, [True], call.version), [(values, g)])
    return [filled(grid, grid.shape) if found[0] is None else found[0]]
