"""The windows of a block of tiles, seen at all points: the left factor of products, in the space of one thread."""

from __future__ import annotations

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.products.blocking import LINE
from toolkit.backends.native.products.tile import DEPTH
from toolkit.backends.native.winograd.functions import window_function
from toolkit.backends.native.winograd.images import Corner, Distances, Images, Squares
from toolkit.backends.native.winograd.tiles import Tiles

FLOAT32 = np.dtype(np.float32)


class Windows:
    """Places for ``slots`` tiles: (points, ``parts`` of the channels, slots, up to ``DEPTH`` channels)."""

    def __init__(self, code: Code, tiles: Tiles, images: Images, slots: int) -> None:
        self._code, self._tiles, self._slots = code, tiles, slots
        self.squares = Squares(images, tiles.filtering.size, tiles.begins)
        self.parts = -(-tiles.channels // DEPTH)
        lines = -(-min(tiles.channels, DEPTH) // LINE)
        self.stride = (
            lines | 1
        ) * LINE  # from slot to slot: no power of two, whose rows would share a place in the cache

    @property
    def numbers(self) -> int:
        """Of all places."""
        return self._tiles.points * self.parts * self._slots * self.stride

    def depth(self, part: int) -> int:
        """The channels of a part."""
        return min(DEPTH, self._tiles.channels - part * DEPTH)

    def at(self, start: Number, point: Number, part: int) -> Number:
        """Where the first slot of a part lies, of all places from ``start`` on."""
        return start + (point * self.parts + part) * (self._slots * self.stride)

    def see(self, image: str, corner: Corner, spare: tuple[str, Number], start: Number, slot: Number) -> None:
        """See the window of a tile, and put it into its slot; ``spare`` is room for a square, in the same space."""
        code, (space, _) = self._code, spare
        lanes, apart = compiler().lanes(FLOAT32), self.parts * self._slots * self.stride

        def see(square: str, channel_factor: int, distances: Distances) -> None:
            for part in range(self.parts):
                source = code.address(square, part * DEPTH * channel_factor, FLOAT32)
                target = code.address(space, start + (slot + part * self._slots) * self.stride, FLOAT32)
                numbers = self.depth(part) // lanes, *distances, apart
                places = source, target
                code.invoke(window_function(self._tiles.filtering), places, [code.index(item) for item in numbers])

        self.squares.read(code, image, corner, spare, see)
