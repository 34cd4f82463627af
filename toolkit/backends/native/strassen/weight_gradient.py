"""The gradient of a pointwise convolution by its weight: outputs by positions times positions by channels.

Positions are gone through in chunks, whose first half is one part of the depth and the second half the other. Threads
have positions of their own and add up in the end where sums are small, else outputs or channels of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import INDEX, Number
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.images.windows import HEAD
from toolkit.backends.native.kernel import CompiledKernel, plain_layouts
from toolkit.backends.native.products.blocking import evenly
from toolkit.backends.native.products.tile import UNROLLED, VECTORS, width
from toolkit.backends.native.registry import kernel
from toolkit.backends.native.strassen.positions import Positions
from toolkit.backends.native.strassen.products import (
    PARTS,
    PRODUCTS,
    RESULTS,
    Coming,
    Tile,
    left_factors,
    right_factors,
    strassen_function,
)
from toolkit.backends.native.strassen.sizes import is_product_of_columns, is_weight_gradient
from toolkit.backends.native.winograd.images import Images
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN

FLOAT32 = np.dtype(np.float32)
MOST_SUMS_NBYTES = 1 << 20  # of which each thread has all; larger ones are shared out
FACTORS_NBYTES = 1 << 21  # of the left factors of a chunk
FEWEST, MOST = 64, 256  # positions of half a chunk, beyond what the bytes say


@kernel(TOOLKIT_DOMAIN, "ConvWeightGradient", accepts=is_weight_gradient)
def lower_weight_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The gradient by the weight, from the input and the gradient by the output."""
    grad = node.inputs[1]
    assert grad is not None
    images, grads = Images.of(node.x.shape, inputs[0]), Images.of(grad.shape, inputs[1])
    down, across = node.attributes["strides"]
    positions = Positions(grad.shape[0], grads.size, (int(down), int(across)))
    writer = _Writer(positions, images, grads, resources.threads)
    given: list[Layout | None] = [item.layout(positions.batch) for item in (images, grads)]
    made = [plain(FLOAT32, node.y.shape), *(None for _ in node.outputs[1:])]
    return CompiledKernel(writer.code, given, made, workspace=writer.workspace)


