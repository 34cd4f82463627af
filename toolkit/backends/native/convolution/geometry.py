"""A convolution as its kernels see it, along two spatial axes."""

from __future__ import annotations

import math
from typing import NamedTuple

from toolkit.backends.native.images.windows import Image, Pair, pair
from toolkit.compiler.program import Node


class Geometry(NamedTuple):
    """A convolution seen along two spatial axes, the first of size 1 where there is one; pairs are (rows, columns)."""

    batch: int
    image: Image
    outputs: int
    taps: Pair
    result: Pair
    strides: Pair
    dilations: Pair
    is_depthwise: bool

    @classmethod
    def of(cls, node: Node) -> Geometry:
        x, w, y = node.x.shape, node.inputs[1], node.y.shape
        assert w is not None
        rank, pads = len(x) - 2, list(node.attributes["pads"])
        image = Image(x[1], pair(x[2:], 1), pair(pads[:rank], 0), pair(pads[rank:], 0))
        strides, dilations = (pair(node.attributes[name], 1) for name in ("strides", "dilations"))
        taps, result = pair(w.shape[2:], 1), pair(y[2:], 1)
        is_depthwise = int(node.attributes["group"]) > 1
        return cls(x[0], image, w.shape[0], taps, result, strides, dilations, is_depthwise)._flattened()

    def _flattened(self) -> Geometry:
        """Without taps and steps the image is one row."""
        if self.is_depthwise or self.image.has_margin or (*self.taps, *self.strides) != (1, 1, 1, 1):
            return self
        size = (1, math.prod(self.result))
        return self._replace(image=Image(self.image.channels, size), result=size, dilations=(1, 1))

    @property
    def products(self) -> int:
        channels = 1 if self.is_depthwise else self.image.channels
        return self.batch * self.outputs * math.prod(self.result) * channels * math.prod(self.taps)
