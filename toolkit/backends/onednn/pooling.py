"""Pooling and its gradients, in the layout in which the input lies.

The maximum's workspace is what the operator ``MaxPoolTraining`` calls ``selected``: the offset of the chosen element in
its window. Refused: windows that hang over the far edge and count the overhang (``ceil_mode`` with
``count_include_pad``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.backends.onednn.memory import (
    ACTIVATION_TAGS,
    Descriptor,
    any_format,
    dense,
    descriptor_of,
    layout_of,
    tagged,
    vector,
)
from toolkit.backends.onednn.primitive import (
    DIFF_DST,
    DIFF_SRC,
    DST,
    FORWARD_INFERENCE,
    FORWARD_TRAINING,
    SRC,
    WORKSPACE,
    PrimitiveDescriptor,
    PrimitiveKernel,
    describe,
    reads,
    writes,
)
from toolkit.backends.onednn.registry import FLOAT32, kernel
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node, Variable
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.precision import HALF_WIDTH
from toolkit.operators.standard.pooling import canonical_pooling

UINT8 = np.dtype(np.uint8)
MAXIMUM, MEAN_WITH_PADS, MEAN = 0x1FF, 0x2FF, 0x3FF
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """One pooling in oneDNN's terms: sizes, and pads on the far side that make the sizes come out exactly."""

    x: tuple[int, ...]
    y: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]

    @property
    def arguments(self) -> list[Any]:
        steps = [dilation - 1 for dilation in self.dilations]
        return [vector(item) for item in (self.strides, self.kernel, steps, self.begins, self.ends)]


def window(attributes: dict[str, Any], x: tuple[int, ...], y: tuple[int, ...]) -> Window:
    """The window of a pooling with canonical attributes from shape ``x`` to shape ``y``."""
    rank = len(x) - 2
    size = tuple(attributes["kernel_shape"])
    strides = tuple(attributes["strides"])
    dilations = tuple(attributes.get("dilations") or (1,) * rank)
    begins = tuple(attributes["pads"][:rank])
    ends = []
    for axis in range(rank):
        reach = dilations[axis] * (size[axis] - 1) + 1
        ends.append(max(0, (y[2 + axis] - 1) * strides[axis] + reach - x[2 + axis] - begins[axis]))
    return Window(x, y, size, strides, dilations, begins, tuple(ends))


def whole(x: tuple[int, ...], y: tuple[int, ...]) -> Window:
    """The window that covers all positions."""
    rank = len(x) - 2
    ones, zeros = (1,) * rank, (0,) * rank
    return Window(x, (*x[:2], *ones), x[2:], ones, ones, zeros, zeros)


def _poolable(*variables: Variable | None) -> bool:
    present = [item for item in variables if item is not None]
    types = {item.dtype for item in present}
    if len(types) > 1 or not (types == {FLOAT32} or types < set(HALF_WIDTH)):
        return False
    return all(item.size > 0 for item in present) and len(present[0].shape) in ACTIVATION_TAGS


def _accepts_pool(node: Node) -> bool:
    if node.op_type == "MaxPool" and node.x.dtype == UINT8:
        return len(node.outputs) == 1 and node.x.size > 0 and len(node.x.shape) in ACTIVATION_TAGS
    if not _poolable(node.x, node.y) or len(node.outputs) > 1:
        return False
    return node.op_type == "MaxPool" or _mean_algorithm(node) is not None


def _mean_algorithm(node: Node) -> int | None:
    counts_pads = node.attributes.get("count_include_pad", 0)
    if counts_pads and node.attributes.get("ceil_mode", 0):
        return None
    return MEAN_WITH_PADS if counts_pads else MEAN


def _forward(kind: int, algorithm: int, source: Descriptor, at: Window) -> PrimitiveDescriptor:
    return describe("pooling_forward", kind, algorithm, source, any_format(source.dtype, at.y), *at.arguments)


def _source(layout: Layout | None) -> Layout:
    assert layout is not None
    return layout


