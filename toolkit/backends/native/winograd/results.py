"""What is brought back of sums of products: the results of tiles, and what is fused behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.products.ending import Activation
from toolkit.backends.native.products.tile import width
from toolkit.backends.native.winograd.functions import result_function, through_both_axes
from toolkit.backends.native.winograd.images import Corner, Images
from toolkit.backends.native.winograd.tiles import Tiles
from toolkit.compiler.program import Node, Variable

FLOAT32 = np.dtype(np.float32)


class Results:
    """The results of a node, which lie as ``drawn``.

    ``places`` are those of what is added to them, of themselves, and of the sums, which are (panels, points, slots,
    outputs of a panel) from some element on.
    """

    def __init__(self, code: Code, node: Node, tiles: Tiles, drawn: Images, places: Sequence[str], slots: int) -> None:
        *others, self._target, self._space = places
        self._code, self._tiles, self._drawn, self._slots = code, tiles, drawn, slots
        self._addends = list(zip(others, _addends(node), strict=True))
        self._activation = Activation.of(node)
        self._lanes = compiler().lanes(FLOAT32)
        self._made = code.scratch(FLOAT32, tiles.filtering.outputs**2 * self._lanes)

    def bring_back(
        self,
        corner: Corner,
        slot: Number,
        sums: Number,
        panels: tuple[Number, Number],
        size: tuple[Number, Number] | None = None,
    ) -> None:
        """The results of a tile from its slot in the sums of some panels, which begin with the first of these.

        ``size`` are its rows and columns, where they are not as many as there are.
        """
        code, lanes, filtering = self._code, self._lanes, self._tiles.filtering
        outputs = filtering.outputs
        (image, top, left), (begin, end) = corner, panels
        rows, columns = self._tiles.result
        high, wide = size or ((code.index(rows) - top).smaller(outputs), (code.index(columns) - left).smaller(outputs))
        place, apart, factor = self._drawn.at(image, top, left), self._drawn.row_apart, self._drawn.channel_factor
        present = self._drawn.channels
        whole = present // lanes * lanes
        is_whole = high.equals(outputs) & wide.equals(outputs)
        are_whole = size is None and rows % outputs == columns % outputs == 0

        def vector(start: Number, output: Number, count: int) -> None:
            added, first = self._vectors(output, count), place + output * factor

            def finish(row: Number | int, column: Number | int, total: Number) -> None:
                self._finish(total, added, first + (apart * row + self._drawn.block * column), count)

            with code.where(is_whole):
                self._through_registers(start, finish)
            if not are_whole:
                with code.where(~is_whole):
                    places = code.address(self._space, start, FLOAT32), self._made
                    code.invoke(result_function(filtering), places, [code.index(self._slots * width())])
                    with code.loop(high) as row, code.loop(wide) as column:
                        finish(row, column, code.load(self._made, (row * outputs + column) * lanes, FLOAT32, lanes))

        with code.loop(end, start=begin) as panel, code.loop(width(), lanes) as inside:
            output = panel * width() + inside
            start = sums + ((panel - begin) * (self._tiles.sums * self._slots) + slot) * width() + inside
            with code.where(output < whole):
                vector(start, output, lanes)
            if whole < present:
                with code.where(output.equals(whole)):
                    vector(start, output, present - whole)

    def _through_registers(self, start: Number, finish: Callable[[Number | int, int, Number], None]) -> None:
        """Finish all results of a vector."""
        filtering = self._tiles.filtering
        code, lanes, sums = self._code, self._lanes, filtering.sums

        def load(row: int, column: Number | int) -> Number:
            at = start + (row * sums + column) * (self._slots * width())
            return code.load(self._space, at, FLOAT32, lanes)

        through_both_axes(code, filtering.result, (sums, filtering.outputs), load, finish)

    def _vectors(self, output: Number, count: int) -> list[Number | str]:
        """What is added to results: a vector for all positions, or the place of one for each."""
        return [
            place if len(item.shape) > 1 else self._code.load_some(place, output, item.dtype, count, self._lanes)
            for place, item in self._addends
        ]

    def _finish(self, total: Number, added: Sequence[Number | str], at: Number, count: int) -> None:
        """What comes behind the sums of a vector, of whose outputs ``count`` are there."""
        for other, (_, item) in zip(added, self._addends, strict=True):
            found = self._code.load(other, at, item.dtype, self._lanes) if isinstance(other, str) else other
            total = total + found.converted(FLOAT32)
        self._code.store(self._activation(total).only(count, 0.0).converted(self._drawn.dtype), self._target, at)


def places_of_results(node: Node) -> int:
    """How many places ``Results`` are made of."""
    return len(_addends(node)) + 2


def _addends(node: Node) -> list[Variable]:
    """What is added to results."""
    return [item for item in node.inputs[2:] if item is not None]
