"""Resize, Upsample, Interpolation and its gradient: every choice of theirs is in the taps along each axis.

The gradient gathers as well, by the taps turned round, so a step repeats bit by bit. Refused: regions of interest that
are computed, and tables that would be larger than the tensors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.backends.cuda.gathering import gather
from toolkit.backends.cuda.launch import SourceKernel
from toolkit.backends.cuda.layouts import like
from toolkit.backends.cuda.registry import kernel
from toolkit.backends.cuda.source import ELEMENT_TYPES, FLOAT_TYPES, LARGEST_32_BIT, NUMBER_TYPES
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.backends.stretches import Stretches, stretches
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN

LARGEST_TABLE = 1 << 22  # entries of the taps along one axis
INTEGERS_IN_FLOAT64 = NUMBER_TYPES - {np.dtype(np.int64), np.dtype(np.uint64)}


def _steps(node: Node) -> Stretches | None:
    """The taps by axis, turned round for a gradient."""
    found = stretches(node)
    if found is None or node.op_type != "InterpolationGradient":
        return None if found is None else found[1]
    return [(axis, taps.transposed(node.y.shape[axis])) for axis, taps in reversed(found[1])]


def _resamples(node: Node) -> bool:
    if not 0 < node.x.size <= LARGEST_32_BIT or not 0 < node.y.size <= LARGEST_32_BIT:
        return False
    found = _steps(node)
    if not found or any(taps.index.size > LARGEST_TABLE for _, taps in found):
        return False
    is_copied = all(taps.index.shape[1] == 1 and taps.weight is None for _, taps in found)
    if node.op_type == "InterpolationGradient":
        return node.x.dtype in FLOAT_TYPES
    return node.x.dtype in (ELEMENT_TYPES if is_copied else INTEGERS_IN_FLOAT64)


@kernel("", "Resize", "Upsample", accepts=_resamples)
@kernel(TOOLKIT_DOMAIN, "Interpolation", "InterpolationGradient", accepts=_resamples)
def lower_resampling(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """In the layout in which the input lies."""
    layout, found, steps = inputs[0], stretches(node), _steps(node)
    assert layout is not None and found is not None and steps is not None
    made = like(layout, node.y.dtype, node.y.shape)
    beyond = 0.0 if node.op_type == "InterpolationGradient" else float(found[0]["extrapolation_value"])
    launch = gather(node.op_type, layout, made, steps, beyond)
    return SourceKernel("gather", [launch], [layout, *[None] * (len(node.inputs) - 1)], [made], resources)
