"""Convolutions with windows of 3 x 3 or 5 x 5, or of 3 x 3 two positions apart, by Winograd's minimal filtering.

An image is cut into tiles of neighbouring results. The window of each tile and each filter are seen at a few points,
see ``transforms``, where the convolution is one product of matrices for each point: (tiles, channels) by (channels,
outputs). A block of tiles goes all the way while it is near: seen, multiplied, and brought back to results. The
gradient by the input is the convolution with each filter read backwards, from outputs to channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.kernel import CompiledKernel
from toolkit.backends.native.products.blocking import LINE
from toolkit.backends.native.products.ending import is_usual_ending
from toolkit.backends.native.products.tile import DEPTH, tile_function, width
from toolkit.backends.native.registry import kernel
from toolkit.backends.native.winograd.few_tiles import FewTiles, are_few
from toolkit.backends.native.winograd.filters import FilterPanels, apart_in_units
from toolkit.backends.native.winograd.images import Corner, Images
from toolkit.backends.native.winograd.order import Order
from toolkit.backends.native.winograd.results import Results, places_of_results
from toolkit.backends.native.winograd.tiles import Tiles, begins, is_dense_window, is_narrow, is_strided_window
from toolkit.backends.native.winograd.transforms import Filtering, Phase
from toolkit.backends.native.winograd.windows import Windows
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.known import is_static
from toolkit.compiler.program import Node, Variable
from toolkit.operators.expression import TOOLKIT_DOMAIN

FLOAT32 = np.dtype(np.float32)
ROWS = (4, 5, 6)  # tiles whose sums are in registers together, beside two vectors of outputs
BLOCK_NBYTES = 1 << 19  # of what one block of tiles is seen as: the size of many a second cache
FEWEST_GROUPS = 5  # that share what is read of a panel, even where they do not fit
PASSES = 4  # or as many times the filters may be read, where they are larger than that
FAR_NBYTES = 1 << 21  # of images and results, from which on they are not in the second caches of a few cores
FEW_WORTH_WHILE = 0.9  # of the multiplications, where the kernel sees a weight itself
FEW_TILES = 24  # for a thread; with fewer, threads share outputs


def is_convolution(node: Node) -> bool:
    """Whether the node is a convolution with a known weight that minimal filtering computes sooner."""
    return is_usual_ending(node, axis=1) and _is_sooner(node, _tiles(node), is_turned=False)


def is_input_gradient(node: Node) -> bool:
    """Whether the node is the gradient of such a convolution by its input."""
    return _is_sooner(node, _gradient_tiles(node), is_turned=True)


def _is_sooner(node: Node, tiles: Tiles | None, *, is_turned: bool) -> bool:
    """Whether tiles take less time than the library."""
    weight = node.inputs[1]
    if tiles is None or weight is None:
        return False
    may_be_few = tiles.costs_less_than(FEW_WORTH_WHILE) and are_few(tiles, weight.shape, 1, is_turned=is_turned)
    return tiles.is_worth_while or may_be_few


def _weight(node: Node) -> Variable | None:
    weight = node.inputs[1]
    return weight if weight is not None and is_static(weight) else None


def _tiles(node: Node) -> Tiles | None:
    weight = _weight(node)
    if weight is not None and is_dense_window(node, weight.shape):
        return Tiles.of(node.x.shape, node.y.shape, weight.shape[-1], begins(node), is_narrow(node))
    if weight is not None and is_strided_window(node, weight.shape):
        return Tiles.strided(node.x.shape, node.y.shape, begins(node), is_narrow(node))
    return None


def _gradient_tiles(node: Node) -> Tiles | None:
    (top, left), weight = begins(node), _weight(node)
    if weight is not None and is_dense_window(node, weight.shape):
        last = weight.shape[-1] - 1
        return Tiles.of(node.x.shape, node.y.shape, last + 1, (last - top, last - left), is_narrow(node))
    if weight is not None and is_strided_window(node, weight.shape) and top == left == 1:
        return Tiles.spread(node.x.shape, node.y.shape, is_narrow(node))
    return None


@kernel(TOOLKIT_DOMAIN, "FusedConv", accepts=is_convolution)
def lower_convolution(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """``activation(convolution + bias + residual)``; the residual is overwritten where nobody reads it later."""
    return _kernel(node, _tiles(node), inputs, resources, is_turned=False)


@kernel(TOOLKIT_DOMAIN, "ConvInputGradient", accepts=is_input_gradient)
def lower_input_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The gradient by the input, from that by the output and the weight."""
    return _kernel(node, _gradient_tiles(node), inputs, resources, is_turned=True)


