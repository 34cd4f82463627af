"""Filters that learn, narrowed to bfloat16 in each pass: from the blocks in which their gradient comes into those in
which convolutions of half width read them.

The numbers of 16 inputs for 16 outputs lie together. Convolutions read pairs of inputs beside each other, gradients by
the image pairs of outputs; where windows have one position, those have the blocks of inputs outermost. So filters,
their gradients and what an optimizer keeps of them lie alike, and a step goes through each filter twice. Refused:
filters that do not fill blocks, or whose readers are no convolutions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from toolkit.backends import onednn
from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import BFLOAT16, FLOAT32, Number
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.kernel import CompiledKernel
from toolkit.backends.native.registry import kernel
from toolkit.backends.onednn.memory import layout_of, tagged
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node

WIDTH = 16  # of blocks of channels
PAIR = np.dtype(np.uint32)
# oneDNN's numbers for blocks of (outputs, inputs, window), of what each lies innermost.
WIDE, PAIRS_OF_INPUTS = 79, 104
PAIRS_OF_OUTPUTS, PAIRS_OF_OUTPUTS_INPUTS_FIRST = 98, 106
READERS = {"forward": "FusedConv", "backward": "ConvInputGradient"}


def narrows_filters(node: Node) -> bool:
    """Whether the node narrows filters in full blocks."""
    shape = node.x.shape
    is_narrowing = (node.x.dtype, node.y.dtype) == (FLOAT32, BFLOAT16) and node.x.parameter is not None
    fills = len(shape) == 4 and node.x.size > 0 and not (shape[0] % WIDTH or shape[1] % WIDTH)
    return is_narrowing and fills and node.role in READERS and onednn.available()


def is_read_by(node: Node, readers: Sequence[Node]) -> bool:
    """Whether only such convolutions read the result as want it in these blocks."""
    wanted = READERS.get(node.role)
    return bool(readers) and all(
        item.op_type == wanted and item.attributes.get("group", 1) == 1 and item.inputs[1] is node.y for item in readers
    )


@kernel("", "Cast", accepts=narrows_filters)
def lower_narrowing(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    outputs, channels, *window = node.x.shape
    is_backward, positions = node.role == "backward", math.prod(window)
    tag = PAIRS_OF_INPUTS
    if is_backward:
        tag = PAIRS_OF_OUTPUTS_INPUTS_FIRST if positions == 1 else PAIRS_OF_OUTPUTS
    code = Code(2)
    source, target = code.places
    rows, columns = outputs // WIDTH, channels // WIDTH
    begin, end = Team(code, resources.threads).share(rows)
    with code.loop(end, start=begin) as row, code.loop(columns) as column, code.loop(positions) as position:
        here = (row * columns + column) * positions + position
        there = column * rows + row if tag == PAIRS_OF_OUTPUTS_INPUTS_FIRST else here
        numbers = [code.load(source, (here * WIDTH + item) * WIDTH, FLOAT32, WIDTH) for item in range(WIDTH)]
        narrow = [item.converted(BFLOAT16) for item in numbers]
        for index, pairs in enumerate(_turned(narrow) if is_backward else _paired(narrow)):
            code.store(pairs, target, (there * (WIDTH // 2) + index) * WIDTH)
    given = layout_of(tagged(FLOAT32, node.x.shape, WIDE))
    return CompiledKernel(code, [given], [layout_of(tagged(BFLOAT16, node.x.shape, tag))])


def _paired(rows: Sequence[Number]) -> list[Number]:
    """Each two rows as one of pairs."""
    return [_mixed(one, other, 0, 2 * WIDTH).bits(PAIR) for one, other in zip(rows[::2], rows[1::2], strict=True)]


def _turned(rows: Sequence[Number]) -> list[Number]:
    """Each two columns as a row of pairs. Every step makes the highest bit of a row's number the lowest of a lane's."""
    found = [item.bits(PAIR) for item in rows]
    half = len(found) // 2
    found = [_mixed(one, other, 0, WIDTH) for one, other in zip(found[:half], found[half:], strict=True)]
    while half > 1:
        half //= 2
        middle = len(found) // 2
        pairs = list(zip(found[:middle], found[middle:], strict=True))
        found = [_mixed(one, other, start, WIDTH) for one, other in pairs for start in (0, WIDTH)]
    return found


def _mixed(one: Number, other: Number, start: int, count: int) -> Number:
    """So many lanes of two vectors in turn, from a place on."""
    return one.picked(other, [at // 2 + at % 2 * one.lanes for at in range(start, start + count)])
