"""Normalisation by the statistics of a batch, and its gradient, on images as they lie, in any order of a library.

Images are of float32 or bfloat16, everything else is float32, and so is what is computed with. Sums stay exact for
images of any size, see ``image_chunks``. The mean of a chunk is known before its variance is
gathered, while it is in the cache. What a fused activation lets through is kept as a bit for each element. A residual
is added in front of the activation; going back, gradients that meet there are added while sums are gathered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from toolkit.backends import onednn
from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import BFLOAT16, BOOLEAN, Number
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.kernel import NAME
from toolkit.backends.native.normalization.image_chunks import FLOAT32, MASKS, ChunkWriter, Geometry
from toolkit.backends.native.registry import kernel
from toolkit.backends.onednn.memory import channels_in_blocks, channels_last
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node, Variable
from toolkit.operators.expression import TOOLKIT_DOMAIN

FLOAT64 = np.dtype(np.float64)


WORTH_COMPILING = 1 << 16  # bytes of an image: smaller ones are normalised in microseconds by the library


def is_batch_normalization(node: Node) -> bool:
    """Whether the node normalises images by their own statistics, large ones."""
    return _is_served(node, (node.inputs[0], node.y, *node.inputs[5:]))


def is_gradient(node: Node) -> bool:
    """Whether the node is the gradient of such a one, whose mask was made here."""
    mask = node.inputs[5] if len(node.inputs) > 5 else None
    is_known = mask is None or (mask.producer is not None and mask.producer.backend == NAME)
    return is_known and _is_served(node, (*node.inputs[:2], node.y, *node.inputs[6:], *node.outputs[3:]))


def _is_served(node: Node, images: Sequence[Variable | None]) -> bool:
    """Whether ``images`` are of one type, the vectors beside them of float32."""
    image = node.inputs[0]
    alike = {item.dtype for item in images if item is not None}
    numbers = [item for item in (*node.inputs[:5], *node.outputs[:5]) if item is not None and item not in images]
    if image is None or image.size == 0 or not onednn.available():
        return False
    if alike not in ({FLOAT32}, {BFLOAT16}) or any(item.dtype != FLOAT32 for item in numbers):
        return False
    is_large = image.size * FLOAT32.itemsize >= WORTH_COMPILING
    return is_large and len(image.shape) in (3, 4, 5) and compiler().lanes(FLOAT32) in MASKS


def _geometry(layout: Layout | None, shape: tuple[int, ...]) -> Geometry:
    """An image as it lies, or in blocks of a vector where that is served no other way."""
    (items, channels), positions = shape[:2], math.prod(shape[2:])
    lanes = compiler().lanes(FLOAT32)
    dtype = FLOAT32 if layout is None else layout.dtype
    blocks = Geometry(items, channels, positions, lanes, dtype=dtype)
    last = Geometry(items, channels, positions, lanes if channels % 16 else 16, is_last=True, dtype=dtype)
    for found in (blocks._replace(width=1), blocks._replace(width=16), blocks._replace(width=8), last):
        if found.is_served and layout == _layout(found, shape):
            return found
    return blocks


def _layout(geometry: Geometry, shape: tuple[int, ...]) -> Layout:
    if geometry.is_last:
        return channels_last(geometry.dtype, shape)
    if geometry.width == 1:
        return plain(geometry.dtype, shape)
    return channels_in_blocks(geometry.dtype, shape, geometry.width)


def _bits(geometry: Geometry, shape: tuple[int, ...]) -> Layout:
    """The layout of a mask: a bit for each element, in the order of the image."""
    return Layout(np.dtype(np.uint8), shape, geometry.mask_nbytes, geometry)


@kernel(TOOLKIT_DOMAIN, "BatchNormalizationTraining", accepts=is_batch_normalization)
def lower_batch_normalization(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Image, scale, shift, running mean and variance, residual to image, both moved, those of the batch, what passes.

    The mask of the latter is left out where nobody wants it.
    """
    shape, vector = node.x.shape, plain(FLOAT32, node.x.shape[1:2])
    geometry = _geometry(inputs[0], shape)
    image = _layout(geometry, shape)
    results: list[Layout | None] = [image, *[vector] * 4]
    results += [None if item is None else _bits(geometry, shape) for item in node.outputs[5:]]
    given: list[Layout | None] = [image, *[vector] * 4]
    given += [None if item is None else image for item in node.inputs[5:]]
    return _forward(node, geometry, given, results, resources.threads)


