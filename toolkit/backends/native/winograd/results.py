"""What is brought back of sums of products: the results of tiles, and what is fused behind them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.products.ending import Activation
from toolkit.backends.native.products.tile import width
from toolkit.backends.native.winograd.functions import result_function
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
        code, lanes, outputs = self._code, self._lanes, self._tiles.filtering.outputs
        (image, top, left), (begin, end) = corner, panels
        rows, columns = self._tiles.result
        high, wide = size or ((code.index(rows) - top).smaller(outputs), (code.index(columns) - left).smaller(outputs))
        place, apart, factor = self._drawn.at(image, top, left), self._drawn.row_apart, self._drawn.channel_factor
        present = self._drawn.channels
        whole = present // lanes * lanes

        def vector(start: Number, output: Number, count: int) -> None:
            places = code.address(self._space, start, FLOAT32), self._made
            code.invoke(result_function(self._tiles.filtering), places, [code.index(self._slots * width())])
            with code.loop(high) as row, code.loop(wide) as column:
                total = code.load(self._made, (row * outputs + column) * lanes, FLOAT32, lanes)
                at = place + row * apart + column * self._drawn.block + output * factor
                self._finish(total, output, at, count)

        with code.loop(end, start=begin) as panel, code.loop(width(), lanes) as inside:
            output = panel * width() + inside
            start = sums + ((panel - begin) * (self._tiles.sums * self._slots) + slot) * width() + inside
            with code.where(output < whole):
                vector(start, output, lanes)
            if whole < present:
                with code.where(output.equals(whole)):
                    vector(start, output, present - whole)

    def _finish(self, total: Number, output: Number, at: Number, count: int) -> None:
        """What comes behind the sums of a vector, of whose outputs ``count`` are there."""
        for place, item in self._addends:
            if len(item.shape) > 1:
                added = self._code.load(place, at, item.dtype, self._lanes)
            else:
                added = self._code.load_some(place, output, item.dtype, count, self._lanes)
            total = total + added.converted(FLOAT32)
        self._code.store(self._activation(total).only(count, 0.0).converted(self._drawn.dtype), self._target, at)


def places_of_results(node: Node) -> int:
    """How many places ``Results`` are made of."""
    return len(_addends(node)) + 2


def _addends(node: Node) -> list[Variable]:
    """What is added to results."""
    return [item for item in node.inputs[2:] if item is not None]
