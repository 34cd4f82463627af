"""A block of three convolutions, for some wide channels after the other, row by row.

A row of the result needs a few rows of the wide image. Those that are not there yet are made, in a ring of rows between
margins of zeros; they are filtered, and their products with the last weight are added to the result. So neither what is
wide nor its filtered row ever leaves the first caches. Threads have rows of the result, or, of small images, panels of
wide channels: then each adds to an image of its own, and all are added up in the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.elementwise.spelling import ACTIVATIONS
from toolkit.backends.native.images.windows import HEAD
from toolkit.backends.native.inverted_residual.sizes import FLOAT32, UNIT, Sizes, rows_of_a_tile, vectors
from toolkit.backends.native.kernel import CompiledKernel
from toolkit.backends.native.products.ending import Activation
from toolkit.backends.native.products.packing import Panels
from toolkit.backends.native.registry import is_of_float32, kernel
from toolkit.backends.onednn.memory import channels_last
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.known import is_static
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.inverted_residual import INVERTED_RESIDUAL

UNROLLED = 4  # steps of a sum
MOST_COLUMNS = 8  # of a tile that is filtered
IMAGES = (0, 7)  # among the inputs: what is widened, and the residual


def is_block(node: Node) -> bool:
    """Whether the node is a block whose weights are known, and whose channels fill vectors."""
    x, first, _, middle, _, last, _, residual = (*node.inputs, None, None)[:8]
    weights = [item for item in (first, middle, last) if item is not None]
    if x is None or not is_of_float32(node) or not all(map(is_static, weights)) or len(x.shape) != 4:
        return False
    if residual is not None and residual.shape != node.y.shape:
        return False
    counts = {x.shape[1], *(item.shape[0] for item in weights)}
    return all(count % UNIT == 0 for count in counts) and set(node.attributes["activations"]) <= set(ACTIVATIONS)


@kernel(TOOLKIT_DOMAIN, INVERTED_RESIDUAL, accepts=is_block)
def lower_block(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Images lie with channels last, weights in panels."""
    sizes = Sizes.of(node)
    writer = _Writer(node, sizes, resources.threads)
    widths = {1: sizes.panel, 3: sizes.panel, 5: sizes.out_panel}
    laid: list[Layout | None] = []
    for at, item in enumerate(node.inputs):
        if item is None:
            laid.append(None)
        elif at in widths:
            laid.append(Panels(widths[at], is_turned=True).layout(item))
        else:
            laid.append(channels_last(FLOAT32, item.shape) if at in IMAGES else plain(FLOAT32, item.shape))
    return CompiledKernel(writer.code, laid, [channels_last(FLOAT32, node.y.shape)], workspace=writer.workspace)


