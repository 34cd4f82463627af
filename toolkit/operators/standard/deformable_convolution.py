"""DeformConv: a convolution whose every tap is read where an offset moved it to, between elements, times a mask.

Offsets are (batch, offset groups * kernel elements * spatial axes, output...), masks (batch, offset groups * kernel
elements, output...). What is read lies in columns, so that the convolution itself is a matrix product. Two operators
of our own compute the gradients: that of the weight, and those of what was read, its offsets and its mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.operators.composed import gradient_through, pull_back
from toolkit.operators.derivative import filled
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, reduce_sum, reshape, split, transpose
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, operator
from toolkit.operators.standard import sampling_expansion
from toolkit.operators.standard.convolution import (
    canonical_convolution,
    convolved_shape,
    per_channel,
    points_by_channel,
)
from toolkit.operators.standard.point_sampling import Points, as_rows, neighbours

Shape = Sequence[int]


def canonical_deformable(
    attributes: Mapping[str, Any], x_shape: Shape, w_shape: Shape, offset_shape: Shape, mask_shape: Shape | None
) -> dict[str, Any]:
    """Explicit geometry, group and offset_group. Raises ``ValueError`` where shapes and attributes do not fit."""
    explicit = canonical_convolution(attributes, x_shape, w_shape)
    offset_group = int(attributes.get("offset_group", 1))
    if offset_group < 1 or x_shape[1] % offset_group:
        raise ValueError(f"offset_group {offset_group} must divide the {x_shape[1]} input channels")
    taps = offset_group * int(np.prod(w_shape[2:]))
    places = convolved_shape(attributes, x_shape, w_shape)[2:]
    needed = (x_shape[0], taps * len(places), *places)
    if tuple(offset_shape) != needed:
        raise ValueError(f"the offset must have the shape {needed}, got {tuple(offset_shape)}")
    if mask_shape is not None and tuple(mask_shape) != (x_shape[0], taps, *places):
        raise ValueError(f"the mask must have the shape {(x_shape[0], taps, *places)}, got {tuple(mask_shape)}")
    return {**explicit, "offset_group": offset_group}


class Reading:
    """The moved taps of one deformable convolution on concrete arrays."""

    def __init__(
        self, x: np.ndarray, w_shape: Shape, offset: np.ndarray, mask: np.ndarray | None, attributes: Mapping[str, Any]
    ) -> None:
        explicit = canonical_deformable(
            attributes, x.shape, w_shape, offset.shape, None if mask is None else mask.shape
        )
        self.x_shape, self.kernel, self.output = x.shape, tuple(w_shape[2:]), offset.shape[2:]
        self.offset_shape, self.group, self.offset_group = offset.shape, explicit["group"], explicit["offset_group"]
        rank, blocks = len(self.kernel), x.shape[0] * self.offset_group
        taps, places = int(np.prod(self.kernel)), int(np.prod(self.output))
        moved = offset.reshape(blocks, taps, rank, places)
        axes = []
        for axis, size in enumerate(x.shape[2:]):
            at = moved[:, :, axis] + np.asarray(
                _lattice(explicit, self.kernel, self.output, axis), offset.dtype, like=offset
            )
            axes.append(neighbours(at.reshape(-1), "linear").within(size))
        positions = int(np.prod(x.shape[2:]))
        self.points = Points(x.shape[2:], np.repeat(np.arange(blocks, like=x) * positions, taps * places), axes)
        self.rows = as_rows(x.reshape(blocks, x.shape[1] // self.offset_group, *x.shape[2:]))
        self.mask = None if mask is None else mask.reshape(-1, 1)

    @property
    def _split(self) -> tuple[int, ...]:
        """batch, offset groups, taps, places, channels of an offset group: how what is read is ordered."""
        taps, places = int(np.prod(self.kernel)), int(np.prod(self.output))
        return self.x_shape[0], self.offset_group, taps, places, self.x_shape[1] // self.offset_group

    def columns(self) -> np.ndarray:
        """What is read, times the mask: (group, channels / group * taps, batch * places)."""
        read = self.points.values(self.rows)
        read = read if self.mask is None else read * self.mask
        by_channel = read.reshape(self._split).transpose(1, 4, 2, 0, 3)
        batch, _, taps, places, _ = self._split
        return by_channel.reshape(self.group, self.x_shape[1] // self.group * taps, batch * places)

    def gradients(self, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gradients of the tensor, the offset and the mask for that of the columns."""
        batch, groups, taps, places, channels = self._split
        read = columns.reshape(groups, channels, taps, batch, places).transpose(3, 0, 2, 4, 1).reshape(-1, channels)
        in_mask = np.einsum("pc,pc->p", read, self.points.values(self.rows))
        read = np.ascontiguousarray(read if self.mask is None else read * self.mask, like=read)
        spread = self.points.spread(read, self.rows.shape[0])
        dx = np.moveaxis(spread.reshape(batch * groups, *self.x_shape[2:], channels), -1, 1).reshape(self.x_shape)
        slopes = self.points.slopes(self.rows, read).reshape(batch * groups, taps, places, len(self.kernel))
        doffset = np.moveaxis(slopes, -1, 2).reshape(self.offset_shape)
        return dx, doffset, in_mask.reshape(batch, groups * taps, *self.output)


