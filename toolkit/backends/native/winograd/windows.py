"""The windows of a block of tiles, seen at all points: the left factor of products, in the space of one thread.

They are of the type of the images. All distances are in words of 32 bits, which hold one float32 or two bfloat16.
"""

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
    """Places for ``slots`` tiles or pairs of them: (points, ``parts`` of channels, slots, up to ``DEPTH`` channels).

    Two numbers of bfloat16 are in a word: two channels of a tile, which are ``together`` then, or those of two tiles.
    """

    def __init__(self, code: Code, tiles: Tiles, images: Images, slots: int, *, pairs_tiles: bool = False) -> None:
        self._code, self._tiles, self._slots = code, tiles, slots
        self.squares = Squares(images, tiles.filtering.size, tiles.begins)
        self.parts = -(-tiles.channels // DEPTH)
        self.together = 1 if pairs_tiles else FLOAT32.itemsize // images.dtype.itemsize
        lines = -(-min(tiles.channels, DEPTH) // (LINE * self.together))
        self.stride = (
            lines | 1
        ) * LINE  # from slot to slot: no power of two, whose rows would share a place in the cache

    @property
    def words(self) -> int:
        """Of all places."""
        return self._tiles.points * self.parts * self._slots * self.stride

    def depth(self, part: int) -> int:
        """The channels of a part."""
        return min(DEPTH, self._tiles.channels - part * DEPTH)

    def at(self, start: Number, point: Number, part: int) -> Number:
        """Where the first slot of a part lies, of all places from ``start`` on."""
        return start + (point * self.parts + part) * (self._slots * self.stride)

    def see(
        self,
        image: str,
        corner: Corner,
        spare: tuple[str, Number],
        start: Number,
        slot: Number,
        half: int | None = None,
    ) -> None:
        """See the window of a tile, and put it into its slot; ``spare`` is room for a square, in the same space.

        Where two tiles share a slot, ``half`` says which one it is; that of the first is seen first.
        """
        code, (space, _) = self._code, spare
        dtype, lanes = self.squares.images.dtype, compiler().lanes(FLOAT32)
        apart = self.parts * self._slots * self.stride * self.together

        def see(square: str, channel_factor: int, distances: Distances) -> None:
            for part in range(self.parts):
                source = code.address(square, part * DEPTH * channel_factor, dtype)
                target = code.address(space, start + (slot + part * self._slots) * self.stride, FLOAT32)
                numbers = self.depth(part) // lanes, *distances, apart
                places = source, target
                function = window_function(self._tiles.filtering, dtype, half)
                code.invoke(function, places, [code.index(item) for item in numbers])

        self.squares.read(code, image, corner, spare, see)
