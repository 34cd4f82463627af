"""Images seen as chunks of positions, whose sums are gathered by all threads and put together in float64.

A direction of batch normalisation is three functions: the chunks by all threads, what follows for each channel by one,
and every element by all threads; the first is left out where nothing is summed. Refused: rows that do not fill vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np

from toolkit.backends.native.assembly.code import BEYOND_CACHES, Code
from toolkit.backends.native.assembly.number import Number, joined
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.kernel import CompiledKernel
from toolkit.backends.protocol import Kernel, Layout

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
CHUNK = 1 << 13  # elements, half of the nearest cache
TOGETHER = 4  # vectors, so that an addition need not wait for the one before
WORTH_A_THREAD = 1 << 14  # elements from which others help
MASKS: dict[int, np.dtype] = {8: np.dtype(np.uint8), 16: np.dtype(np.uint16)}  # as many bits as a vector has lanes


class Geometry(NamedTuple):
    """``items`` of ``channels``, seen in blocks of ``width`` at each of the ``positions``.

    Block after block lies in memory, the last one filled up with zeros; ``is_last``: all channels of a position lie
    beside each other instead. ``dtype`` is the type of the numbers in memory, which are float32 where one computes.
    """

    items: int
    channels: int
    positions: int
    width: int
    is_last: bool = False
    dtype: np.dtype = FLOAT32

    @property
    def blocks(self) -> int:
        return -(-self.channels // self.width)

    @property
    def lanes(self) -> int:
        """How many elements are computed together: the channels of a position, or positions of a channel."""
        return self.width if self.width > 1 else compiler().lanes(FLOAT32)

    @property
    def vectors(self) -> int:
        """Of one block of an item."""
        return self.positions * self.width // self.lanes

    @property
    def chunk(self) -> int:
        """Vectors that are summed together."""
        return min(self.vectors, CHUNK // self.lanes)

    @property
    def chunks(self) -> int:
        """Of one block of an item."""
        return -(-self.vectors // self.chunk)

    @property
    def step(self) -> int:
        """Elements from one vector of a block to the next."""
        return self.channels if self.is_last else self.lanes

    @property
    def is_served(self) -> bool:
        if self.is_last and self.channels % self.width:
            return False
        return self.lanes in MASKS and self.positions * self.width % self.lanes == 0

    @property
    def mask_nbytes(self) -> int:
        """A bit for each element."""
        return self.items * self.blocks * self.positions * self.width // 8


class ChunkWriter:
    """The three functions of one direction; the scratch memory holds ``sums`` of each chunk, then ``factors``."""

    def __init__(self, geometry: Geometry, places: int, sums: int, factors: int, threads: int) -> None:
        self.geometry = geometry
        size = geometry.items * geometry.blocks * geometry.positions * geometry.width
        self._is_large = size * geometry.dtype.itemsize >= BEYOND_CACHES
        self._threads = threads if size >= WORTH_A_THREAD else 1
        self.gather, self.follow, self.apply = (Code(places + 1) for _ in range(3))
        self.present = geometry.width
        self._sums, self._factors = sums, factors
        self._parts = geometry.items * geometry.blocks * geometry.chunks * geometry.width * sums
        self.workspace = 4 * (self._parts + factors * geometry.blocks * geometry.width)

    def each_chunk(self, code: Code, body: Callable[[Number, Number, Number, Number], None]) -> None:
        """``body(number of the chunk, block, first element, how many vectors)``, shared by a team.

        What lies near each other comes one after the other.
        """
        own = self.geometry
        begin, end = Team(code, self._threads).share(own.items * own.blocks * own.chunks)
        with code.loop(end, start=begin) as number:
            if own.is_last:
                piece = number / own.blocks
                block, item = number - piece * own.blocks, piece / own.chunks
                row, chunk = item * own.blocks + block, piece - item * own.chunks
                start = (item * own.positions + chunk * own.chunk) * own.channels + block * own.width
            else:
                row = number / own.chunks
                chunk, block = number - row * own.chunks, row - row / own.blocks * own.blocks
                start = (row * own.vectors + chunk * own.chunk) * own.lanes
            count = (code.index(own.vectors) - chunk * own.chunk).smaller(own.chunk)
            body(row * own.chunks + chunk, block, start, count)

    def totals(
        self, first: Number, count: Number, terms: Callable[[Number], Sequence[Number]], number: int
    ) -> list[Number]:
        """``number`` sums over the vectors of a chunk of what ``terms(element)`` are, for each channel of its block."""
        code, own = self.gather, self.geometry
        zero = code.constant(0.0, FLOAT32, own.lanes)
        cells = [[code.cell(zero) for _ in range(number)] for _ in range(TOGETHER)]
        whole = count - (count & (TOGETHER - 1))
        for step, start, stop in ((TOGETHER, code.index(0), whole), (1, whole, count)):
            with code.loop(stop, step, start) as vector:
                for shift in range(step):
                    for cell, term in zip(cells[shift], terms(first + (vector + shift) * own.step), strict=True):
                        cell.set(cell.get() + term)
        columns = [[row[index].get() for row in cells] for index in range(number)]
        found = [reduce(lambda one, other: one + other, column) for column in columns]
        return found if own.width > 1 else [item.sum_of_lanes() for item in found]

    def keep(self, number: Number, sums: Sequence[Number]) -> None:
        """Store the sums of a chunk."""
        for index, item in enumerate(sums):
            self.gather.store(item, self.gather.places[-1], (number * self._sums + index) * self.geometry.width)

    def each_block(self, body: Callable[[Number], None]) -> None:
        """``body(block)`` for all blocks of channels; ``self.present`` tells how many of its channels there are."""
        whole, rest = divmod(self.geometry.channels, self.geometry.width)
        with self.follow.loop(whole) as block:
            body(block)
        if rest:
            self.present = rest
            body(self.follow.index(whole))

    def each_part(self, block: Number, body: Callable[[list[Number], Number], None]) -> None:
        """``body(sums in float64, how many elements of each channel)`` for all chunks of a block."""
        code, own = self.follow, self.geometry
        with code.loop(own.items) as item, code.loop(own.chunks) as chunk:
            number = (item * own.blocks + block) * own.chunks + chunk
            count = (code.index(own.vectors) - chunk * own.chunk).smaller(own.chunk) * (own.lanes // own.width)
            places = [(number * self._sums + index) * own.width for index in range(self._sums)]
            found = [code.load(code.places[-1], at, FLOAT32, own.width).converted(FLOAT64) for at in places]
            body(found, count.converted(FLOAT64).spread(own.width))

    def set_factors(self, block: Number, values: Sequence[Number]) -> None:
        """What the elements of a block are computed with."""
        for index, value in enumerate(values):
            found = value.converted(FLOAT32).only(self.present, 0.0)
            self.follow.store(found, self.follow.places[-1], self._factor_at(block, index))

    def factors(self, block: Number) -> list[Number]:
        """The same, for all lanes."""
        own = self.geometry
        places = [self._factor_at(block, index) for index in range(self._factors)]
        found = [self.apply.load(self.apply.places[-1], at, FLOAT32, own.width) for at in places]
        return [item.spread(own.lanes) for item in found]

    def _factor_at(self, block: Number, index: int) -> Number:
        return (block * self._factors + index) * self.geometry.width + self._parts

    def vector(self, code: Code, place: int, at: Number) -> Number:
        """A vector of the image at a place, from element ``at`` on."""
        return code.load(code.places[place], at, self.geometry.dtype, self.geometry.lanes).converted(FLOAT32)

    def write(self, value: Number, place: int, at: Number) -> None:
        """Store a vector of an image that results, past the caches where these would not hold it anyway."""
        store = self.apply.store_past if self._is_large else self.apply.store
        store(value.converted(self.geometry.dtype), self.apply.places[place], at)

    def by_channel(self, place: int, block: Number) -> Number:
        """What a tensor of numbers by channel has for a block, in float64."""
        code, width = self.follow, self.geometry.width
        return code.load_some(code.places[place], block * width, FLOAT32, self.present, width).converted(FLOAT64)

    def gathered_around(self, place: int, block: Number) -> Number:
        """What a tensor of numbers by channel has for the elements of a chunk, for channels that are not there any."""
        code, own = self.gather, self.geometry
        if own.channels % own.width == 0:
            found = code.load(code.places[place], block * own.width, FLOAT32, own.width)
        else:
            numbers = [(block * own.width + lane).smaller(own.channels - 1) for lane in range(own.width)]
            found = joined([code.load(code.places[place], at, FLOAT32) for at in numbers])
        return found.spread(own.lanes)

    def set_by_channel(self, value: Number, place: int, block: Number) -> None:
        code, width = self.follow, self.geometry.width
        code.store_some(value.converted(FLOAT32), code.places[place], block * width, self.present)

    def kernel(
        self,
        inputs: Sequence[Layout | None],
        outputs: Sequence[Layout | None],
        in_place: Sequence[tuple[int, int]],
    ) -> Kernel:
        """The kernel of them."""
        if self._is_large:
            self.apply.settle()
        codes = [self.gather, self.follow, self.apply] if self._sums else [self.follow, self.apply]
        return CompiledKernel(codes[0], inputs, outputs, in_place=in_place, workspace=self.workspace, after=codes[1:])
