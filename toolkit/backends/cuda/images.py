"""Tensors of a node as cuDNN is told of them: images have two or three spatial axes and lie with their channels last.

One spatial axis is shown as the second of two. A tensor without any, (batch, channels), is an image of one place.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.backends.cuda.cudnn.builder import Builder, Window
from toolkit.backends.cuda.cudnn.graph import DATA_TYPES, Tensor, channels_innermost
from toolkit.backends.cuda.layouts import channels_last
from toolkit.backends.protocol import Layout
from toolkit.compiler.program import Node, Variable
from toolkit.operators.precision import HALF_WIDTH

FLOAT32 = np.dtype(np.float32)
FLOATS = (FLOAT32, *HALF_WIDTH)
LARGEST = 2**31 - 1  # elements: many engines count in 32 bits
LEAST_RANK = 4


def is_float(node: Node) -> bool:
    """Whether every tensor is float32 or of one type of half width, not empty, and small enough to be counted."""
    present = [item for item in (*node.inputs, *node.outputs) if item is not None]
    kinds = {item.dtype for item in present}
    return all(0 < item.size <= LARGEST for item in present) and kinds <= set(FLOATS) and len(kinds - {FLOAT32}) <= 1


def shown(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of an image with at least two spatial axes."""
    missing = (1,) * max(0, LEAST_RANK - len(shape))
    return (*shape[:2], *missing, *shape[2:])


def image(builder: Builder, variable: Variable) -> Tensor:
    """A tensor (batch, channels, ...) with channels last."""
    shape = shown(variable.shape)
    return builder.tensor(DATA_TYPES[variable.dtype], shape, channels_innermost(shape))


def vector(builder: Builder, variable: Variable, rank: int) -> Tensor:
    """A number for each channel, as it broadcasts to images of ``rank`` axes."""
    shape = (1, variable.size, *(1,) * (max(rank, LEAST_RANK) - 2))
    return builder.tensor(DATA_TYPES[variable.dtype], shape, channels_innermost(shape))


def layout(variable: Variable) -> Layout:
    """The layout of ``image``."""
    return channels_last(variable.dtype, variable.shape)


def window(
    strides: Sequence[int],
    begins: Sequence[int],
    ends: Sequence[int],
    dilations: Sequence[int] = (),
    size: Sequence[int] = (),
) -> Window:
    """A window over images as they are shown; on an axis that was added it stands still."""
    if len(strides) > 1:
        return Window(*(tuple(map(int, item)) for item in (strides, begins, ends, dilations, size)))
    added = ((1, strides), (0, begins), (0, ends), (1, dilations), (1, size))
    return Window(*((still, *map(int, item)) if len(item) else () for still, item in added))
