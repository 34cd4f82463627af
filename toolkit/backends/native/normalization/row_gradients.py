"""The gradient of layer normalisation: one pass over rows that stay in the cache, by all threads.

With s = g scale and n = (x - mean) / deviation, a row of the gradient is (s - mean(s) - n mean(s n)) / deviation. What
scale and bias learn is the sum of g n and of g over all rows: each part of the rows gathers its own, and these are put
together behind it. There are as many parts as the context has threads.
"""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.folding import SUM, joined_lanes, lanes_for
from toolkit.backends.native.assembly.number import FLOATS, Number
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.kernel import CompiledKernel, plain_layouts
from toolkit.backends.native.normalization.rows import WORTH_A_THREAD
from toolkit.backends.native.registry import kernel
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN

TOGETHER = 2  # rows, which share what they read of the scale and of the sums


def _is_of_rows(node: Node) -> bool:
    """Whether the scale lies as a row does, and all is of one type."""
    x, scale = node.inputs[1:3]
    assert x is not None and scale is not None
    present = [item for item in (*node.inputs, *node.outputs) if item is not None]
    axis = int(node.attributes.get("axis", -1)) % len(x.shape)
    is_uniform = x.dtype in FLOATS and all(item.dtype == x.dtype and item.size for item in present)
    return is_uniform and scale.shape == x.shape[axis:] and node.outputs[0] is not None


@kernel(TOOLKIT_DOMAIN, "LayerNormalizationGradient", accepts=_is_of_rows)
def lower_layer_normalization_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The incoming gradient may be overwritten."""
    scale, kept = node.inputs[2], [item is not None for item in node.outputs[1:]]
    assert scale is not None
    rows, size, dtype = node.y.size // scale.size, scale.size, scale.dtype
    parts = min(resources.threads, rows) if node.y.size >= WORTH_A_THREAD else 1
    code = Code(7 + sum(kept))
    rows_of = _Rows(code, size, node)
    begin, end = Team(code, parts).share(parts)
    with code.loop(end, start=begin) as part:
        rows_of.gather(part, part * rows / parts, (part + 1) * rows / parts)
    after = Code(len(code.places))
    *targets, sums = after.places[6:]
    lanes = lanes_for(size, dtype)

    def put_together(position: Number, count: int) -> None:
        for place, number in zip(targets, (index for index, is_kept in enumerate(kept) if is_kept), strict=True):
            found = [after.load(sums, position + (2 * part + number) * size, dtype, count) for part in range(parts)]
            after.store(sum(found[1:], found[0]), place, position)

    after.pieces(size, lanes, put_together)
    return CompiledKernel(
        code,
        plain_layouts(node.inputs),
        plain_layouts(node.outputs),
        in_place=[(0, 0)],
        workspace=parts * 2 * size * dtype.itemsize,
        after=[after] if any(kept) else [],
    )


class _Rows:
    """Writes what happens to rows of ``size`` elements."""

    def __init__(self, code: Code, size: int, node: Node) -> None:
        self._code, self._size, self._dtype = code, size, node.y.dtype
        self._lanes = lanes_for(size, self._dtype)
        self._g, self._x, self._scale, self._mean, self._inverse, self._target, *_, self._sums = code.places

    def gather(self, part: Number, begin: Number, end: Number) -> None:
        """The rows of a part, and their sums."""
        code, base = self._code, part * (2 * self._size)
        code.clear(code.address(self._sums, base, self._dtype), code.index(2 * self._size * self._dtype.itemsize))
        pairs = (end - begin) / TOGETHER
        with code.loop(pairs) as pair:
            self._rows(begin + pair * TOGETHER, TOGETHER, base)
        with code.loop(end, start=begin + pairs * TOGETHER) as row:
            self._rows(row, 1, base)

    def _rows(self, first: Number, count: int, base: Number) -> None:
        code, lanes, dtype = self._code, self._lanes, self._dtype
        rows = [first + index for index in range(count)]
        means, inverses = (
            [code.load(place, row, dtype).spread(lanes) for row in rows] for place in (self._mean, self._inverse)
        )
        zero = code.constant(0.0, dtype, lanes)
        totals = [(code.cell(zero), code.cell(zero)) for _ in rows]

        def read(index: int, position: Number, part: int) -> tuple[Number, Number]:
            """g, and the normal row."""
            at = rows[index] * self._size + position
            g, x = (code.load_some(place, at, dtype, part, lanes) for place in (self._g, self._x))
            return g, (x - means[index]) * inverses[index]

        def look(position: Number, part: int) -> None:
            scale = code.load_some(self._scale, position, dtype, part, lanes)
            of_scale, of_bias = zero, zero
            for index, (plain, weighted) in enumerate(totals):
                g, normal = read(index, position, part)
                scaled = (g * scale).only(part, 0.0)
                plain.set(plain.get() + scaled)
                weighted.set(weighted.get() + scaled * normal)
                of_scale, of_bias = of_scale + g * normal, of_bias + g
            for number, found in enumerate((of_scale, of_bias)):
                at = base + (number * self._size) + position
                known = code.load_some(self._sums, at, dtype, part, lanes)
                code.store_some(known + found, self._sums, at, part)

        code.pieces(self._size, lanes, look)
        averages = [
            [(joined_lanes(SUM, cell.get()) / float(self._size)).spread(lanes) for cell in pair] for pair in totals
        ]

        def write(position: Number, part: int) -> None:
            scale = code.load_some(self._scale, position, dtype, part, lanes)
            for index, (plain, weighted) in enumerate(averages):
                g, normal = read(index, position, part)
                found = (g * scale - plain - normal * weighted) * inverses[index]
                code.store_some(found, self._target, rows[index] * self._size + position, part)

        code.pieces(self._size, lanes, write)
