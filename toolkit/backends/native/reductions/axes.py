"""Reductions over any axes, global pooling, and the positions of extremes.

Where what is reduced lies together, a vector gathers parts of one result; where results lie together, each lane has its
own. Refused: means, norms and logarithms of whole numbers, and axes that only data tells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np

from toolkit.backends.iteration import Iteration, broadcast_strides, iterate, row_major
from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.folding import (
    PRODUCT,
    SUM,
    TOGETHER,
    Fold,
    folded,
    joined_lanes,
    lanes_for,
    largest,
    smallest,
)
from toolkit.backends.native.assembly.functions import exponential, logarithm
from toolkit.backends.native.assembly.number import BFLOAT16, FLOATS, HALVES, NUMBERS, Number, joined
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.kernel import CompiledKernel
from toolkit.backends.native.reductions.columns import ColumnReduction
from toolkit.backends.native.registry import is_of_numbers, kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.known import known_input
from toolkit.compiler.program import Node
from toolkit.operators.axes import normalised

FLOAT32, INT32, INT64 = np.dtype(np.float32), np.dtype(np.int32), np.dtype(np.int64)
LARGEST_INT32 = int(np.iinfo(np.int32).max)


class Reducer(NamedTuple):
    """How to reduce: the fold of a type, what is folded of each element, and what becomes of the total of ``count``."""

    fold: Callable[[np.dtype], Fold]
    of_element: Callable[[Number], Number] = lambda x: x
    of_total: Callable[[Number, int], Number] = lambda total, count: total
    takes_integers: bool = True


def _sum(dtype: np.dtype) -> Fold:
    return SUM


def _square(x: Number) -> Number:
    return x * x


MEAN = Reducer(_sum, of_total=lambda total, count: total / float(count), takes_integers=False)
LARGEST = Reducer(largest)
REDUCERS = {
    "ReduceSum": Reducer(_sum),
    "ReduceMean": MEAN,
    "ReduceMax": LARGEST,
    "ReduceMin": Reducer(smallest),
    "ReduceProd": Reducer(lambda dtype: PRODUCT),
    "ReduceL1": Reducer(_sum, Number.absolute),
    "ReduceL2": Reducer(_sum, _square, lambda total, count: total.square_root(), takes_integers=False),
    "ReduceSumSquare": Reducer(_sum, _square),
    "ReduceLogSum": Reducer(_sum, of_total=lambda total, count: logarithm(total), takes_integers=False),
    "ReduceLogSumExp": Reducer(_sum, takes_integers=False),  # relative to the largest, see ``_reduce``
}
POOLS = {"GlobalAveragePool": MEAN, "GlobalMaxPool": LARGEST}


def _axes(node: Node) -> Sequence[int] | None:
    """The axes that a node reduces; ``None`` where they are not known."""
    rank = len(node.x.shape)
    if node.op_type in POOLS:
        return range(2, rank)
    is_known, axes = known_input(node, "axes", 1)
    if not is_known:
        return None
    if axes is None or len(axes) == 0:
        return () if node.attributes.get("noop_with_empty_axes", 0) else range(rank)
    return normalised(axes, rank)


def _reduces(node: Node) -> bool:
    reducer = POOLS.get(node.op_type) or REDUCERS[node.op_type]
    types = NUMBERS if reducer.takes_integers else FLOATS
    present = node.x.size > 0 and node.y.size > 0 and _axes(node) is not None
    dtype = node.x.dtype
    is_served = dtype in types or dtype == BFLOAT16 or (dtype in HALVES and compiler().converts_halves)
    return present and is_served and dtype == node.y.dtype


@kernel("", *REDUCERS, *POOLS, accepts=_reduces)
def lower_reduction(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    axes, shape, dtype = _axes(node), node.x.shape, node.x.dtype
    assert axes is not None
    kept = [1 if axis in axes else size for axis, size in enumerate(shape)]
    iteration = iterate(shape, [row_major(shape), broadcast_strides(kept, len(shape))])
    code = Code(2)
    is_relative = node.op_type == "ReduceLogSumExp"
    reducer = POOLS.get(node.op_type) or REDUCERS[node.op_type]
    if [own == 0 for own in iteration.strides[1]] == [True, False] and dtype in FLOATS and not is_relative:
        rows = ColumnReduction(code, iteration.sizes, dtype, reducer.fold(dtype), resources.threads)
        rows.write(reducer.of_element, lambda total: reducer.of_total(total, iteration.sizes[0]))
    else:
        _Reduction(code, iteration, dtype, reducer, is_relative).write()
    rest: list[Layout | None] = [None] * (len(node.inputs) - 1)
    return CompiledKernel(code, [plain(dtype, shape), *rest], [plain(dtype, node.y.shape)])


class _Reduction:
    """Writes the loops; the second strides of the iteration are 0 along what is reduced."""

    def __init__(
        self, code: Code, iteration: Iteration, dtype: np.dtype, reducer: Reducer, is_relative: bool = False
    ) -> None:
        self._code, self._stored, self._reducer, self._is_relative = code, dtype, reducer, is_relative
        self._dtype = FLOAT32 if dtype in HALVES else dtype
        self._fold = reducer.fold(self._dtype)
        given, made = iteration.strides
        axes = list(zip(iteration.sizes, given, made, strict=True))
        self._in_rows = made[-1] == 0
        self._inner = iteration.sizes[-1]
        self._kept = [axis for axis in axes[:-1] if axis[2]]
        self._reduced = [axis for axis in axes[:-1] if not axis[2]]
        self._count = math.prod(size for size, _, made in axes if not made)

    def write(self) -> None:
        with ExitStack() as loops:
            source = target = self._code.index(0)
            for size, given, made in self._kept:
                position = loops.enter_context(self._code.loop(size))
                source, target = source + position * given, target + position * made
            if self._in_rows:
                lanes = lanes_for(self._inner, self._dtype)
                self._reduce(source, target, lanes, 1)
            else:
                self._columns(source, target)

    def _columns(self, source: Number, target: Number) -> None:
        """Several vectors of results at once, and then one by one."""
        lanes = min(compiler().lanes(self._dtype), self._inner)
        whole = self._inner // (TOGETHER * lanes) * TOGETHER * lanes
        if whole:
            with self._code.loop(whole, TOGETHER * lanes) as position:
                self._reduce(source + position, target + position, lanes, lanes, TOGETHER)

        def piece(position: Number, count: int) -> None:
            self._reduce(source + position + whole, target + position + whole, lanes, count)

        self._code.pieces(self._inner - whole, lanes, piece)

    def _reduce(self, source: Number, target: Number, lanes: int, count: int, vectors: int = 1) -> None:
        """One result, or ``vectors`` times ``count`` that lie together."""
        of_element = self._reducer.of_element
        shifts: list[Number] = []
        if self._is_relative:
            top = largest(self._dtype)
            found = [self._result(top, item) for item in self._gathered(top, source, lanes, count, vectors)]
            shifts = [(item.absolute() < math.inf).choose(item, 0.0) for item in found]
            wide = [item.spread(lanes) for item in shifts]
            totals = self._gathered(
                self._fold, source, lanes, count, vectors, lambda x, vector: exponential(x - wide[vector])
            )
        else:
            totals = self._gathered(self._fold, source, lanes, count, vectors, lambda x, vector: of_element(x))
        for vector, gathered in enumerate(totals):
            total = self._reducer.of_total(self._result(self._fold, gathered), self._count)
            if shifts:
                total = logarithm(total) + shifts[vector]
            self._code.store_some(total.converted(self._stored), self._code.places[1], target + vector * lanes, count)

    def _read(self, at: Number, count: int, lanes: int) -> Number:
        return self._code.load_some(self._code.places[0], at, self._stored, count, lanes).converted(self._dtype)

    def _result(self, fold: Fold, gathered: Number) -> Number:
        return joined_lanes(fold, gathered) if self._in_rows else gathered

    def _gathered(
        self,
        fold: Fold,
        source: Number,
        lanes: int,
        count: int,
        vectors: int,
        of_element: Callable[[Number, int], Number] = lambda x, vector: x,
    ) -> list[Number]:
        """What is folded of all reduced axes, in vectors."""
        code = self._code
        cells = [code.cell(code.constant(fold.neutral, self._dtype, lanes)) for _ in range(vectors)]
        with ExitStack() as loops:
            start = source
            for size, given, _ in self._reduced:
                start = start + loops.enter_context(code.loop(size)) * given
            if self._in_rows:

                def read(position: Number, part: int) -> Number:
                    return of_element(self._read(start + position, part, lanes), 0)

                cells[0].set(fold.combine(cells[0].get(), folded(code, fold, self._inner, read, lanes, self._dtype)))
            else:
                for vector, cell in enumerate(cells):
                    value = self._read(start + vector * lanes, count, lanes)
                    cell.set(fold.combine(cell.get(), of_element(value, vector)))
        return [cell.get() for cell in cells]


# positions of extremes ------------------------------------------------------------------------------------------------


def _has_positions(node: Node) -> bool:
    is_short = bool(node.x.shape) and node.x.shape[int(node.attributes.get("axis", 0))] <= LARGEST_INT32
    return is_of_numbers(node) and node.x.dtype in NUMBERS and is_short


@kernel("", "ArgMax", "ArgMin", accepts=_has_positions)
def lower_position(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The first of equal elements, or the last; a NaN is more extreme than any number."""
    shape = node.x.shape
    axis = int(node.attributes.get("axis", 0)) % len(shape)
    size, step = shape[axis], row_major(shape)[axis]
    search = _Search(node)
    with search.code.loop(math.prod(shape[:axis])) as row:
        if step == 1:
            search.row(row, size)
        else:
            search.columns(row, size, step)
    return CompiledKernel(search.code, [plain(node.x.dtype, shape)], [plain(INT64, node.y.shape)])