@kernel("", "MaxPool", "AveragePool", accepts=_accepts_pool)
def lower_pool(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    at = window(canonical_pooling(node.attributes, node.x.shape), node.x.shape, node.y.shape)
    algorithm = MAXIMUM if node.op_type == "MaxPool" else _mean_algorithm(node)
    assert algorithm is not None
    return _pool(_source(inputs[0]), node.y.shape, at, algorithm)


@kernel("", "GlobalAveragePool", "GlobalMaxPool", accepts=lambda node: _poolable(node.x, node.y))
def lower_global_pool(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    algorithm = MAXIMUM if node.op_type == "GlobalMaxPool" else MEAN
    return _pool(_source(inputs[0]), node.y.shape, whole(node.x.shape, node.y.shape), algorithm)


def _pool(source: Layout, shape: tuple[int, ...], at: Window, algorithm: int) -> Kernel:
    given = descriptor_of(source)
    described = _forward(FORWARD_INFERENCE, algorithm, given, at)
    result = described.argument(DST)
    operands = [reads(SRC, 0, given), writes(DST, 0, result)]
    return PrimitiveKernel(described, [source], [layout_of(result, shape)], operands)


@kernel(TOOLKIT_DOMAIN, "MaxPoolTraining", accepts=lambda node: _poolable(node.x, node.y))
def lower_max_pool_training(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    source = _source(inputs[0])
    given = descriptor_of(source)
    described = _forward(FORWARD_TRAINING, MAXIMUM, given, window(node.attributes, node.x.shape, node.y.shape))
    result, selected = described.argument(DST), described.workspace
    assert selected is not None
    operands = [reads(SRC, 0, given), writes(DST, 0, result), writes(WORKSPACE, 1, selected)]
    layouts = [layout_of(result), layout_of(selected, node.y.shape)]
    return PrimitiveKernel(described, [source], layouts, operands)


def _accepts_max_gradient(node: Node) -> bool:
    selected = node.inputs[1]
    return _poolable(node.x, node.y) and selected is not None and selected.producer is not None


@kernel(TOOLKIT_DOMAIN, "MaxPoolGradient", accepts=_accepts_max_gradient)
def lower_max_pool_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    selected = _source(inputs[1])
    at = window(node.attributes, node.y.shape, node.x.shape)
    tag = _tag_of(selected, at.y)
    forward = _forward(FORWARD_TRAINING, MAXIMUM, tagged(node.x.dtype, at.x, tag), at)
    workspace = forward.workspace
    assert workspace is not None
    return _backward(node, MAXIMUM, tag, at, forward, (layout_of(workspace, at.y), workspace))


def _accepts_mean_gradient(node: Node) -> bool:
    return _poolable(node.x, node.y) and _mean_algorithm(node) is not None


@kernel(TOOLKIT_DOMAIN, "AveragePoolGradient", accepts=_accepts_mean_gradient)
def lower_average_pool_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    at = window(node.attributes, node.y.shape, node.x.shape)
    algorithm = _mean_algorithm(node)
    assert algorithm is not None
    given = inputs[0]
    assert given is not None
    kernels = (_mean_gradient(node, algorithm, tag, at) for tag in _tags_to_try(_tag_of(given, node.x.shape), at.x))
    slow = next(kernels)
    return next((found for found in (slow, *kernels) if not found.name.startswith("ref")), slow)


def _mean_gradient(node: Node, algorithm: int, tag: int, at: Window) -> Kernel:
    forward = _forward(FORWARD_TRAINING, algorithm, tagged(node.x.dtype, at.x, tag), at)
    return _backward(node, algorithm, tag, at, forward, None)


def _tags_to_try(known: int, shape: Shape) -> list[int]:
    """How a tensor may lie, as it does now before all; in blocks only where these are full."""
    in_rows, last, by_16, by_8 = ACTIVATION_TAGS[len(shape)]
    blocks = [tag for tag, size in ((by_16, 16), (by_8, 8)) if shape[1] % size == 0]
    return list(dict.fromkeys([known, *blocks, last, in_rows]))


def _backward(
    node: Node,
    algorithm: int,
    tag: int,
    at: Window,
    forward: PrimitiveDescriptor,
    selected: tuple[Layout, Descriptor] | None,
) -> Kernel:
    to, given = tagged(node.x.dtype, at.x, tag), tagged(node.x.dtype, at.y, tag)
    described = describe("pooling_backward", algorithm, to, given, *at.arguments, forward)
    operands = [reads(DIFF_DST, 0, given), writes(DIFF_SRC, 0, to)]
    layouts: list[Layout | None] = [layout_of(given)]
    if selected is not None:
        operands.append(reads(WORKSPACE, 1, selected[1]))
        layouts.append(selected[0])
    layouts += [None] * (len(node.inputs) - len(layouts))
    return PrimitiveKernel(described, layouts, [layout_of(to)], operands)


def _tag_of(layout: Layout, shape: tuple[int, ...]) -> int:
    """The tag by which a tensor of ``shape`` lies; row-major where it is none of those that pooling produces."""
    found = layout.opaque if layout.opaque is not None else dense(layout.dtype, shape)
    tags = ACTIVATION_TAGS[len(shape)]
    matching = [tag for tag in (tags[2], tags[3], tags[1]) if tagged(layout.dtype, shape, tag) == found]
    return matching[0] if matching and layout.opaque is not None else tags[0]
