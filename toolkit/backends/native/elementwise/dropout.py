"""Dropout that drops: its mask is drawn and applied in one pass, by all threads.

The context's generator gives each run a key, from which the bits of every element follow by its number. So what is
dropped depends on the seed alone, neither on threads nor on the processor. An element has 16 bits: a ratio is met to
1/65536, which no gradient notices. Refused: seeds in the file, ratios and modes that are not known beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import BOOLEAN, FLOATS, Number, joined
from toolkit.backends.native.assembly.philox import UINT64, random_bits
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.kernel import CompiledKernel, plain_layouts
from toolkit.backends.native.registry import kernel
from toolkit.backends.protocol import Buffer, Kernel, Layout, Resources, Step, plain
from toolkit.compiler.known import dropped_share
from toolkit.compiler.program import Node

WORTH_A_THREAD = 1 << 13  # elements from which others help
LEVELS = 1 << 16
UINT16 = np.dtype(np.uint16)
COUNTERS = 4  # in a vector, on every processor: the order of their bits is that of the elements
TOGETHER = COUNTERS * UINT64.itemsize // UINT16.itemsize  # elements that one word of each decides on


def _drops(node: Node) -> bool:
    mask = node.outputs[1] if len(node.outputs) > 1 else None
    is_served = node.outputs[0] is not None and node.x.dtype in FLOATS and node.x.size > 0
    is_known = "seed" not in node.attributes and dropped_share(node) is not None
    return is_served and is_known and (mask is None or mask.dtype == BOOLEAN)


@kernel("", "Dropout", accepts=_drops)
def lower_dropout(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    return _Dropout(node, resources)


class _Dropout(CompiledKernel):
    """A key is drawn, then the code executed."""

    is_shared = False

    def __init__(self, node: Node, resources: Resources) -> None:
        self._key, self._draw = np.zeros(1, UINT64), resources.random.bit_generator.random_raw
        super().__init__(
            _written(node, resources.threads),
            [plain(node.x.dtype, node.x.shape), *[None] * (len(node.inputs) - 1)],
            plain_layouts(node.outputs),
            in_place=[(0, 0)],
            tables=[self._key],
        )

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        call, key, draw = super().bind(inputs, outputs, workspace), self._key, self._draw

        def step() -> Any:
            key[0] = draw()
            return call()

        return step


def _written(node: Node, threads: int) -> Code:
    """Whole pairs of vectors are divided among threads, the first one has what is left."""
    dtype, size, share = node.x.dtype, node.x.size, dropped_share(node)
    assert share is not None
    code = Code(2 + sum(item is not None for item in node.outputs))
    x, y, *mask, key = code.places
    team = Team(code, threads if size >= WORTH_A_THREAD else 1)
    keys = code.load(key, 0, UINT64).spread(COUNTERS)
    lanes = joined([code.constant(lane, UINT64) for lane in range(COUNTERS)])

    def piece(block: Number, count: int) -> None:
        """``count`` elements of a block from its first on."""
        numbers = (block * COUNTERS).converted(UINT64).spread(COUNTERS) + lanes
        for half, bits in enumerate(random_bits(numbers, keys)):
            here = min(count - half * TOGETHER, TOGETHER)
            if here <= 0:
                return
            at = block * (2 * TOGETHER) + half * TOGETHER
            kept = bits.bits(UINT16) >= min(round(share * LEVELS), LEVELS - 1)
            value = code.load_some(x, at, dtype, here, TOGETHER) * (1.0 / (1.0 - share))
            code.store_some(kept.choose(value, 0.0), y, at, here)
            for place in mask:
                code.store_some(kept, place, at, here)

    blocks, rest = divmod(size, 2 * TOGETHER)
    begin, end = team.share(blocks)
    with code.loop(end, start=begin) as block:
        piece(block, 2 * TOGETHER)
    if rest:
        with code.where(team.number.equals(0)):
            piece(code.index(blocks), rest)
    return code
