"""Dropout that drops, and what its mask does to a gradient: a product with bytes, by all cores.

The mask is drawn from the context's generator, four elements from each 64-bit number: a ratio is met to 1/65536, which
no gradient notices and which makes the drawing cheap beside everything else. Refused: seeds in the file, ratios and
modes that are not known beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.backends.onednn.memory import dense
from toolkit.backends.onednn.primitive import (
    DST,
    LINEAR,
    MULTIPLY,
    SRC,
    SRC_1,
    Eltwise,
    Primitive,
    PrimitiveDescriptor,
    attributes,
    try_describe,
)
from toolkit.backends.onednn.registry import FLOAT32, kernel
from toolkit.backends.protocol import Buffer, Kernel, Layout, Resources, Step, plain
from toolkit.compiler.known import dropped_share
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.precision import HALF_WIDTH

LEVELS = 1 << 16
_BYTE = np.dtype(np.uint8)


def _drops(node: Node) -> bool:
    has_mask = len(node.outputs) > 1 and node.outputs[1] is not None and node.outputs[0] is not None
    return has_mask and _is_vector(node) and "seed" not in node.attributes and dropped_share(node) is not None


def _is_vector(node: Node) -> bool:
    if node.x.size == 0 or node.x.dtype not in (FLOAT32, *HALF_WIDTH):
        return False
    described = _described(node.x.dtype, node.x.size, 1.0)
    return described is not None and not described.is_reference


def _described(dtype: np.dtype, count: int, scale: float) -> PrimitiveDescriptor | None:
    """target = scale * first * second, the second in bytes."""
    flat = dense(dtype, (1, count))
    attribute = attributes([Eltwise(LINEAR, scale, 0.0)])
    return try_describe("binary", MULTIPLY, flat, dense(_BYTE, (1, count)), flat, attribute=attribute)


def _product(dtype: np.dtype, count: int, scale: float) -> Primitive:
    described = _described(dtype, count, scale)
    assert described is not None
    return Primitive(described)


def _bound(primitive: Primitive, x: Buffer, mask: Buffer, y: Buffer, count: int) -> Step:
    flat = dense(x.layout.dtype, (1, count))
    return primitive.bind(
        {SRC: (flat, x.address), SRC_1: (dense(_BYTE, (1, count)), mask.address), DST: (flat, y.address)}
    )


class _Dropout(Kernel):
    """Draw the mask, then apply it."""

    name = "drawn mask"
    in_place = ((0, 0),)

    def __init__(self, node: Node, resources: Resources) -> None:
        share, rows = dropped_share(node), plain(node.x.dtype, node.x.shape)
        assert share is not None
        self._random, self._count = resources.random, node.x.size
        self._threshold = np.uint16(min(round(share * LEVELS), LEVELS - 1))
        self._product = _product(node.x.dtype, self._count, 1.0 / (1.0 - share))
        self.inputs = [rows, *[None] * (len(node.inputs) - 1)]
        self.outputs = [rows, plain(np.dtype(np.bool_), node.x.shape)]

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        x, y, mask = inputs[0], outputs[0], outputs[1]
        assert x is not None and y is not None and mask is not None
        apply, kept, threshold = _bound(self._product, x, mask, y, self._count), mask.array.reshape(-1), self._threshold
        random, words = self._random, -(-self._count // 4)

        def step() -> Any:
            drawn = random.integers(0, 0xFFFFFFFFFFFFFFFF, words, np.uint64, endpoint=True).view(np.uint16)
            np.greater_equal(drawn[: kept.size], threshold, out=kept)
            return apply()

        return step


@kernel("", "Dropout", accepts=_drops)
def lower_dropout(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    return _Dropout(node, resources)


class _MaskedScale(Kernel):
    """Apply a mask that was drawn before."""

    name = "binary"
    in_place = ((0, 0),)

    def __init__(self, node: Node) -> None:
        self._count = node.x.size
        self._product = _product(node.x.dtype, self._count, float(node.attributes["scale"]))
        rows = plain(node.x.dtype, node.x.shape)
        self.inputs, self.outputs = [rows, plain(np.dtype(np.bool_), node.x.shape)], [rows]

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        g, mask, y = inputs[0], inputs[1], outputs[0]
        assert g is not None and mask is not None and y is not None
        return _bound(self._product, g, mask, y, self._count)


@kernel(TOOLKIT_DOMAIN, "MaskedScale", accepts=_is_vector)
def lower_masked_scale(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    return _MaskedScale(node)