@kernel(TOOLKIT_DOMAIN, "BatchNormalizationRepeated", accepts=is_batch_normalization)
def lower_repetition(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Image, scale, shift, mean and variance to the image that the training form made of these, bit for bit."""
    shape, vector = node.x.shape, plain(FLOAT32, node.x.shape[1:2])
    geometry = _geometry(inputs[0], shape)
    image = _layout(geometry, shape)
    writer = ChunkWriter(geometry, 6, 0, 2, resources.threads)
    low, _ = _bounds(node)

    def elements(number: Number, block: Number, first: Number, vectors: Number) -> None:
        factor, addend = writer.factors(block)
        with writer.apply.loop(vectors) as vector:
            at = first + vector * geometry.step
            value = writer.vector(writer.apply, 0, at).times_plus(factor, addend)
            writer.write(value if low is None else value.larger(low), 5, at)

    def channels(block: Number) -> None:
        _set_factors(writer, block, 3, float(node.attributes["epsilon"]))

    writer.go_through(None, channels, elements)
    return writer.kernel([image, *[vector] * 4], [image], [(0, 0)])


@kernel(TOOLKIT_DOMAIN, "BatchNormalizationGradient", accepts=is_gradient)
def lower_batch_normalization_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The gradient of the result, image, scale, mean and variance, mask, more of the gradient.

    To the gradients of image, scale and shift, and of the residual: all of the first, as far as it passes.
    """
    shape, vector = node.x.shape, plain(FLOAT32, node.x.shape[1:2])
    mask = inputs[5] if len(inputs) > 5 else None
    geometry = _geometry(inputs[1], shape) if mask is None else mask.opaque
    image = _layout(geometry, shape)
    given: list[Layout | None] = [image, image, *[vector] * 3]
    given += [None if item is None else _bits(geometry, shape) for item in node.inputs[5:6]]
    given += [None if item is None else image for item in node.inputs[6:]]
    made: list[Layout | None] = [image, vector, vector]
    made += [None if item is None else image for item in node.outputs[3:]]
    return _backward(node, geometry, given, made, resources.threads)


def _forward(
    node: Node, geometry: Geometry, inputs: Sequence[Layout | None], outputs: Sequence[Layout | None], threads: int
) -> Kernel:
    epsilon, momentum = float(node.attributes["epsilon"]), float(node.attributes["momentum"])
    low, high = _bounds(node)
    has_residual, has_mask = (len(item) > 5 and item[5] is not None for item in (inputs, outputs))
    first_result = 5 + int(has_residual)
    writer = ChunkWriter(geometry, first_result + 5 + int(has_mask), 2, 2, threads)
    width, count = geometry.width, float(geometry.items * geometry.positions)
    gather, follow, apply = writer.gather, writer.follow, writer.apply

    def chunk(number: Number, block: Number, first: Number, vectors: Number) -> None:
        (total,) = writer.totals(first, vectors, lambda at: [writer.vector(gather, 0, at)], 1)
        share = (vectors * (geometry.lanes // width)).converted(FLOAT32).spread(width)
        middle = (total / share).spread(geometry.lanes)

        def squared(at: Number) -> list[Number]:
            distance = writer.vector(gather, 0, at) - middle
            return [distance * distance]

        writer.keep(number, [total / share, *writer.totals(first, vectors, squared, 1)])

    def channels(block: Number) -> None:
        zero = follow.constant(0.0, FLOAT64, width)
        mean, squares = follow.cell(zero), follow.cell(zero)
        writer.each_part(block, lambda sums, share: mean.set(mean.get() + sums[0] * share))
        middle = mean.get() / count

        def spread(sums: list[Number], share: Number) -> None:
            distance = sums[0] - middle
            squares.set(squares.get() + sums[1] + distance * distance * share)

        writer.each_part(block, spread)
        variance = squares.get() / count
        for place, found in ((3, middle), (4, variance)):
            moved = (writer.by_channel(place, block) - found) * momentum + found
            writer.set_by_channel(moved, first_result + place - 2, block)
            writer.set_by_channel(found, first_result + place, block)
        _set_factors(writer, block, first_result + 3, epsilon)

    def elements(number: Number, block: Number, first: Number, vectors: Number) -> None:
        factor, addend = writer.factors(block)
        with apply.loop(vectors) as vector:
            at = first + vector * geometry.step
            value = writer.vector(apply, 0, at).times_plus(factor, addend)
            if has_residual:
                value = value + writer.vector(apply, 5, at)
            if has_mask:
                passes = value > (-math.inf if low is None else low)
                place = apply.places[first_result + 5]
                _store_mask(apply, passes if high is None else passes & (value < high), place, at)
            found = value if low is None else value.larger(low)
            writer.write(found if high is None else found.smaller(high), first_result, at)

    writer.go_through(chunk, channels, elements)
    return writer.kernel(inputs, outputs, [(0, 0), (0, 5)] if has_residual else [(0, 0)])


def _set_factors(writer: ChunkWriter, block: Number, place: int, epsilon: float) -> None:
    """By what a block is multiplied, and what is added then, by the mean and variance that are kept from ``place`` on.

    These are what a repetition knows too: it computes the same.
    """
    middle, variance = writer.by_channel(place, block), writer.by_channel(place + 1, block)
    factor = writer.by_channel(1, block) / (variance + epsilon).square_root()
    writer.set_factors(block, [factor, writer.by_channel(2, block) - middle * factor])


def _bounds(node: Node) -> tuple[float | None, float | None]:
    """Between which the activation lets values through."""
    activation = node.attributes.get("activation", "")
    if activation == "Clip":
        return float(node.attributes["activation_alpha"]), float(node.attributes["activation_beta"])
    return (0.0 if activation == "Relu" else None), None


def _backward(
    node: Node, geometry: Geometry, inputs: Sequence[Layout | None], outputs: Sequence[Layout | None], threads: int
) -> Kernel:
    epsilon = float(node.attributes["epsilon"])
    has_mask, has_more = (len(inputs) > index and inputs[index] is not None for index in (5, 6))
    keeps = len(outputs) > 3 and outputs[3] is not None
    first_result = 5 + int(has_mask) + int(has_more)
    passed = first_result + 3
    writer = ChunkWriter(geometry, passed + int(keeps), 2, 4, threads)
    width, count = geometry.width, float(geometry.items * geometry.positions)
    gather, follow, apply = writer.gather, writer.follow, writer.apply

    def slope(code: Code, at: Number) -> Number:
        found = writer.vector(code, 0, at)
        if has_more:
            found = found + writer.vector(code, first_result - 1, at)
        return _load_mask(code, geometry.lanes, code.places[5], at).choose(found, 0.0) if has_mask else found

    def chunk(number: Number, block: Number, first: Number, vectors: Number) -> None:
        middle = writer.gathered_around(3, block)

        def terms(at: Number) -> list[Number]:
            g = slope(gather, at)
            if keeps:
                gather.store(g.converted(geometry.dtype), gather.places[passed], at)
            return [g, g * (writer.vector(gather, 1, at) - middle)]

        writer.keep(number, writer.totals(first, vectors, terms, 2))

    def channels(block: Number) -> None:
        zero = follow.constant(0.0, FLOAT64, width)
        cells = [follow.cell(zero), follow.cell(zero)]

        def add(sums: list[Number], share: Number) -> None:
            for cell, item in zip(cells, sums, strict=True):
                cell.set(cell.get() + item)

        writer.each_part(block, add)
        total, product = (cell.get() for cell in cells)
        inverse = 1.0 / (writer.by_channel(4, block) + epsilon).square_root()
        writer.set_by_channel(product * inverse, first_result + 1, block)
        writer.set_by_channel(total, first_result + 2, block)
        middle, factor = writer.by_channel(3, block), writer.by_channel(2, block) * inverse
        writer.set_factors(block, [middle, factor, total / count, product * inverse * inverse / count])

    def elements(number: Number, block: Number, first: Number, vectors: Number) -> None:
        middle, factor, level, tilt = writer.factors(block)
        with apply.loop(vectors) as vector:
            at = first + vector * geometry.step
            bent = (writer.vector(apply, 1, at) - middle) * tilt
            g = writer.vector(apply, passed, at) if keeps else slope(apply, at)
            value = (g - level - bent) * factor
            writer.write(value, first_result, at)

    writer.go_through(chunk, channels, elements)
    if keeps:
        return writer.kernel(inputs, outputs, [(3, 0), (3, 6), (0, 1)] if has_more else [(3, 0), (0, 1)])
    return writer.kernel(inputs, outputs, [(0, 0), (0, 1)])


def _store_mask(code: Code, truths: Number, place: str, at: Number) -> None:
    dtype = MASKS[truths.lanes]
    name = code.result(f"bitcast {truths.typed} to i{truths.lanes}")
    code.store(Number(code, name, dtype, 1), place, at / truths.lanes)


def _load_mask(code: Code, lanes: int, place: str, at: Number) -> Number:
    bits = code.load(place, at / lanes, MASKS[lanes])
    return Number(code, code.result(f"bitcast {bits.typed} to <{lanes} x i1>"), BOOLEAN, lanes)
