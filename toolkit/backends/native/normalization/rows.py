"""Softmax, and the normalisation of layers, root mean squares, instances and groups of channels: rows by themselves.

A row is gone through several times, a vector at a time, while it is in the cache. Statistics are gathered in two
passes, the mean first, as the references do. Refused: scales of another shape than what is normalised, and statistics
that are kept in half width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np

from toolkit.backends.iteration import row_major
from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.folding import SUM, folded, joined_lanes, lanes_for, largest
from toolkit.backends.native.assembly.functions import exponential, logarithm
from toolkit.backends.native.assembly.number import FLOATS, Number
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.kernel import CompiledKernel, plain_layouts
from toolkit.backends.native.registry import is_of_numbers, kernel
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.softmax import matrix_shape

FLOAT32 = np.dtype(np.float32)
WORTH_A_THREAD = 1 << 14  # elements from which others help


def _is_float(node: Node) -> bool:
    present = [item for item in (*node.inputs, *node.outputs) if item is not None]
    return is_of_numbers(node) and node.x.dtype in FLOATS and all(item.dtype == node.x.dtype for item in present)


# softmax --------------------------------------------------------------------------------------------------------------


@kernel("", "Softmax", "LogSoftmax", accepts=lambda node: _is_float(node) and bool(node.x.shape))
def lower_softmax(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Rows along ``axis``, or all that is behind it before version 13; the input may be overwritten."""
    shape, axis = node.x.shape, int(node.attributes.get("axis", 1 if node.version < 13 else -1))
    if node.version < 13:
        outer, size = matrix_shape(shape, axis)
        step = 1
    else:
        outer, size, step = math.prod(shape[: axis % len(shape)]), shape[axis], row_major(shape)[axis]
    code = Code(2)
    source, target = code.places
    is_log = node.op_type == "LogSoftmax"
    with code.loop(outer) as row:
        if step == 1:
            softmax_row(code, source, target, row * size, size, node.x.dtype, is_log)
        else:
            _softmax_of_columns(code, row * (size * step), size, step, node.x.dtype, is_log)
    return CompiledKernel(code, plain_layouts(node.inputs), plain_layouts(node.outputs), in_place=[(0, 0)])


def softmax_row(code: Code, source: str, target: str, start: Number, size: int, dtype: np.dtype, is_log: bool) -> None:
    """The softmax of ``size`` elements from ``start`` on, or its logarithm, from one place to another or the same."""
    lanes = lanes_for(size, dtype)

    def read(position: Number, count: int) -> Number:
        return code.load_some(source, start + position, dtype, count, lanes)

    fold = largest(dtype)
    top = joined_lanes(fold, folded(code, fold, size, read, lanes, dtype)).spread(lanes)

    def power(position: Number, count: int) -> Number:
        found = exponential(read(position, count) - top)
        if not is_log:
            code.store_some(found, target, start + position, count)
        return found

    total = joined_lanes(SUM, folded(code, SUM, size, power, lanes, dtype))
    shared = (logarithm(total) if is_log else total).spread(lanes)

    def finish(position: Number, count: int) -> None:
        at = start + position
        if is_log:
            code.store_some(read(position, count) - top - shared, target, at, count)
        else:
            code.store_some(code.load_some(target, at, dtype, count, lanes) / shared, target, at, count)

    code.pieces(size, lanes, finish)


def _softmax_of_columns(code: Code, start: Number, size: int, step: int, dtype: np.dtype, is_log: bool) -> None:
    """Each lane has a row of its own, whose elements are ``step`` apart."""
    source, target = code.places
    lanes = min(compiler().lanes(dtype), step)

    def write(position: Number, count: int) -> None:
        first = start + position

        def read(place: str, index: Number) -> Number:
            return code.load_some(place, first + index * step, dtype, count, lanes)

        top = code.cell(read(source, code.index(0)))
        with code.loop(size, start=1) as index:
            top.set(top.get().larger(read(source, index)))
        total = code.cell(code.constant(0.0, dtype, lanes))
        with code.loop(size) as index:
            power = exponential(read(source, index) - top.get())
            total.set(total.get() + power)
            if not is_log:
                code.store_some(power, target, first + index * step, count)
        shared = logarithm(total.get()) if is_log else total.get()
        with code.loop(size) as index:
            found = read(source, index) - top.get() - shared if is_log else read(target, index) / shared
            code.store_some(found, target, first + index * step, count)

    code.pieces(step, lanes, write)


