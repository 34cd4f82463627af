"""GridSample and AffineGrid: (batch, channels, spatial...) at the points of a grid, and grids that are affine.

Coordinates come in the order of a point, (x, y, z): the last spatial axis first. Points beyond the elements are moved
as ``padding_mode`` says before their neighbours are looked up, and again each neighbour that is still beyond. In cubic
mode border moves only the neighbours. Operators of our own compute the gradients of the sampled tensor and of the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.axes import known
from toolkit.operators.composed import gradient_through
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, reshape, transpose
from toolkit.operators.precision import HALF_WIDTH, in_float32
from toolkit.operators.record import Call, TensorType, operator
from toolkit.operators.standard.point_sampling import Neighbours, Points, as_rows, from_rows, neighbours
from toolkit.operators.standard.sampling_expansion import grid_gradient, grid_input_gradient

Shape = Sequence[int]
MODES = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "cubic": "cubic", "bicubic": "cubic"}
PADDING_MODES = ("zeros", "border", "reflection")


def _limits(size: int, align_corners: int) -> tuple[float, float]:
    """Between which coordinates a point is inside."""
    return (0.0, size - 1.0) if align_corners else (-0.5, size - 0.5)


def _coordinates(normalized: np.ndarray, size: int, align_corners: int) -> tuple[np.ndarray, float]:
    """Coordinates of elements for ones from -1 to 1, and the slope of that map."""
    if align_corners:
        return (normalized + 1) / 2 * (size - 1), (size - 1) / 2
    return ((normalized + 1) * size - 1) / 2, size / 2


def _reflected(at: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates mirrored at both limits until they lie between them, and the slope of that map (1 or -1)."""
    reach = high - low
    if reach == 0:
        return np.full_like(at, low), np.zeros_like(at)
    along = np.mod(np.nan_to_num(at) - low, 2 * reach)
    turned = along > reach
    return low + np.where(turned, 2 * reach - along, along), np.where(turned, -1.0, 1.0).astype(at.dtype)


def _axis(normalized: np.ndarray, size: int, mode: str, padding_mode: str, align_corners: int) -> Neighbours:
    """The neighbours on one axis; their slopes are those by the normalized coordinate."""
    at, slope = _coordinates(normalized, size, align_corners)
    if mode == "nearest":
        at = np.rint(at)
    low, high = _limits(size, align_corners)
    turn = np.ones_like(at)
    beyond = (at < low) | (at > high)
    if padding_mode == "border" and mode != "cubic":
        at, turn = np.where(beyond, np.clip(at, 0, size - 1), at), np.where(beyond, 0, turn)
    elif padding_mode == "reflection":
        mirrored, direction = _reflected(at, low, high)
        at, turn = np.where(beyond, mirrored, at), np.where(beyond, direction, turn)
    found = neighbours(at, mode)
    index = found.index
    if padding_mode == "border":
        index = np.clip(index, 0, size - 1)
    elif padding_mode == "reflection":
        outside = (index < low) | (index > high)
        index = np.where(outside, _reflected(index.astype(np.float64), low, high)[0].astype(np.int64), index)
    return Neighbours(index, found.weight, found.slope * turn * slope).within(size)


def _points(
    grid: np.ndarray, sizes: Shape, mode: str = "linear", padding_mode: str = "zeros", align_corners: int = 0
) -> Points:
    """The points of a grid (batch, places..., coordinates) in tensors of spatial ``sizes``."""
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    if padding_mode not in PADDING_MODES:
        raise ValueError(f"padding_mode must be one of {', '.join(PADDING_MODES)}, got {padding_mode!r}")
    if grid.shape[-1] != len(sizes):
        raise ValueError(f"the last axis of the grid must hold {len(sizes)} coordinates, got {grid.shape[-1]}")
    batch, places = grid.shape[0], int(np.prod(grid.shape[1:-1]))
    first = np.repeat(np.arange(batch, like=grid) * int(np.prod(sizes)), places)
    flat = (grid.astype(np.float32) if grid.dtype in HALF_WIDTH else grid).reshape(-1, len(sizes))
    axes = [
        _axis(flat[:, len(sizes) - 1 - number], size, MODES[mode], padding_mode, align_corners)
        for number, size in enumerate(sizes)
    ]
    return Points(sizes, first, axes)


def grid_sample(x: np.ndarray, grid: np.ndarray, **attributes: Any) -> np.ndarray:
    """GridSample; bilinear and bicubic are the names of linear and cubic before version 20."""
    rows = as_rows(x)
    if MODES.get(attributes.get("mode", "linear")) != "nearest" and x.dtype != np.float64:
        rows = rows.astype(np.float64 if x.dtype.kind in "iu" else np.float32)
    sampled = _points(grid, x.shape[2:], **attributes).values(rows)
    return from_rows(sampled, x.shape[0], grid.shape[1:-1]).astype(x.dtype)


@in_float32
def grid_sample_input_gradient(g: np.ndarray, grid: np.ndarray, *, input_shape: Shape, **attributes: Any) -> np.ndarray:
    """The gradient of the sampled tensor, of shape ``input_shape``."""
    batch, _, *sizes = input_shape
    spread = _points(grid, sizes, **attributes).spread(as_rows(g), batch * int(np.prod(sizes)))
    return from_rows(spread, batch, sizes)