class _Search:
    """Writes how the most extreme element is found."""

    def __init__(self, node: Node) -> None:
        self.code, self._dtype = Code(2), node.x.dtype
        self._is_largest = node.op_type == "ArgMax"
        self._is_last = bool(node.attributes.get("select_last_index", 0))

    def _beats(self, one: Number, other: Number, even: bool) -> Number:
        """Whether one is more extreme; ``even``: or as extreme as the other."""
        found = one > other if self._is_largest else one < other
        if self._dtype in FLOATS:
            is_nan = one.differs(one)
            found = found | (is_nan if even else is_nan & ~other.differs(other))
        return found | one.equals(other) if even else found

    def _later(self, at: Number, place: Number, best: Number, where: Number) -> tuple[Number, Number]:
        """The best so far and where it was, once the elements behind ``place`` have been looked at, too."""
        value = self.code.load(self.code.places[0], place, self._dtype, best.lanes)
        is_better = self._beats(value, best, self._is_last)
        return is_better.choose(value, best), is_better.choose(at, where)

    def row(self, row: Number, size: int) -> None:
        """A row that lies together: each lane looks at some of it, the last vector overlaps the one before."""
        code, place = self.code, self.code.places[0]
        lanes = min(compiler().lanes(self._dtype), 1 << (size.bit_length() - 1))
        numbers = joined([code.constant(lane, INT32) for lane in range(lanes)])
        start = row * size
        best, where = code.cell(code.load(place, start, self._dtype, lanes)), code.cell(numbers)

        def look(position: Number) -> None:
            at = numbers + position.converted(INT32).spread(lanes)
            value, index = self._later(at, start + position, best.get(), where.get())
            best.set(value)
            where.set(index)

        whole = size // lanes * lanes
        if whole > lanes:
            with code.loop(whole, lanes, lanes) as position:
                look(position)
        if whole < size:
            look(code.index(size - lanes))
        code.store(self._best_lane(best.get(), where.get()).converted(INT64), code.places[1], row)

    def _best_lane(self, best: Number, where: Number) -> Number:
        while best.lanes > 1:
            half = best.lanes // 2
            one, at = best.part(0, half), where.part(0, half)
            other, there = best.part(half, half), where.part(half, half)
            is_even = self._beats(other, one, True) & self._beats(one, other, True)
            is_sooner = there > at if self._is_last else there < at
            takes = self._beats(other, one, False) | (is_even & is_sooner)
            best, where = takes.choose(other, one), takes.choose(there, at)
        return where

    def columns(self, row: Number, size: int, step: int) -> None:
        """Rows beside each other, one a lane."""
        code, place = self.code, self.code.places[0]
        lanes = min(compiler().lanes(self._dtype), step)

        def piece(position: Number, count: int) -> None:
            first = row * (size * step) + position
            best = code.cell(code.load(place, first, self._dtype, count))
            where = code.cell(code.constant(0, INT32, count))
            with code.loop(size, start=1) as index:
                at = index.converted(INT32).spread(count)
                value, there = self._later(at, first + index * step, best.get(), where.get())
                best.set(value)
                where.set(there)
            code.store(where.get().converted(INT64), code.places[1], row * step + position)

        code.pieces(step, lanes, piece)
