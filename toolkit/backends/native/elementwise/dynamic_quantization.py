"""DynamicQuantizeLinear: one pass finds the range of the data, a second one, by all threads, puts it on the grid.

Every operation is that of the reference, NaN included, so the grid is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.folding import TOGETHER, joined_lanes, lanes_for, largest, smallest
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.assembly.team import WORTH_A_THREAD, Team
from toolkit.backends.native.kernel import CompiledKernel, plain_layouts
from toolkit.backends.native.registry import kernel
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node

FLOAT32, UINT8 = np.dtype(np.float32), np.dtype(np.uint8)
STEPS = 255.0  # of the grid


def is_quantized(node: Node) -> bool:
    """Whether all three results of a tensor of float32 that is not empty are wanted."""
    return node.x.dtype == FLOAT32 and node.x.size > 0 and None not in node.outputs


@kernel("", "DynamicQuantizeLinear", accepts=is_quantized)
def lower_dynamic_quantization(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Two functions of the same places: the data, its steps, the scale, and the zero point."""
    size = node.x.size
    threads = resources.threads if size >= WORTH_A_THREAD else 1
    return CompiledKernel(
        _range(size), plain_layouts(node.inputs), plain_layouts(node.outputs), after=[_on_grid(size, threads)]
    )


def _range(size: int) -> Code:
    """Scale and zero point; 0 is in every range, so it stands for what is not there."""
    code, lanes = Code(4), lanes_for(size, FLOAT32)
    x, _, scale, zero_point = code.places
    together = TOGETHER if size >= TOGETHER * lanes else 1
    zero = code.constant(0.0, FLOAT32, lanes)
    ends = [(code.cell(zero), code.cell(zero)) for _ in range(together)]

    def look(position: Number, count: int, part: int = 0) -> None:
        value = code.load_some(x, position, FLOAT32, count, lanes).only(count, 0.0)
        low, high = ends[part]
        low.set(low.get().smaller(value))
        high.set(high.get().larger(value))

    whole = size // (together * lanes) * (together * lanes)
    with code.loop(whole, together * lanes) as position:
        for part in range(together):
            look(position + part * lanes, lanes, part)
    code.pieces(size - whole, lanes, lambda position, count: look(position + whole, count))
    low, high = ends[0][0].get(), ends[0][1].get()
    for other in ends[1:]:
        low, high = low.smaller(other[0].get()), high.larger(other[1].get())
    low, high = joined_lanes(smallest(FLOAT32), low), joined_lanes(largest(FLOAT32), high)
    step = (high > low).choose((high - low) / STEPS, 1.0)
    code.store(step, scale, 0)
    code.store(_limited(-low / step).rounded().converted(UINT8), zero_point, 0)
    return code


def _on_grid(size: int, threads: int) -> Code:
    code, lanes = Code(4), lanes_for(size, FLOAT32)
    x, y, scale, zero_point = code.places
    team = Team(code, threads)
    step = code.load(scale, 0, FLOAT32).spread(lanes)
    zero = code.load(zero_point, 0, UINT8).converted(FLOAT32).spread(lanes)

    def piece(position: Number, count: int) -> None:
        value = code.load_some(x, position, FLOAT32, count, lanes)
        code.store_some(_limited((value / step).rounded() + zero).converted(UINT8), y, position, count)

    team.pieces(size, lanes, piece)
    return code


def _limited(value: Number) -> Number:
    """Between the ends of the grid; what is no number is at the first one."""
    above = (value > 0.0).choose(value, 0.0)
    return (above < STEPS).choose(above, STEPS)
