"""com.microsoft CropAndResize: boxes of images, sampled on grids of one size."""

from __future__ import annotations

import numpy as np

from toolkit.operators.axes import known
from toolkit.operators.composed import composed, required
from toolkit.operators.derivative import cast
from toolkit.operators.expression import Expression, emit, indices, reshape, transpose, where
from toolkit.operators.microsoft.quantization import MICROSOFT
from toolkit.operators.record import Call

INT64 = np.dtype(np.int64)


def _coordinates(low: Expression, high: Expression, size: int, count: int) -> Expression:
    """(boxes, count) positions along an axis of ``size``; a single one stands in the middle of the box."""
    if count == 1:
        return (low + high) * (0.5 * (size - 1))
    steps = np.linspace(0.0, 1.0, count, dtype=low.dtype).reshape(1, count)
    return (low + (high - low) * low.emitter.constant(steps)) * float(size - 1)


def _inside(positions: Expression, size: int) -> Expression:
    inside: Expression = emit(
        "And", emit("GreaterOrEqual", positions, 0.0), emit("LessOrEqual", positions, float(size - 1))
    )
    return inside


def _ends(positions: Expression, size: int) -> tuple[Expression, Expression, Expression]:
    """The places below and above each position, and how far it stands from the lower one."""
    bounded = emit("Clip", positions, 0.0, float(size - 1))
    whole = cast(bounded, INT64)
    above = emit("Min", whole + 1, np.asarray(size - 1))
    return whole, above, bounded - cast(whole, positions.dtype)


def _crop_and_resize(call: Call) -> list[Expression | None]:
    x, boxes, chosen = call.x, required(call, 1, "rois"), required(call, 2, "batch_indices")
    sizes = known(required(call, 3, "crop_size").value, "crop_size").reshape(-1).tolist()
    mode = call.attribute("mode", "bilinear")
    if len(sizes) != 2 or min(sizes) < 1 or mode not in ("bilinear", "nearest"):
        raise ValueError(f"crop_size must be two positive sizes and mode bilinear or nearest, got {sizes} and {mode!r}")
    count, (high, wide) = boxes.shape[0], x.shape[2:]
    corners = emit("Split", boxes, indices(boxes, [1, 1, 1, 1]), axis=1, outputs=4)
    rows = _coordinates(corners[0], corners[2], high, sizes[0])
    columns = _coordinates(corners[1], corners[3], wide, sizes[1])
    pixels = reshape(transpose(x, (0, 2, 3, 1)), (x.shape[0] * high * wide, x.shape[1]))
    images = reshape(cast(chosen, INT64), (count, 1, 1)) * (high * wide)

    def at(row: Expression, column: Expression) -> Expression:
        place = images + reshape(row, (count, sizes[0], 1)) * wide + reshape(column, (count, 1, sizes[1]))
        found: Expression = emit("Gather", pixels, place, axis=0)
        return found

    if mode == "nearest":
        nearest = (
            cast(emit("Round", emit("Clip", item, 0.0, float(size - 1))), INT64)
            for item, size in ((rows, high), (columns, wide))
        )
        y = at(next(nearest), next(nearest))
    else:
        (top, bottom, down), (left, right, across) = _ends(rows, high), _ends(columns, wide)
        across, down = reshape(across, (count, 1, sizes[1], 1)), reshape(down, (count, sizes[0], 1, 1))
        upper = at(top, left) + (at(top, right) - at(top, left)) * across
        lower = at(bottom, left) + (at(bottom, right) - at(bottom, left)) * across
        y = upper + (lower - upper) * down
    inside = emit(
        "And",
        reshape(_inside(rows, high), (count, sizes[0], 1, 1)),
        reshape(_inside(columns, wide), (count, 1, sizes[1], 1)),
    )
    y = where(inside, y, float(call.attribute("extrapolation_value", 0.0)))
    return [transpose(y, (0, 3, 1, 2))]


composed("CropAndResize", _crop_and_resize, domain=MICROSOFT)