@kernel(TOOLKIT_DOMAIN, "FusedMatMul", accepts=is_product_of_columns)
def lower_product_of_columns(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The same for a dense layer: ``a`` turned times ``b``, where rows are positions of an image."""
    right = node.inputs[1]
    assert right is not None
    rows, columns = right.shape
    size = (rows, 1)
    images, grads = Images(size, columns, columns), Images(size, node.x.shape[1], node.x.shape[1])
    writer = _Writer(Positions(1, size, (1, 1)), images, grads, resources.threads, grad_first=True)
    result = [plain(FLOAT32, node.y.shape)]
    return CompiledKernel(writer.code, plain_layouts(node.inputs), result, workspace=writer.workspace)


class _Chunk(NamedTuple):
    """Positions from ``first`` on, twice ``depth`` of them; those from ``end`` on are not there."""

    first: Number
    end: Number
    depth: Number


class _Vectors(NamedTuple):
    """A vector of channels, number ``block``, and the one that lies ``blocks`` vectors on, where a ``list`` says."""

    place: str
    images: Images
    list: str
    block: Number
    blocks: int


class _Writer:
    """Writes the code.

    The space of a thread holds the left factors of a chunk, (tiles of as many outputs as a vector has lanes, factors,
    positions, lanes), the right ones of a panel, (factors, positions, columns), sums of a few tiles, and where
    positions are shared out, for all threads but the first a gradient. ``grad_first``: of the places that are read.
    """

    def __init__(
        self, positions: Positions, images: Images, grads: Images, threads: int, *, grad_first: bool = False
    ) -> None:
        self._positions, self._images, self._grads = positions, images, grads
        self._lanes = compiler().lanes(FLOAT32)
        self.code = code = Code(4)
        *read, target, self._space = code.places
        self._image, self._grad = reversed(read) if grad_first else read
        self._tiles, self._panels = grads.channels // (2 * self._lanes), images.channels // (2 * width())
        size = grads.channels * images.channels
        shares_positions = size * FLOAT32.itemsize <= MOST_SUMS_NBYTES
        shares_tiles = not shares_positions and grads.channels >= images.channels
        tiles = -(-self._tiles // threads) if shares_tiles else self._tiles

        count = positions.batch * positions.each
        self._half = self._positions_of_half_a_chunk(-(-count // threads) if shares_positions else count, tiles)
        left, right = (PRODUCTS * self._half * each for each in (tiles * self._lanes, width()))
        lists = 2 * self._half * INDEX.itemsize // FLOAT32.itemsize
        sums = (RESULTS + 2) * self._lanes // 2 * width()
        per_thread = left + right + 2 * lists + sums
        self.workspace = (HEAD + threads * per_thread + (threads - 1) * size * shares_positions) * FLOAT32.itemsize

        team = Team(code, threads, self._space)
        self._left = team.number * per_thread + HEAD
        self._right = self._left + left
        behind = self._right + right
        self._sums = code.address(self._space, behind, FLOAT32)
        self._lists = [code.address(self._space, behind + (sums + number * lists), FLOAT32) for number in range(2)]
        self._laid = ((images, positions.strides), (grads, (1, 1)))
        others = HEAD + threads * per_thread - size
        self._target = target
        if shares_positions:
            own = code.address(self._space, team.number * size + others, FLOAT32)
            self._target = code.either(team.number.equals(0), target, own)
        every = code.index(0)
        self._own_tiles = team.share(self._tiles) if shares_tiles else (every, code.index(self._tiles))
        self._own_panels = (every, code.index(self._panels))
        if not shares_positions and not shares_tiles:
            self._own_panels = team.share(self._panels)
        begin, end = team.share(count) if shares_positions else (every, code.index(count))
        self._chunk(begin, end, is_first=True)
        with code.loop(end, 2 * self._half, start=begin + 2 * self._half) as first:
            self._chunk(first, end, is_first=False)
        if shares_positions:
            team.barrier()()
            self._add_up(team, target, others, size)

    def _positions_of_half_a_chunk(self, most: int, tiles: int) -> int:
        """As many as stay near with their factors, but enough to repay that sums come and go."""
        each = PRODUCTS * tiles * self._lanes * FLOAT32.itemsize
        half = evenly(-(-most // 2), min(MOST, max(FEWEST, FACTORS_NBYTES // each)))
        return -(-half // UNROLLED) * UNROLLED

    def _chunk(self, first: Number, end: Number, *, is_first: bool) -> None:
        """Add what positions from ``first`` on give to the sums."""
        code = self.code
        count = (end - first).larger(0).smaller(2 * self._half)
        chunk = _Chunk(first, end, ((count + 1) / 2 + (UNROLLED - 1)) / UNROLLED * UNROLLED)
        self._list(chunk)
        with code.loop(self._own_tiles[1], start=self._own_tiles[0]) as tile:
            vectors = _Vectors(self._grad, self._grads, self._lists[1], tile, self._tiles)
            self._see(vectors, chunk, self._left_at(tile), self._lanes, left_of_depth)
        with code.loop(self._own_panels[1], start=self._own_panels[0]) as panel:
            for vector in range(VECTORS):
                block = panel * VECTORS + vector
                vectors = _Vectors(self._image, self._images, self._lists[0], block, self._panels * VECTORS)
                self._see(vectors, chunk, self._right + vector * self._lanes, width(), right_factors)
            with code.loop(self._own_tiles[1], start=self._own_tiles[0]) as tile:
                self._multiply(tile, panel, chunk, is_first)

    def _list(self, chunk: _Chunk) -> None:
        """Write where the positions of a chunk lie, in what was given and in gradients."""
        code = self.code
        for (images, strides), places in zip(self._laid, self._lists, strict=True):
            with code.loop(chunk.depth * 2) as step:
                code.store(self._at(images, strides, chunk.first + step, chunk), places, step)

    def _see(
        self, vectors: _Vectors, chunk: _Chunk, target: Number, apart: int, factors: Callable[..., list[Number]]
    ) -> None:
        """Make the factors of a vector of channels and its neighbour, whose steps lie ``apart``."""
        code, lanes = self.code, self._lanes
        factor = vectors.images.channel_factor
        zero = code.constant(0.0, FLOAT32, lanes)
        place = code.address(vectors.place, vectors.block * (lanes * factor), FLOAT32)
        present = (chunk.end - chunk.first - chunk.depth).smaller(chunk.depth)

        def load(step: Number) -> tuple[Number, Number]:
            start = code.load(vectors.list, step, INDEX)
            first, second = (
                code.load(place, start + side * (vectors.blocks * lanes * factor), FLOAT32, lanes) for side in range(2)
            )
            return first, second

        def see(step: Number, upper: tuple[Number, Number], lower: tuple[Number, Number]) -> None:
            for number, made in enumerate(factors(upper, lower)):
                code.store(made, self._space, target + (chunk.depth * number + step) * apart)

        def present_only(step: Number) -> tuple[Number, Number]:
            is_there = chunk.first + step < chunk.end
            first, second = (is_there.choose(item, zero) for item in load(step))
            return first, second

        with code.loop(present) as step:
            see(step, load(step), load(chunk.depth + step))
        with code.loop(chunk.depth, start=present.larger(0)) as step:
            see(step, present_only(step), (zero, zero))

    def _multiply(self, tile: Number, panel: Number, chunk: _Chunk, is_first: bool) -> None:
        """Add the products of a tile of outputs and a panel of channels, with their neighbours, to the sums."""
        code, lanes, channels = self.code, self._lanes, self._images.channels
        down, across = self._grads.channels // 2 * channels, channels // 2
        height = lanes // 2
        function = strassen_function(Tile(height, 1, lanes, UNROLLED), coming=3)
        with code.loop(2) as part:
            row = part * height
            start = (tile * lanes + row) * channels + panel * width()
            target = code.address(self._target, start, FLOAT32)
            sums: Coming[Number | int] = Coming(RESULTS * VECTORS, down, across, lanes, channels)
            coming = [
                (target, sums),
                self._coming_panel(tile, panel, part, chunk),
                self._coming_tile(tile, panel, part, chunk),
            ]
            left, right = self._left_at(tile) + row, self._right
            places = [code.address(self._space, left, FLOAT32), code.address(self._space, right, FLOAT32), self._sums]
            numbers = [item for _, lines in coming for item in lines]
            given = [item if isinstance(item, Number) else code.index(item) for item in numbers]
            code.invoke(function, [*places, *(place for place, _ in coming)], [chunk.depth / UNROLLED, *given])
            self._bring_back(target, (down, across), is_first)

    def _coming_panel(
        self, tile: Number, panel: Number, part: Number, chunk: _Chunk
    ) -> tuple[str, Coming[Number | int]]:
        """A piece of what the next panel will be made of, which may be the first one of the next chunk."""
        (begin, end), (first_tile, last_tile) = self._own_panels, self._own_tiles
        is_last = panel + 1 >= end
        ahead = is_last.choose(begin, panel + 1)
        first = is_last.choose(chunk.first + chunk.depth * 2, chunk.first)
        pieces = (last_tile - first_tile) * 2
        number = (tile - first_tile) * 2 + part
        start, count = self._piece(first, chunk, number, pieces)
        images, factor = self._images, self._images.channel_factor
        apart = images.block * self._positions.strides[1]
        channel = ahead * (width() * factor)
        lines: Coming[Number | int] = Coming(
            count * 4, images.channels // 2 * factor, self._lanes * factor, apart * (self._lanes // 2), apart
        )
        return self._position(self._image, images, self._positions.strides, start, chunk, channel), lines

    def _coming_tile(
        self, tile: Number, panel: Number, part: Number, chunk: _Chunk
    ) -> tuple[str, Coming[Number | int]]:
        """Half of what this tile will be made of in the next chunk, fetched beside the last panel."""
        start, count = self._piece(chunk.first + chunk.depth * 2, chunk, part, self.code.index(2))
        grads, factor = self._grads, self._grads.channel_factor
        apart = grads.block * (self._lanes // 2)
        channel = tile * (self._lanes * factor)
        last = (panel + 1 >= self._own_panels[1]).choose(count * 2, 0)
        lines: Coming[Number | int] = Coming(last, grads.channels // 2 * factor, apart, 2 * apart, grads.block)
        return self._position(self._grad, grads, (1, 1), start, chunk, channel), lines

    def _piece(self, first: Number, chunk: _Chunk, number: Number, pieces: Number) -> tuple[Number, Number]:
        """The first position of one of some pieces of a chunk, and how many segments of lines it has."""
        whole = chunk.depth * 2
        begin, end = number * whole / pieces, (number + 1) * whole / pieces
        rows = self._lanes // 2
        return first + begin, (end - begin + (rows - 1)) / rows

    def _position(
        self, place: str, images: Images, strides: tuple[int, int], position: Number, chunk: _Chunk, channel: Number
    ) -> str:
        """The place of a channel at a position."""
        return self.code.address(place, self._at(images, strides, position, chunk) + channel, FLOAT32)

    def _at(self, images: Images, strides: tuple[int, int], position: Number, chunk: _Chunk) -> Number:
        """Where the first channel lies at a position, or at the last one if there are not so many."""
        count = self._positions.each
        at = position.smaller(chunk.end - 1)
        image = at / count
        start = image * (images.numbers * images.size[0] * images.size[1])
        return start + self._positions._replace(strides=strides).read_at(images, at - image * count)

    def _left_at(self, tile: Number) -> Number:
        return self._left + (tile - self._own_tiles[0]) * (PRODUCTS * self._half * self._lanes)

    def _bring_back(self, target: str, apart: tuple[int, int], is_first: bool) -> None:
        code, lanes, channels = self.code, self._lanes, self._images.channels
        rows = lanes // 2
        for part, (down, across) in enumerate(PARTS):
            for row in range(rows):
                for vector in range(0, width(), lanes):
                    total = code.load(self._sums, (part * rows + row) * width() + vector, FLOAT32, lanes)
                    at = down * apart[0] + across * apart[1] + row * channels + vector
                    if not is_first:
                        total = total + code.load(target, at, FLOAT32, lanes)
                    code.store(total, target, at)

    def _add_up(self, team: Team, target: str, others: int, size: int) -> None:
        """Add the sums of all threads to those of the first."""
        code, lanes = self.code, self._lanes
        begin, end = team.share(size // lanes)
        with code.loop(end * lanes, lanes, start=begin * lanes) as at:
            total = code.cell(code.load(target, at, FLOAT32, lanes))
            with code.loop(team.count, start=1) as thread:
                total.set(total.get() + code.load(self._space, thread * size + others + at, FLOAT32, lanes))
            code.store(total.get(), target, at)


def left_of_depth(upper: tuple[Number, Number], lower: tuple[Number, Number]) -> list[Number]:
    """The left factors, where the rows of the left matrix are its columns in memory."""
    return left_factors((upper[0], lower[0]), (upper[1], lower[1]))