def _lattice(explicit: Mapping[str, Any], kernel: Shape, output: Shape, axis: int) -> np.ndarray:
    """Where on an axis the taps of every place lie before they are moved: (taps, places)."""
    starts = np.arange(output[axis]) * explicit["strides"][axis] - explicit["pads"][axis]
    steps = np.arange(kernel[axis]) * explicit["dilations"][axis]
    return np.add.outer(_along(steps, kernel, axis), _along(starts, output, axis))


def _along(values: np.ndarray, sizes: Shape, axis: int) -> np.ndarray:
    """``values`` of one axis at every place of ``sizes``, flattened."""
    shape = [-1 if number == axis else 1 for number in range(len(sizes))]
    return np.broadcast_to(values.reshape(shape), tuple(sizes)).reshape(-1)


def _matrices(w: np.ndarray, group: int) -> np.ndarray:
    return w.reshape(group, w.shape[0] // group, int(np.prod(w.shape[1:])))


@in_float32
def deform_conv(
    x: np.ndarray,
    w: np.ndarray,
    offset: np.ndarray,
    b: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    **attributes: Any,
) -> np.ndarray:
    """ONNX DeformConv."""
    reading = Reading(x, w.shape, offset, mask, attributes)
    y = np.matmul(_matrices(w, reading.group), reading.columns())
    y = np.ascontiguousarray(y.reshape(w.shape[0], x.shape[0], *reading.output).swapaxes(0, 1), like=x)
    return y if b is None else y + per_channel(b, y.ndim)


@in_float32
def deform_conv_weight_gradient(
    g: np.ndarray, x: np.ndarray, offset: np.ndarray, mask: np.ndarray | None = None, **attributes: Any
) -> np.ndarray:
    """The gradient of the weight, of shape ``weight_shape``."""
    shape = tuple(attributes.pop("weight_shape"))
    reading = Reading(x, shape, offset, mask, attributes)
    made = np.matmul(points_by_channel(g, reading.group), reading.columns().swapaxes(1, 2))
    return made.reshape(shape)


@in_float32
def deform_conv_input_gradient(
    g: np.ndarray, x: np.ndarray, w: np.ndarray, offset: np.ndarray, mask: np.ndarray | None = None, **attributes: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The gradients of the tensor, of the offset and of the mask."""
    reading = Reading(x, w.shape, offset, mask, attributes)
    columns = np.matmul(_matrices(w, reading.group).swapaxes(1, 2), points_by_channel(g, reading.group))
    return reading.gradients(columns)


def _infer(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    x, w, offset, b, mask = [*types, None, None][:5]
    assert x is not None and w is not None and offset is not None
    canonical_deformable(attributes, x[1], w[1], offset[1], None if mask is None else mask[1])
    if b is not None and b[1] != (w[1][0],):
        raise ValueError(f"the bias must be a vector of {w[1][0]} output channels, got {b[1]}")
    return [(x[0], convolved_shape(attributes, x[1], w[1]))]


def _infer_weight_gradient(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    assert types[0] is not None
    return [(types[0][0], tuple(attributes["weight_shape"]))]


def _infer_input_gradient(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    _, x, w, offset = types[:4]
    assert x is not None and w is not None and offset is not None
    taps = int(attributes["offset_group"]) * int(np.prod(w[1][2:]))
    return [x, offset, (offset[0], (offset[1][0], taps, *offset[1][2:]))]


def _gradient(call: Call, g: Expression) -> list[Expression | None]:
    x, w, offset, b, mask = [*call.inputs, None, None][:5]
    assert x is not None and w is not None and offset is not None
    explicit = canonical_deformable(
        call.attributes, x.shape, w.shape, offset.shape, None if mask is None else mask.shape
    )
    wants = [*call.wants, False, False]
    dx = dw = doffset = db = dmask = None
    if wants[0] or wants[2] or wants[4]:
        count = 2 if mask is None else 3
        made = emit("DeformConvInputGradient", g, x, w, offset, mask, domain=TOOLKIT_DOMAIN, outputs=count, **explicit)
        dx, doffset, dmask = [*made, None][:3]
    if wants[1]:
        shape = {**explicit, "weight_shape": list(w.shape)}
        dw = emit("DeformConvWeightGradient", g, x, offset, mask, domain=TOOLKIT_DOMAIN, **shape)
    if wants[3] and b is not None:
        db = reshape(reduce_sum(g, [0, *range(2, g.ndim)]), b.shape)
    return [dx, dw, doffset, db, dmask][: len(call.inputs)]


def _values(
    x: Expression, w: Expression, offset: Expression, mask: Expression | None, attributes: dict[str, Any]
) -> Expression:
    """The convolution from standard operators, without bias."""
    batch, channels, *sizes = x.shape
    kernel, output, group, parts = w.shape[2:], offset.shape[2:], attributes["group"], attributes["offset_group"]
    taps, places, blocks, rank = int(np.prod(kernel)), int(np.prod(output)), batch * parts, len(kernel)
    points = blocks * taps * places
    moved = reshape(offset, (blocks, taps, rank, places))
    axes = []
    for axis, at in enumerate(split(moved, rank, 2)):
        lattice = _lattice(attributes, kernel, output, axis).astype(offset.dtype)
        found = sampling_expansion.neighbours(
            reshape(reshape(at, (blocks, taps, places)) + lattice, (points,)), "linear"
        )
        axes.append(sampling_expansion.within(found, sizes[axis]))
    first = np.repeat(np.arange(blocks) * int(np.prod(sizes)), taps * places)
    rows = sampling_expansion.rows_of(reshape(x, (blocks, channels // parts, *sizes)))
    read = sampling_expansion.sampled(rows, first, sizes, axes)
    read = read if mask is None else read * reshape(mask, (points, 1))
    by_channel = transpose(reshape(read, (batch, parts, taps, places, channels // parts)), [1, 4, 2, 0, 3])
    columns = reshape(by_channel, (group, channels // group * taps, batch * places))
    matrices = reshape(w, (group, w.shape[0] // group, int(np.prod(w.shape[1:]))))
    y = reshape(matrices @ columns, (w.shape[0], batch, *output))
    return transpose(y, [1, 0, *range(2, y.ndim)])


def _weight_expansion(call: Call) -> list[Expression | None]:
    g, x, offset, mask = [*call.inputs, None][:4]
    assert g is not None and x is not None and offset is not None
    w = filled(g, tuple(call.attributes["weight_shape"]))  # the values are linear in it, so any will do
    values = _values(x, w, offset, mask, call.attributes)
    return pull_back(Call([w], [], {}, [True], call.version), [(values, g)])


def _input_expansion(call: Call) -> list[Expression | None]:
    g, x, w, offset, mask = [*call.inputs, None][:5]
    assert g is not None and x is not None and w is not None and offset is not None
    moving = [x, offset, *([] if mask is None else [mask])]
    values = _values(x, w, offset, mask, call.attributes)
    return pull_back(Call([*moving], [], {}, [True] * len(moving), call.version), [(values, g)])


operator("DeformConv", since=19, reference=deform_conv, gradient=_gradient, infer=_infer)
operator(
    "DeformConvWeightGradient",
    domain=TOOLKIT_DOMAIN,
    reference=deform_conv_weight_gradient,
    gradient=gradient_through(_weight_expansion),
    infer=_infer_weight_gradient,
    expansion=_weight_expansion,
)
operator(
    "DeformConvInputGradient",
    domain=TOOLKIT_DOMAIN,
    reference=deform_conv_input_gradient,
    gradient=gradient_through(_input_expansion),
    infer=_infer_input_gradient,
    expansion=_input_expansion,
)