@kernel(TOOLKIT_DOMAIN, "SoftmaxGradient", accepts=lambda node: _is_float(node) and _is_last(node))
def lower_softmax_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """y (g - sum(g y)) along the last axis; behind a logarithm g - exp(y) sum(g). Rows are shared by all threads."""
    size, dtype, is_log = node.x.shape[-1], node.x.dtype, bool(node.attributes.get("log", 0))
    rows, lanes = node.x.size // size, lanes_for(size, dtype)
    code = Code(3)
    slope, output, target = code.places
    begin, end = Team(code, resources.threads if node.x.size >= WORTH_A_THREAD else 1).share(rows)
    with code.loop(end, start=begin) as row:
        start = row * size

        def read(place: str, position: Number, count: int, start: Number = start) -> Number:
            return code.load_some(place, start + position, dtype, count, lanes)

        def term(position: Number, count: int) -> Number:
            g = read(slope, position, count)
            return g if is_log else g * read(output, position, count)

        total = joined_lanes(SUM, folded(code, SUM, size, term, lanes, dtype)).spread(lanes)

        def finish(position: Number, count: int, start: Number = start, total: Number = total) -> None:
            g, y = read(slope, position, count), read(output, position, count)
            found = g - exponential(y) * total if is_log else y * (g - total)
            code.store_some(found, target, start + position, count)

        code.pieces(size, lanes, finish)
    return CompiledKernel(code, plain_layouts(node.inputs), plain_layouts(node.outputs), in_place=[(0, 0), (0, 1)])


def _is_last(node: Node) -> bool:
    """Whether the axis of a softmax is the last one."""
    return bool(node.x.shape) and int(node.attributes.get("axis", -1)) % len(node.x.shape) == len(node.x.shape) - 1


# normalisation --------------------------------------------------------------------------------------------------------


def _width(node: Node) -> int:
    axis = int(node.attributes.get("axis", -1)) % len(node.x.shape)
    return math.prod(node.x.shape[axis:])


def _normalises_rows(node: Node) -> bool:
    if not node.x.shape or not is_of_numbers(node) or node.x.dtype not in FLOATS:
        return False
    behind = node.x.shape[int(node.attributes.get("axis", -1)) % len(node.x.shape) :]
    given = [item for item in node.inputs[1:] if item is not None]
    kept = [item for item in node.outputs[1:] if item is not None]
    if node.op_type == "RMSNormalization" and kept:
        return False
    return all(item.shape == behind and item.dtype == node.x.dtype for item in given) and all(
        item.dtype == FLOAT32 for item in kept
    )