def _kernel(
    node: Node, tiles: Tiles | None, given: Sequence[Layout | None], resources: Resources, *, is_turned: bool
) -> Kernel:
    """The result lies as the image does. Few tiles see a weight that changes with each step themselves,
    and one whose filters would take too long to read."""
    weight = node.inputs[1]
    assert tiles is not None and weight is not None, "they have been accepted"
    images = Images.of(node.x.shape, given[0], node.x.dtype)
    results = images.beside(tiles.result, node.y.shape[1], node.y.dtype)
    sees_it = (resources.training and weight.constant is None) or not tiles.is_worth_while
    filters: Layout | None
    if sees_it and are_few(tiles, weight.shape, resources.threads, is_turned=is_turned):
        writer: FewTiles | _Writer = FewTiles(node, tiles, images, results, resources.threads, is_turned=is_turned)
        filters = plain(weight.dtype, weight.shape)
    else:
        writer = _Writer(node, tiles, images, results, resources.threads)
        filters = FilterPanels(tiles.filtering, is_turned, node.x.dtype).layout(weight)
    result = results.layout(tiles.batch)
    inputs: list[Layout | None] = [images.layout(tiles.batch), filters]
    whole = []
    for at, item in enumerate(node.inputs[2:], 2):
        if item is None or len(item.shape) == 1:
            inputs.append(None if item is None else plain(item.dtype, item.shape))
        else:
            inputs.append(results._replace(dtype=item.dtype).layout(tiles.batch))
            whole += [(0, at)] if item.dtype == node.y.dtype else []
    return CompiledKernel(writer.code, inputs, [result], in_place=whole, workspace=writer.workspace)


