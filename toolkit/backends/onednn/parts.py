"""Concat, Split, Slice and Pad of images whose channels lie last: the copies of the numpy backend, on turned arrays.

Without them every image between two convolutions that is cut or joined would be brought into row-major order and back.
Refused: tensors that are no images, what the numpy backend has no direct kernel for, and pads that repeat the image,
which it looks up by positions in memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.backends.host import HostBuffer
from toolkit.backends.numpy.bound import Direct
from toolkit.backends.numpy.parts import PARTS
from toolkit.backends.onednn.memory import ACTIVATION_TAGS, channels_last
from toolkit.backends.onednn.registry import FLOAT32, kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, Step, plain
from toolkit.compiler.program import Node, Variable

OPERATORS = ("Concat", "Split", "Slice", "Pad")


def _direct(node: Node) -> Direct | None:
    return PARTS["", node.op_type](node)


def _images(node: Node) -> list[int]:
    """The inputs that are copied; the others say what of them."""
    return list(range(len(node.inputs))) if node.op_type == "Concat" else [0]


def _is_image(item: Variable | None) -> bool:
    return item is not None and item.dtype == FLOAT32 and len(item.shape) in ACTIVATION_TAGS and item.size > 0


def _accepts(node: Node) -> bool:
    tensors = [*(node.inputs[index] for index in _images(node)), *node.outputs]
    if not all(map(_is_image, tensors)) or node.attributes.get("mode", "constant") != "constant":
        return False
    direct = _direct(node)
    return direct is not None and not direct.is_same


@kernel("", *OPERATORS, accepts=_accepts)
def lower_parts(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """In the layout in which most of what is copied lies: channels last, or row-major."""
    direct = _direct(node)
    assert direct is not None
    given = [layout for layout in (inputs[index] for index in _images(node)) if layout is not None]
    turned = [layout for layout in given if not layout.is_plain and layout == channels_last(FLOAT32, layout.shape)]
    is_turned = 2 * sum(layout.nbytes for layout in turned) > sum(layout.nbytes for layout in given)
    return _Parts(node, direct, is_turned)


class _Parts(Kernel):
    """The copies, on images that lie channels last or in row-major order."""

    def __init__(self, node: Node, direct: Direct, is_turned: bool) -> None:
        images = _images(node)
        laid = channels_last if is_turned else plain
        self.name = "numpy, channels last" if is_turned else "numpy"
        self.inputs = [
            None if item is None else laid(FLOAT32, item.shape) if index in images else plain(item.dtype, item.shape)
            for index, item in enumerate(node.inputs)
        ]
        self.outputs = [None if item is None else laid(FLOAT32, item.shape) for item in node.outputs]
        self._direct = direct

    def bind(
        self, inputs: Sequence[HostBuffer | None], outputs: Sequence[HostBuffer | None], workspace: object
    ) -> Step:
        arrays = [None if item is None else _array(item) for item in inputs]
        return self._direct.bind(arrays, [None if item is None else _array(item) for item in outputs])


def _array(buffer: HostBuffer) -> np.ndarray:
    """The tensor with its axes in order, whatever their strides."""
    layout = buffer.layout
    if layout.is_plain:
        return buffer.array
    batch, channels, *sizes = layout.shape
    return np.moveaxis(buffer.over(plain(layout.dtype, (batch, *sizes, channels))).array, -1, 1)
