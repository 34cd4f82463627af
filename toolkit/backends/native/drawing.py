"""Kernels that drop at random: a key for each run, from which follows by its number alone what becomes of an element.

The context's generator gives the keys. So what is dropped depends on the seed alone, neither on threads nor on the
processor. An element has 16 bits: a ratio is met to 1/65536, which no gradient notices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number, joined
from toolkit.backends.native.assembly.philox import UINT64, random_bits
from toolkit.backends.native.kernel import CompiledKernel
from toolkit.backends.protocol import Buffer, Layout, Resources, Step

LEVELS = 1 << 16
UINT16 = np.dtype(np.uint16)
COUNTERS = 4  # in a vector, on every processor: the order of their bits is that of the elements
TOGETHER = COUNTERS * UINT64.itemsize // UINT16.itemsize  # elements that one word of each decides on
BLOCK = 2 * TOGETHER  # elements that are drawn at once


class DrawingKernel(CompiledKernel):
    """A key is drawn, then the code executed, whose last place it is."""

    is_shared = False

    def __init__(
        self,
        code: Code,
        inputs: Sequence[Layout | None],
        outputs: Sequence[Layout | None],
        resources: Resources,
        **options: Any,
    ) -> None:
        self._key, self._draw = np.zeros(1, UINT64), resources.random.bit_generator.random_raw
        super().__init__(code, inputs, outputs, tables=[self._key], **options)

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        call, key, draw = super().bind(inputs, outputs, workspace), self._key, self._draw

        def step() -> Any:
            key[0] = draw()
            return call()

        return step


class Draw:
    """Which elements of a block of ``BLOCK`` are kept, where ``share`` of all are dropped; ``place`` has the key."""

    def __init__(self, code: Code, place: str, share: float) -> None:
        self._key = code.load(place, 0, UINT64).spread(COUNTERS)
        self._lanes = joined([code.constant(lane, UINT64) for lane in range(COUNTERS)])
        self._least = min(round(share * LEVELS), LEVELS - 1)

    def kept(self, block: Number) -> tuple[Number, Number]:
        """The truth of each of ``TOGETHER`` elements, and of as many behind them."""
        numbers = (block * COUNTERS).converted(UINT64).spread(COUNTERS) + self._lanes
        first, second = (bits.bits(UINT16) >= self._least for bits in random_bits(numbers, self._key))
        return first, second