class _Writer:
    """Writes the code.

    A group are the tiles of one product in registers. Threads have groups of their own, or where those are few panels
    of outputs; then each sees all windows for itself, for what another core wrote is far away. The space of a thread
    holds a window, the factors of a block, (points, parts of the channels, slots for tiles, channels), and its
    products, (panels, points, slots, outputs of a panel).
    """

    def __init__(self, node: Node, tiles: Tiles, images: Images, results: Images, threads: int) -> None:
        self._tiles, self._filtering = tiles, tiles.filtering
        self._drawn, self._panels = results, -(-tiles.outputs // width())
        self.code = code = Code(2 + places_of_results(node))
        self._image, self._filters, *others, self._target, self._space = code.places

        self._rows = min(ROWS, key=lambda rows: (-(-tiles.total // rows) * (rows + 0.3), -rows))
        groups = -(-tiles.total // self._rows)
        shares_outputs = tiles.total < FEW_TILES * threads and self._panels > 1
        owned = -(-self._panels // threads) if shares_outputs else self._panels
        nbytes = images.nbytes(tiles.batch) + results.nbytes(tiles.batch)
        self._is_far = nbytes > FAR_NBYTES and not shares_outputs
        together = self._groups_of_a_block(owned, groups if shares_outputs else -(-groups // threads))
        each = tiles.batch if shares_outputs else 0 if tiles.batch % threads else tiles.batch // threads
        self._order = order = self._order_of_images(each, together * self._rows)
        if order is not None:
            fitting = [rows for rows in ROWS if order.total % rows == 0]
            self._rows = min(fitting, key=lambda rows: order.groups(rows) * (rows + 0.3))
            together, groups = order.total // self._rows, tiles.total // self._rows
        spare = 0 if order is None else self._rows - 1  # behind tiles that begin anywhere
        self._slots = together * self._rows + spare | 1  # odd, so that points do not share a place in the cache
        self._windows = Windows(code, tiles, images, self._slots)
        self._steps, self._part = (count // self._windows.together for count in (tiles.channels, DEPTH))
        window, factors = self._windows.squares.numbers, self._windows.words
        per_thread = window + factors + owned * tiles.sums * self._slots * width()
        self.workspace = threads * per_thread * FLOAT32.itemsize

        team = Team(code, threads)
        self._window = team.number * per_thread
        self._factors = self._window + window
        self._products = self._factors + factors
        self._ahead = -(-min(self._steps, self._part) // together)  # steps of the next panel, for each group
        self._results = Results(code, node, tiles, results, [*others, self._target, self._space], self._slots)
        everything = code.index(0), code.index(groups)
        self._owned = team.share(self._panels) if shares_outputs else (code.index(0), code.index(self._panels))
        begin, end = everything
        if not shares_outputs:
            begin, end = (at * together for at in team.share(groups // together)) if order else team.share(groups)
        with code.loop(end, together, start=begin) as group:
            first = group * self._rows
            many = (end - group).smaller(together) * self._rows
            last = (end * self._rows).smaller(tiles.total)
            self._block(first, many.smaller(last - first), last)

    def _groups_of_a_block(self, owned: int, most: int) -> int:
        """How many fit into the cache, or where the filters do not either, as many as let them be read seldom."""
        columns = owned * width()
        tiles = self._tiles
        group = self._rows * (tiles.points * tiles.channels + tiles.sums * columns) * FLOAT32.itemsize
        filters = tiles.filters * tiles.channels * columns * FLOAT32.itemsize
        return min(most, max(FEWEST_GROUPS, max(BLOCK_NBYTES, filters // PASSES) // group))

    def _order_of_images(self, images: int, most: int) -> Order | None:
        """An order of up to so many tiles if that saves products: those of some images, a part of ``images``."""
        if not isinstance(self._filtering, Filtering):
            return None
        for batch in range(min(images, most // math.prod(self._tiles.grid)), 0, -1):
            order = Order(self.code, self._tiles, batch)
            if order.saves and images % batch == 0 and any(order.total % rows == 0 for rows in ROWS):
                return order
        return None

    def _tile(self, number: Number) -> tuple[Corner, Corner, tuple[Number, Number] | None]:
        """Where the window and the results of a tile begin, and how many of these there are, if that depends."""
        if self._order is None:
            return self._tiles.window(number), self._tiles.corner(number), None
        corner, size = self._order.tile(number)
        return corner, corner, size

    def _block(self, first: Number, count: Number, last: Number) -> None:
        """``count`` tiles from ``first`` on, of those below ``last``."""
        code = self.code
        with code.loop(count) as slot:
            spare = self._space, self._window
            self._windows.see(self._image, self._tile(first + slot)[0], spare, self._factors, slot)
        side = self._filtering.sums
        with code.loop(side) as row, code.loop(side) as column:
            if self._is_far:
                self._bring_near(row * side + column, first, count, last)
            slots = code.index(0), count
            if self._order is not None:
                slots = self._order.having(row * side + column)
            for down, across in product(self._filtering.phases, repeat=2):
                if down.products == across.products == side:
                    self._add_products((down, across), (row, column), slots)
                else:
                    with code.where(down.has(row) & across.has(column)):
                        self._add_products((down, across), (row, column), slots)
        with code.loop(count) as slot:
            _, corner, size = self._tile(first + slot)
            self._results.bring_back(corner, slot, self._products, self._owned, size)

    def _bring_near(self, point: Number, first: Number, count: Number, last: Number) -> None:
        """A part of what the next block reads, and of where this one writes; so nothing waits for far caches.

        Of each window that is what those before it have not read.
        """
        code, tiles, filtering = self.code, self._tiles, self._filtering
        share = (count + (tiles.sums - 1)) / tiles.sums
        down, across = (filtering.size - filtering.step - item for item in tiles.begins)
        with code.loop((share * (point + 1)).smaller(count), start=share * point) as slot:
            coming = first + count + slot
            with code.where(coming < last):
                image, row, column = self._tile(coming)[0]
                seen = Corner(image, row + down, column + across)
                self._windows.squares.images.bring_near(code, self._image, seen, filtering.step)
            self._drawn.bring_near(code, self._target, self._tile(first + slot)[1], filtering.outputs, is_written=True)

    def _add_products(
        self, phases: tuple[Phase, Phase], at: tuple[Number, Number], slots: tuple[Number, Number]
    ) -> None:
        """What some phases add to the sums in a row and a column, of tiles from one slot to another."""
        filtering, (begin, end) = self._filtering, self._owned
        places = [phase.places(index) for phase, index in zip(phases, at, strict=True)]
        window, factor = (
            row * side + column
            for (row, column), side in zip(zip(*places, strict=True), (filtering.size, filtering.filters), strict=True)
        )
        target, is_first = at[0] * filtering.sums + at[1], all(phase.is_first for phase in phases)
        with self.code.loop(end, start=begin) as panel:
            for part in range(self._windows.parts):
                self._multiply((window, factor, target), panel, part, slots, replaces=is_first and part == 0)

    def _multiply(
        self,
        points: tuple[Number, Number, Number],
        panel: Number,
        part: int,
        slots: tuple[Number, Number],
        *,
        replaces: bool,
    ) -> None:
        """The products of tiles with one panel, a part of the channels of it, while what follows is fetched.

        ``points`` are those of windows, filters and sums.
        """
        code, steps, depth = self.code, self._steps, self._windows.depth(part) // self._windows.together
        window, point, target = points
        unit = point * apart_in_units(self._panels * steps) + panel * steps + part * self._part
        start = unit * width()
        right = code.address(self._filters, start, FLOAT32)
        factors = self._windows.at(self._factors, window, part)
        products = self._products + ((panel - self._owned[0]) * self._tiles.sums + target) * (self._slots * width())
        begin, end = slots
        ahead: Number | int = self._ahead
        if self._order is not None:
            groups = ((end - begin) / self._rows).larger(1)
            ahead = (groups + (depth - 1)) / groups
        with code.loop(end, self._rows, start=begin) as slot:
            coming = start + ((slot - begin) / self._rows * ahead + depth) * width()
            with code.loop(code.index(width()) * ahead, LINE) as line:
                code.prefetch(self._filters, coming + line, FLOAT32, cache=2)
            left = code.address(self._space, factors + slot * self._windows.stride, FLOAT32)
            sums = code.address(self._space, products + slot * width(), FLOAT32)
            in_pairs = self._windows.together > 1
            function = tile_function(self._rows, self._windows.stride, replaces=replaces, in_pairs=in_pairs)
            code.invoke(function, [left, right, sums], [code.index(depth)])