@kernel("", "LayerNormalization", "RMSNormalization", accepts=_normalises_rows)
def lower_layer_normalization(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Scale and bias lie as a row does; ``bias``, mean and inverse deviation may be left out."""
    dtype, size = node.x.dtype, _width(node)
    present = [item is not None for item in (*node.inputs, *node.outputs)]
    code = Code(sum(present))
    begin, end = Team(code, resources.threads if node.x.size >= WORTH_A_THREAD else 1).share(node.x.size // size)
    names = iter(code.places)
    places = [next(names) if is_present else None for is_present in present]
    x, scale, bias = (*places[: len(node.inputs)], None)[:3]
    y, mean, inverse = (*places[len(node.inputs) :], None, None)[:3]
    assert x is not None and scale is not None and y is not None
    with code.loop(end, start=begin) as row:
        normal = _Normal(code, x, row * size, size, dtype, node, is_centred=node.op_type == "LayerNormalization")

        def affine(value: Number, position: Number, count: int) -> Number:
            lanes = value.lanes
            found = value * code.load_some(scale, position, dtype, count, lanes)
            return found if bias is None else found + code.load_some(bias, position, dtype, count, lanes)

        normal.write(y, affine)
        if mean is not None:
            code.store(normal.mean.converted(FLOAT32), mean, row)
        if inverse is not None:
            code.store(normal.inverse.converted(FLOAT32), inverse, row)
    return CompiledKernel(code, plain_layouts(node.inputs), plain_layouts(node.outputs), in_place=[(0, 0)])


def _per_channel(node: Node) -> bool:
    return _is_float(node) and len(node.inputs) == 3 and len(node.x.shape) >= 2 and len(node.outputs) == 1


@kernel("", "InstanceNormalization", "GroupNormalization", accepts=_per_channel)
def lower_group_normalization(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """A row is a group of channels of one sample; before version 21, scale and bias of groups are one for each."""
    dtype, shape = node.x.dtype, node.x.shape
    groups = int(node.attributes.get("num_groups", shape[1]))
    positions, together = math.prod(shape[2:]), shape[1] // groups
    given = node.inputs[1]
    assert given is not None
    is_by_group = given.shape[0] == groups
    code = Code(4)
    x, scale, bias, y = code.places
    with ExitStack() as loops:
        sample, group = (loops.enter_context(code.loop(count)) for count in (shape[0], groups))
        start = (sample * groups + group) * (together * positions)
        normal = _Normal(code, x, start, together * positions, dtype, node)
        with code.loop(1 if is_by_group else together) as member:
            channel = group if is_by_group else group * together + member
            factor, addend = code.load(scale, channel, dtype), code.load(bias, channel, dtype)

            def affine(value: Number, position: Number, count: int) -> Number:
                return value * factor.spread(value.lanes) + addend.spread(value.lanes)

            size = positions * together if is_by_group else positions
            normal.write(y, affine, member * size, size)
    return CompiledKernel(code, plain_layouts(node.inputs), plain_layouts(node.outputs), in_place=[(0, 0)])


class _Normal:
    """One row with mean 0 and variance 1; ``mean`` is only taken away if ``is_centred``."""

    def __init__(
        self, code: Code, x: str, start: Number, size: int, dtype: np.dtype, node: Node, *, is_centred: bool = True
    ) -> None:
        self._code, self._x, self._start, self._size, self._dtype = code, x, start, size, dtype
        self._lanes = lanes_for(size, dtype)
        self._is_centred = is_centred
        self.mean = code.constant(0.0, dtype)
        if is_centred:
            self.mean = self._total(self._read) / float(size)
        self._middle = self.mean.spread(self._lanes)
        squares = self._total(lambda position, count: self._centred(position, count, squared=True))
        deviation = (squares / float(size) + float(node.attributes.get("epsilon", 1e-5))).square_root()
        self.inverse = 1.0 / deviation
        self._factor = self.inverse.spread(self._lanes)

    def _total(self, read: Callable[[Number, int], Number]) -> Number:
        return joined_lanes(SUM, folded(self._code, SUM, self._size, read, self._lanes, self._dtype))

    def _read(self, position: Number, count: int) -> Number:
        return self._code.load_some(self._x, self._start + position, self._dtype, count, self._lanes)

    def _centred(self, position: Number, count: int, squared: bool = False) -> Number:
        value = self._read(position, count)
        value = value - self._middle if self._is_centred else value
        return value * value if squared else value

    def write(
        self, y: str, affine: Callable[[Number, Number, int], Number], first: Number | int = 0, size: int | None = None
    ) -> None:
        """``size`` elements of the row from ``first`` on; ``affine`` is told where they are among these."""

        def piece(position: Number, count: int) -> None:
            at = position + first
            value = affine(self._centred(at, count) * self._factor, position, count)
            self._code.store_some(value, y, self._start + at, count)

        self._code.pieces(self._size if size is None else size, self._lanes, piece)