class _Writer:
    """Writes the code. The space of a thread holds the ring, a filtered row, and, where panels are shared, sums."""

    def __init__(self, node: Node, sizes: Sizes, threads: int) -> None:
        present = [item is not None for item in node.inputs]
        self.code = code = Code(sum(present) + 2)
        places = iter(code.places)
        given = [next(places) if is_there else "" for is_there in present]
        self._image, *self._weights, self._residual = (*given, "", "")[:8]
        self._sums = self._target = next(places)
        self._space = next(places)
        self._sizes, self._vectors = sizes, vectors(sizes.panel)
        numbers = (node.attributes[name] for name in ("activations", "activation_alpha", "activation_beta"))
        self._endings = [
            Activation(name, (float(alpha), float(beta))) for name, alpha, beta in zip(*numbers, strict=True)
        ]
        shares_rows = sizes.shares_rows(threads)
        self._row = sizes.reach * sizes.panel  # numbers of a row of the ring
        filtered_at = HEAD + sizes.kept * self._row
        self._sums_at = filtered_at + sizes.result[1] * sizes.panel
        self._size = math.prod(sizes.result) * sizes.outputs  # numbers of one result
        per_thread = self._sums_at - HEAD + (0 if shares_rows else sizes.batch * self._size)
        self._apart = -(-per_thread // HEAD) * HEAD
        self.workspace = (HEAD + threads * self._apart) * FLOAT32.itemsize

        self._team = Team(code, threads, self._space)
        start = self._team.number * self._apart
        self._ring = code.address(self._space, start + HEAD, FLOAT32)
        self._filtered = code.address(self._space, start + filtered_at, FLOAT32)
        self._clear_margins()
        if shares_rows:
            self._share_rows()
        else:
            self._share_panels(code.address(self._space, start + self._sums_at, FLOAT32))

    def _share_rows(self) -> None:
        """Each thread has rows of results, of one image after the other."""
        code, sizes = self.code, self._sizes
        rows = sizes.result[0]
        begin, end = self._team.share(sizes.batch * rows)
        with code.loop((end + (rows - 1)) / rows, start=begin / rows) as image:
            top, bottom = (begin - image * rows).larger(0), (end - image * rows).smaller(rows)
            self._begin(image, top, bottom)
            with code.loop(sizes.panels) as panel:
                self._go(image, top, bottom, panel)
            if self._endings[2].name:
                self._each(self._position(image, top), self._position(image, bottom), self._end)

    def _share_panels(self, own: str) -> None:
        """Each thread has panels, and sums of its ``own``; the first one has the result."""
        code, sizes = self.code, self._sizes
        is_first = self._team.number.equals(0)
        self._sums = code.either(is_first, self._target, own)
        top, bottom = code.index(0), code.index(sizes.result[0])
        begin, end = self._team.share(sizes.panels)
        with code.loop(sizes.batch) as image:
            with code.where(is_first):
                self._begin(image, top, bottom)
            with code.where(~is_first):
                code.clear(code.address(own, image * self._size, FLOAT32), code.index(self._size * FLOAT32.itemsize))
            with code.loop(end, start=begin) as panel:
                self._go(image, top, bottom, panel)
        self._team.barrier()()
        self._each(*self._team.share(sizes.batch * math.prod(sizes.result)), self._meet)

    def _clear_margins(self) -> None:
        """Zeros beside the rows of the ring."""
        code, sizes = self.code, self._sizes
        left = sizes.begins[1]
        right = max(0, sizes.reach - left - sizes.image[1])
        with code.loop(sizes.kept) as row:
            for first, count in ((0, left), (sizes.reach - right, right)):
                if count:
                    place = code.address(self._ring, row * self._row + first * sizes.panel, FLOAT32)
                    code.clear(place, code.index(count * sizes.panel * FLOAT32.itemsize))

    # the result -------------------------------------------------------------------------------------------------------

    def _position(self, image: Number, row: Number) -> Number:
        """The first position of a row of results, of all images'."""
        rows, columns = self._sizes.result
        return (image * rows + row) * columns

    def _each(self, begin: Number, end: Number, body: Callable[[Number, Number, int], None]) -> None:
        """``body`` for every vector of some positions: where it lies, its channel, and its lanes."""
        sizes = self._sizes
        with self.code.loop(end, start=begin) as position, self.code.loop(sizes.outputs, sizes.out_panel) as panel:
            for at, lanes in vectors(sizes.out_panel):
                channel = panel + at
                body(position * sizes.outputs + channel, channel, lanes)

    def _begin(self, image: Number, top: Number, bottom: Number) -> None:
        """Let the sums begin with what is added to them."""
        code = self.code

        def begin(at: Number, channel: Number, lanes: int) -> None:
            total = self._bias(2, channel, lanes)
            if self._residual:
                total = total + code.load(self._residual, at, FLOAT32, lanes)
            code.store(total, self._target, at)

        self._each(self._position(image, top), self._position(image, bottom), begin)

    def _end(self, at: Number, _: Number, lanes: int) -> None:
        """Apply the last activation."""
        total = self.code.load(self._target, at, FLOAT32, lanes)
        self.code.store(self._endings[2](total), self._target, at)

    def _meet(self, at: Number, _: Number, lanes: int) -> None:
        """Add up the sums of all threads, and apply the last activation."""
        code = self.code
        total = code.cell(code.load(self._target, at, FLOAT32, lanes))
        with code.loop(self._team.count, start=1) as other:
            found = code.load(self._space, other * self._apart + self._sums_at + at, FLOAT32, lanes)
            total.set(total.get() + found)
        code.store(self._endings[2](total.get()), self._target, at)

    def _bias(self, convolution: int, channel: Number, lanes: int) -> Number:
        """What one of the three convolutions adds to some channels."""
        place = self._weights[2 * convolution + 1]
        if not place:
            return self.code.constant(0.0, FLOAT32, lanes)
        return self.code.load(place, channel, FLOAT32, lanes)

    # a panel ----------------------------------------------------------------------------------------------------------

    def _go(self, image: Number, top: Number, bottom: Number, panel: Number) -> None:
        """All rows of results from ``top`` to ``bottom`` of an image, for a panel of wide channels."""
        code, sizes = self.code, self._sizes
        down, high, above = sizes.strides[0], sizes.taps[0], sizes.begins[0]
        known = code.cell(top * down - above)  # rows of the wide image before this one are there
        with code.loop(bottom, start=top) as row:
            first = row * down - above
            with code.loop(first + high, start=known.get().larger(first)) as source:
                self._widen(image, source, panel)
            known.set(first + high)
            self._filter(first, panel)
            self._narrow(self._position(image, row), panel)

    def _kept(self, row: Number) -> Number:
        """Where a row of the wide image lies in the ring."""
        return (row & (self._sizes.kept - 1)) * self._row

    def _widen(self, image: Number, row: Number, panel: Number) -> None:
        """Make a row of the wide image; what lies above or below it is zero."""
        code, sizes = self.code, self._sizes
        (rows, columns), width, channels = sizes.image, sizes.panel, sizes.channels
        target = self._kept(row) + sizes.begins[1] * width
        is_inside = (row >= 0) & (row < rows)
        with code.where(~is_inside):
            code.clear(code.address(self._ring, target, FLOAT32), code.index(columns * width * FLOAT32.itemsize))
        with code.where(is_inside):
            start = (image * rows + row) * columns
            if sizes.widens:
                self._widen_row(start, target, panel)
            else:
                with code.loop(columns) as column:
                    for at, lanes in self._vectors:
                        found = code.load(self._image, (start + column) * channels + panel * width + at, FLOAT32, lanes)
                        code.store(found, self._ring, target + column * width + at)

    def _widen_row(self, start: Number, target: Number, panel: Number) -> None:
        code, sizes = self.code, self._sizes
        columns, width, channels = sizes.image[1], sizes.panel, sizes.channels
        rows = rows_of_a_tile(columns, width)
        with code.loop(columns, rows) as found:
            column = found.smaller(columns - rows) if columns % rows else found
            begins = [self._bias(0, panel * width + at, lanes) for at, lanes in self._vectors]
            tile = [list(begins) for _ in range(rows)]
            left = (self._image, (start + column) * channels, channels)
            right = (self._weights[0], panel * (channels * width), width)
            for row, sums in enumerate(self._multiplied(tile, left, right, channels)):
                for (at, _), total in zip(self._vectors, sums, strict=True):
                    code.store(self._endings[0](total), self._ring, target + (column + row) * width + at)

    def _multiplied(
        self,
        tile: list[list[Number]],
        left: tuple[str, Number, int],
        right: tuple[str, Number, int],
        depth: int,
    ) -> list[list[Number]]:
        """A tile and the products of rows, which lie some numbers apart, by a panel of that width."""
        code = self.code
        cells = [[code.cell(number) for number in row] for row in tile]
        with code.loop(depth, UNROLLED) as position:
            for step in range(UNROLLED):
                at = right[1] + (position + step) * right[2]
                factors = [code.load(right[0], at + first, FLOAT32, lanes) for first, lanes in vectors(right[2])]
                for index, row in enumerate(cells):
                    number = code.load(left[0], left[1] + position + (index * left[2] + step), FLOAT32)
                    for cell, factor in zip(row, factors, strict=True):
                        cell.set(number.spread(factor.lanes).times_plus(factor, cell.get()))
        return [[cell.get() for cell in row] for row in cells]

    def _filter(self, first: Number, panel: Number) -> None:
        """A row of the filtered image, of the rows of the wide one from ``first`` on."""
        code, width = self.code, self._sizes.panel
        starts = [self._kept(first + row) for row in range(self._sizes.taps[0])]
        lanes = self._vectors[0][1]
        with code.loop(width // lanes * lanes, lanes) as at:
            self._filter_vector(starts, panel, at, lanes)
        if width % lanes:
            self._filter_vector(starts, panel, code.index(width - UNIT), UNIT)

    def _filter_vector(self, starts: Sequence[Number], panel: Number, at: Number, lanes: int) -> None:
        """The channels of a vector; ``starts`` are where the rows of the wide image lie."""
        code, sizes = self.code, self._sizes
        (high, wide), across, columns, width = sizes.taps, sizes.strides[1], sizes.result[1], sizes.panel
        together = min(rows_of_a_tile(columns, UNIT), MOST_COLUMNS)
        first = panel * (high * wide * width) + at
        taps = [
            [code.load(self._weights[2], first + (row * wide + tap) * width, FLOAT32, lanes) for tap in range(wide)]
            for row in range(high)
        ]
        begin = self._bias(1, panel * width + at, lanes)
        with code.loop(columns, together) as found:
            column = found.smaller(columns - together) if columns % together else found
            sums = [begin] * together
            for start, weights in zip(starts, taps, strict=True):
                corner = start + column * (across * width) + at
                for seen in range((together - 1) * across + wide):
                    number = code.load(self._ring, corner + seen * width, FLOAT32, lanes)
                    for index in range(together):
                        tap = seen - index * across
                        if 0 <= tap < wide:
                            sums[index] = number.times_plus(weights[tap], sums[index])
            for index, total in enumerate(sums):
                code.store(self._endings[1](total), self._filtered, (column + index) * width + at)

    def _narrow(self, position: Number, panel: Number) -> None:
        """Add the products of the filtered row to the sums, from a position on."""
        sizes, code = self._sizes, self.code
        columns = sizes.result[1]
        rows = rows_of_a_tile(columns, sizes.out_panel)
        whole = columns // rows * rows
        with code.loop(whole, rows) as column:
            self._narrow_tile(position, column, rows, panel)
        if whole < columns:
            self._narrow_tile(position, code.index(whole), columns - whole, panel)

    def _narrow_tile(self, position: Number, column: Number, rows: int, panel: Number) -> None:
        code, sizes = self.code, self._sizes
        width, out = sizes.panel, sizes.out_panel
        with code.loop(sizes.outputs // out) as across:
            start = (position + column) * sizes.outputs + across * out
            places = [
                [(start + (row * sizes.outputs + at), lanes) for at, lanes in vectors(out)] for row in range(rows)
            ]
            tile = [[code.load(self._sums, at, FLOAT32, lanes) for at, lanes in row] for row in places]
            left = (self._filtered, column * width, width)
            right = (self._weights[4], (across * sizes.wide + panel * width) * out, out)
            for row, sums in zip(places, self._multiplied(tile, left, right, width), strict=True):
                for (at, _), total in zip(row, sums, strict=True):
                    code.store(total, self._sums, at)