@in_float32
def grid_sample_grid_gradient(g: np.ndarray, x: np.ndarray, grid: np.ndarray, **attributes: Any) -> np.ndarray:
    """The gradient of the grid."""
    slopes = _points(grid, x.shape[2:], **attributes).slopes(as_rows(x), as_rows(g))
    return np.ascontiguousarray(slopes[:, ::-1], like=grid).reshape(grid.shape).astype(grid.dtype)


def _infer_sampled(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    assert types[0] is not None and types[1] is not None
    (dtype, shape), (_, grid) = types[0], types[1]
    if len(shape) < 3 or len(grid) != len(shape) or grid[0] != shape[0] or grid[-1] != len(shape) - 2:
        raise ValueError(
            "the grid of an input (batch, channels, spatial...) must be (batch, places..., coordinates), with as many "
            "axes of places and as many coordinates as there are spatial axes"
        )
    return [(dtype, (*shape[:2], *grid[1:-1]))]


def _sampling_gradients(
    g: Expression, x: Expression, grid: Expression, wants: Sequence[bool], attributes: dict[str, Any]
) -> list[Expression | None]:
    dx = dgrid = None
    if wants[0]:
        made = {**attributes, "input_shape": list(x.shape)}
        dx = emit("GridSampleInputGradient", g, grid, domain=TOOLKIT_DOMAIN, **made)
    if wants[1]:
        dgrid = emit("GridSampleGridGradient", g, x, grid, domain=TOOLKIT_DOMAIN, **attributes)
    return [dx, dgrid]


def _gradient(call: Call, g: Expression) -> list[Expression | None]:
    grid = call.inputs[1]
    assert grid is not None
    attributes = {**call.attributes, "mode": MODES[call.attribute("mode", "linear")]}
    return _sampling_gradients(g, call.x, grid, call.wants, attributes)


def _gradient_of_input_gradient(call: Call, gg: Expression) -> list[Expression | None]:
    """It is linear in ``g``, with GridSample as its transpose; its grid moves as that of GridSample on ``gg`` does."""
    g, grid = call.x, call.inputs[1]
    assert grid is not None
    attributes = {name: value for name, value in call.attributes.items() if name != "input_shape"}
    dg = emit("GridSample", gg, grid, **attributes) if call.wants[0] else None
    dgrid = None
    if call.wants[1]:
        dgrid = emit("GridSampleGridGradient", g, gg, grid, domain=TOOLKIT_DOMAIN, **attributes)
    return [dg, dgrid]


def _infer_input_gradient(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    assert types[0] is not None
    return [(types[0][0], tuple(attributes["input_shape"]))]


def _infer_grid_gradient(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    assert types[2] is not None
    return [types[2]]


def _base_points(sizes: Shape, align_corners: int, dtype: np.dtype) -> np.ndarray:
    """The untransformed points (places, coordinates + 1) of a grid over ``sizes``, (x, y, z, 1) each."""
    steps = []
    for size in sizes:
        if align_corners:
            steps.append(np.linspace(-1.0, 1.0, size))
        else:
            steps.append((2 * np.arange(size) + 1) / max(size, 1) - 1)
    mesh = np.meshgrid(*steps, indexing="ij")
    return np.stack([*(part.reshape(-1) for part in reversed(mesh)), np.ones(mesh[0].size)], axis=1).astype(dtype)


@in_float32
def affine_grid(theta: np.ndarray, size: np.ndarray, *, align_corners: int = 0) -> np.ndarray:
    """Grids (batch, sizes..., coordinates) of the affine maps ``theta`` (batch, coordinates, coordinates + 1)."""
    sizes = [int(count) for count in size.reshape(-1)[2:]]
    points = np.asarray(_base_points(sizes, align_corners, theta.dtype), like=theta)
    return np.matmul(points, theta.swapaxes(1, 2)).reshape(theta.shape[0], *sizes, theta.shape[1])


def _infer_affine(
    types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Sequence[np.ndarray | None]
) -> list[TensorType]:
    assert types[0] is not None
    dtype, shape = types[0]
    size = [int(count) for count in known(constants[1], "size").reshape(-1)]
    axes = len(size) - 2
    if axes not in (2, 3) or shape != (size[0], axes, axes + 1):
        raise ValueError("theta must be (batch, 2, 3) for a size of 4 numbers, (batch, 3, 4) for one of 5")
    return [(dtype, (size[0], *size[2:], axes))]


def _affine_gradient(call: Call, g: Expression) -> list[Expression | None]:
    batch, *sizes, axes = g.shape
    points = _base_points(sizes, call.attribute("align_corners", 0), g.dtype)
    flat = reshape(g, (batch, points.shape[0], axes))
    return [emit("MatMul", transpose(flat, [0, 2, 1]), points), None]


operator("GridSample", since=16, reference=grid_sample, gradient=_gradient, infer=_infer_sampled)
operator(
    "GridSampleInputGradient",
    domain=TOOLKIT_DOMAIN,
    reference=grid_sample_input_gradient,
    gradient=_gradient_of_input_gradient,
    infer=_infer_input_gradient,
    expansion=grid_input_gradient,
)
operator(
    "GridSampleGridGradient",
    domain=TOOLKIT_DOMAIN,
    reference=grid_sample_grid_gradient,
    gradient=gradient_through(grid_gradient),
    infer=_infer_grid_gradient,
    expansion=grid_gradient,
)
operator(
    "AffineGrid", since=20, reference=affine_grid, gradient=_affine_gradient, infer=_infer_affine, host_inputs=(1,)
)
