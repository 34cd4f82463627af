"""Reshapes that add or drop axes of one position: what lies in a layout of the library stays there.

Row-major order would be asked for otherwise, and a sequence that passes through convolutions of images (and back) would
be copied at each border. Refused: anything but images on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.backends.onednn.memory import ACTIVATION_TAGS, layout_of
from toolkit.backends.onednn.registry import FLOAT32, kernel
from toolkit.backends.protocol import Buffer, Kernel, Layout, Resources, Step, plain
from toolkit.compiler.program import Node


def _accepts(node: Node) -> bool:
    sides = node.x, node.y
    if node.x.producer is None or not all(item.dtype == FLOAT32 and item.size > 0 for item in sides):
        return False
    ranks_known = all(len(item.shape) in ACTIVATION_TAGS for item in sides)
    return ranks_known and _moving(node.x.shape) == _moving(node.y.shape)


def _moving(shape: Sequence[int]) -> list[int]:
    return [size for size in shape if size > 1]


@kernel("", "Reshape", "Squeeze", "Unsqueeze", accepts=_accepts)
def lower_view(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The library itself says how the same bytes are seen with other axes; row-major order where it does not."""
    given = inputs[0]
    assert given is not None
    seen = None
    if not given.is_plain and given.opaque.shape == given.shape:
        seen = given.opaque.reshaped(node.y.shape)
    if seen is None:
        return _View(node, plain(FLOAT32, node.x.shape), plain(FLOAT32, node.y.shape))
    return _View(node, given, layout_of(seen))


class _View(Kernel):
    """The same bytes."""

    name = "view"
    aliases = ((0, 0),)
    is_free = True

    def __init__(self, node: Node, source: Layout, target: Layout) -> None:
        self.inputs = [source] + [None] * (len(node.inputs) - 1)
        self.outputs = [target]

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        return _nothing


def _nothing() -> None:
    """The step of a view."""
