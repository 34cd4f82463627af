"""Maxima and means over windows, and their gradients: graphs of cuDNN on images with channels last.

Which element of its window was the largest is kept as cuDNN writes it, a byte that only its own gradient understands.
Refused: dilated windows, windows of more places than that byte tells apart, and means that count what hangs over the
far edge (``ceil_mode`` with ``count_include_pad``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from toolkit.backends.cuda.cudnn.builder import Builder, Window
from toolkit.backends.cuda.cudnn.graph import Tensor, channels_innermost
from toolkit.backends.cuda.cudnn.graph_constants import DataType, ResampleMode
from toolkit.backends.cuda.cudnn.session import session_of
from toolkit.backends.cuda.images import image, is_float, layout, shown, window
from toolkit.backends.cuda.layouts import DEVICE
from toolkit.backends.cuda.parts import PartsKernel, Place, Scratch, graph_parts, reads, writes
from toolkit.backends.cuda.registry import kernel
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node, Variable
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.pooling import canonical_pooling

LIBRARY = "cuDNN"

MAXIMUM = ResampleMode.MAXPOOL
MOST_PLACES = 127  # of a window whose largest element is told by a signed byte


@dataclass(frozen=True, slots=True)
class Selected:
    """How it lies which element of each window was the largest: bytes, channels last."""


def _images(*variables: Variable) -> bool:
    return len({item.dtype for item in variables}) == 1 and 3 <= len(variables[0].shape) <= 5


def _is_plain_window(values: Mapping[str, Any]) -> bool:
    return all(step == 1 for step in values.get("dilations") or ())


def _mean(values: Mapping[str, Any]) -> ResampleMode | None:
    """``None`` where the window counts what cuDNN does not."""
    if not values.get("count_include_pad", 0):
        return ResampleMode.AVGPOOL_EXCLUDE_PADDING
    return None if values.get("ceil_mode", 0) else ResampleMode.AVGPOOL_INCLUDE_PADDING


def _window(values: Mapping[str, Any], x: Sequence[int], y: Sequence[int]) -> Window:
    """The window of canonical attributes, with the padding at the end that makes the sizes come out exactly."""
    size, strides = values["kernel_shape"], values["strides"]
    begins = values["pads"][: len(size)]
    ends = [
        max(0, (y[2 + axis] - 1) * strides[axis] + size[axis] - x[2 + axis] - begins[axis]) for axis in range(len(size))
    ]
    return window(strides, begins, ends, (), size)


def _whole(x: Sequence[int]) -> Window:
    """The window that covers all places."""
    rank = len(x) - 2
    return window((1,) * rank, (0,) * rank, (0,) * rank, (), x[2:])


def _accepts(node: Node) -> bool:
    if not (is_float(node) and _images(node.x, node.y) and _is_plain_window(node.attributes)) or len(node.outputs) > 1:
        return False
    return node.op_type == "MaxPool" or _mean(node.attributes) is not None


@kernel("", "MaxPool", "AveragePool", accepts=_accepts)
def pooling(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    values = canonical_pooling(node.attributes, node.x.shape)
    mode = MAXIMUM if node.op_type == "MaxPool" else _mean(node.attributes)
    assert mode is not None
    return _pooling(node, resources, mode, _window(values, node.x.shape, node.y.shape))


@kernel("", "GlobalAveragePool", "GlobalMaxPool", accepts=lambda node: is_float(node) and _images(node.x, node.y))
def global_pooling(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    mode = MAXIMUM if node.op_type == "GlobalMaxPool" else ResampleMode.AVGPOOL_INCLUDE_PADDING
    return _pooling(node, resources, mode, _whole(node.x.shape))


def _pooling(node: Node, resources: Resources, mode: ResampleMode, at: Window) -> Kernel:
    builder = Builder()
    x, y = image(builder, node.x), image(builder, node.y)
    builder.pooling(mode, x, y, at)
    return _kernel(builder, resources, {x.uid: reads(0), y.uid: writes(0)}, [layout(node.x)], [layout(node.y)])


def _kernel(
    builder: Builder,
    resources: Resources,
    places: Mapping[int, Place],
    inputs: Sequence[Layout | None],
    outputs: Sequence[Layout | None],
) -> Kernel:
    memory = Scratch()
    parts = graph_parts(session_of(resources), builder.graph(), places, memory, strict=resources.strict)
    return PartsKernel(parts, inputs, outputs, memory)


# gradients ----------------------------------------------------------------------------------------------------------


def _accepts_training(node: Node) -> bool:
    known = _images(node.x, node.y) and _is_plain_window(node.attributes)
    places = prod(node.attributes["kernel_shape"])
    return known and places <= MOST_PLACES and all(item is None or item.size for item in node.outputs) and _floats(node)


def _floats(node: Node) -> bool:
    """As ``is_float`` without what is kept, which is integers."""
    return is_float(Node(node.op_type, node.domain, node.version, [node.x], [node.y], {}))


def _kept(variable: Variable) -> Layout:
    return Layout(variable.dtype, variable.shape, variable.size, Selected(), DEVICE)


def _bytes(builder: Builder, variable: Variable) -> Tensor:
    shape = shown(variable.shape)
    return builder.tensor(DataType.INT8, shape, channels_innermost(shape))


@kernel(TOOLKIT_DOMAIN, "MaxPoolTraining", accepts=_accepts_training)
def maximum_training(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The maximum, and which element it was."""
    builder, kept = Builder(), node.outputs[1]
    assert kept is not None
    x, y, selected = image(builder, node.x), image(builder, node.y), _bytes(builder, kept)
    builder.pooling(MAXIMUM, x, y, _window(node.attributes, node.x.shape, node.y.shape), selected)
    places = {x.uid: reads(0), y.uid: writes(0), selected.uid: writes(1)}
    return _kernel(builder, resources, places, [layout(node.x)], [layout(node.y), _kept(kept)])


def _accepts_maximum_gradient(node: Node) -> bool:
    selected = node.inputs[1]
    made = None if selected is None else selected.producer
    return made is not None and made.op_type == "MaxPoolTraining" and _accepts_training(made) and _floats(node)


@kernel(TOOLKIT_DOMAIN, "MaxPoolGradient", accepts=_accepts_maximum_gradient)
def maximum_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The gradient goes to the element that was the largest."""
    builder, kept = Builder(), node.inputs[1]
    assert kept is not None
    dy, selected, dx = image(builder, node.x), _bytes(builder, kept), image(builder, node.y)
    builder.pooling_gradient(MAXIMUM, dy, dx, _window(node.attributes, node.y.shape, node.x.shape), selected)
    places = {dy.uid: reads(0), selected.uid: reads(1), dx.uid: writes(0)}
    return _kernel(builder, resources, places, [layout(node.x), _kept(kept)], [layout(node.y)])


def _accepts_mean_gradient(node: Node) -> bool:
    known = _images(node.x, node.y) and _is_plain_window(node.attributes)
    return is_float(node) and known and _mean(node.attributes) is not None


@kernel(TOOLKIT_DOMAIN, "AveragePoolGradient", accepts=_accepts_mean_gradient)
def mean_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The gradient is spread over each window."""
    builder, mode = Builder(), _mean(node.attributes)
    assert mode is not None
    dy, dx = image(builder, node.x), image(builder, node.y)
    builder.pooling_gradient(mode, dy, dx, _window(node.attributes, node.y.shape, node.x.shape))
    return _kernel(builder, resources, {dy.uid: reads(0), dx.uid: writes(0)}, [layout(node.x)], [layout(node.y)])
