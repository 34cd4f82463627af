"""Images seen as chunks of positions, whose sums are gathered by all threads and put together in float64.

A direction of batch normalisation has three parts: the chunks, what follows for each channel, and every element; the
first is left out where nothing is summed. Of large images with blocks of channels, a thread does one after the other
for blocks of its own, which are still near when they are read again. Else the parts are three functions, the second of
which one thread executes. Refused: rows that do not fill vectors.
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
TOGETHER_NBYTES = 1 << 20  # of the blocks that a thread goes through together: it reads long pieces
WORTH_A_THREAD = 1 << 14  # elements from which others help
MOST_IDLE = 1.15  # times the work of a thread, if blocks could be shared out evenly, that one may have
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


Chunk = Callable[[Number, Number, Number, Number], None]  # its number, its block, the first element, and vectors


class ChunkWriter:
    """The three parts of one direction; the scratch memory holds ``sums`` of each chunk, then ``factors``."""

    def __init__(self, geometry: Geometry, places: int, sums: int, factors: int, threads: int) -> None:
        self.geometry = geometry
        size = geometry.items * geometry.blocks * geometry.positions * geometry.width
        self._is_large = size * geometry.dtype.itemsize >= BEYOND_CACHES
        self._threads = threads = threads if size >= WORTH_A_THREAD else 1
        is_even = -(-geometry.blocks // threads) * threads <= MOST_IDLE * geometry.blocks
        self._goes_by_block = self._is_large and is_even and not geometry.is_last
        codes = [Code(places + 1) for _ in range(1 if self._goes_by_block else 3)]
        self.gather, self.follow, self.apply = codes * 3 if self._goes_by_block else codes
        self.present = geometry.width
        self._sums, self._factors = sums, factors
        self._parts = geometry.items * geometry.blocks * geometry.chunks * geometry.width * sums
        self.workspace = 4 * (self._parts + factors * geometry.blocks * geometry.width)

    def go_through(self, chunk: Chunk | None, channels: Callable[[Number], None], elements: Chunk) -> None:
        """What is done with each chunk, with each block of ``channels``, and with the elements of each chunk."""
        if not self._goes_by_block:
            if chunk is not None:
                self._each_chunk(self.gather, chunk)
            self._each_block(channels, self.follow.index(0), self.follow.index(self.geometry.blocks))
            self._each_chunk(self.apply, elements)
            return
        code, own = self.apply, self.geometry
        begin, end = Team(code, self._threads).share(own.blocks)
        together = max(1, TOGETHER_NBYTES // (own.items * own.positions * own.width * own.dtype.itemsize))
        with code.loop(end, together, start=begin) as first:
            last = (first + together).smaller(end)
            self._each_of_blocks(chunk, first, last)
            self._each_block(channels, first, last)
            self._each_of_blocks(elements, first, last)

    def _each_of_blocks(self, body: Chunk | None, begin: Number, end: Number) -> None:
        """All chunks of some blocks, by one thread."""
        if body is None:
            return
        code, own = self.apply, self.geometry
        with code.loop(own.items) as item, code.loop(end, start=begin) as block, code.loop(own.chunks) as chunk:
            self._chunk(item, block, chunk, body)

    def _chunk(self, item: Number, block: Number, chunk: Number, body: Chunk) -> None:
        """One of the chunks of a block."""
        own = self.geometry
        row = item * own.blocks + block
        if own.is_last:
            start = (item * own.positions + chunk * own.chunk) * own.channels + block * own.width
        else:
            start = (row * own.vectors + chunk * own.chunk) * own.lanes
        count = (chunk.like(own.vectors) - chunk * own.chunk).smaller(own.chunk)
        body(row * own.chunks + chunk, block, start, count)

    def _each_chunk(self, code: Code, body: Chunk) -> None:
        """All of them, shared by a team. What lies near each other comes one after the other."""
        own = self.geometry
        begin, end = Team(code, self._threads).share(own.items * own.blocks * own.chunks)
        with code.loop(end, start=begin) as number:
            outer, inner = (own.chunks, own.blocks) if own.is_last else (own.blocks, own.chunks)
            middle = number / inner
            item = middle / outer
            at = middle - item * outer, number - middle * inner
            block, chunk = at[::-1] if own.is_last else at
            self._chunk(item, block, chunk, body)

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

    def _each_block(self, body: Callable[[Number], None], begin: Number, end: Number) -> None:
        """Blocks from one up to another; ``self.present`` tells how many of its channels there are."""
        code, own = self.follow, self.geometry
        whole, rest = divmod(own.channels, own.width)
        with code.loop(end.smaller(whole), start=begin) as block:
            body(block)
        if rest:
            self.present = rest
            with code.where(end > whole):
                body(code.index(whole))
            self.present = own.width

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
        codes = list(dict.fromkeys(codes))
        return CompiledKernel(codes[0], inputs, outputs, in_place=in_place, workspace=self.workspace, after=codes[1:])
