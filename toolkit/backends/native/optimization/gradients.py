"""What is asked of many tensors at once: whether all of their elements are finite, and the sum of their squares.

They lie in whatever layout, whose padding holds zeros, and are looked at in blocks that the threads share. What is
found in each block is kept, and put together in order: it does not depend on how many threads there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import FLOATS, INDEX, Number
from toolkit.backends.native.assembly.team import WORTH_A_THREAD, Team
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.registry import kernel
from toolkit.backends.protocol import Buffer, Kernel, Layout, NativeCall, Resources, Step, plain
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN

FLOAT64 = np.dtype(np.float64)
BLOCK = 1 << 16  # bytes
VECTORS = 4  # that are folded beside each other, so that none waits for the one before


class Question(NamedTuple):
    """What is asked: elements read as ``stored``, ``seen`` as numbers of another type, and folded from 0 on."""

    stored: np.dtype
    kept: np.dtype
    seen: Callable[[Number], Number]
    fold: Callable[[Number, Number], Number]


def magnitude(dtype: np.dtype) -> Question:
    """The bits of the largest element without its sign; no finite one has more than infinity, NaN has."""
    bits = np.dtype(f"int{8 * dtype.itemsize}")
    return Question(bits, bits, lambda x: x & int(np.iinfo(bits).max), Number.larger)


def square(dtype: np.dtype) -> Question:
    """The sum of squares, in float64."""
    return Question(dtype, FLOAT64, lambda x: _squared(x.converted(FLOAT64)), lambda one, other: one + other)


def _squared(x: Number) -> Number:
    return x * x


class Blocks:
    """The blocks of buffers of one type, ready to be asked by ``call``; ``found`` has the answer of each."""

    def __init__(self, buffers: Sequence[Any], question: Question, threads: int) -> None:
        size, rows = question.stored.itemsize, []
        for item in buffers:
            end = item.address + item.layout.nbytes
            rows += [(start, min(BLOCK, end - start) // size) for start in range(item.address, end, BLOCK)]
        table = np.array(rows, np.int64).reshape(-1, 2)
        self.found = np.zeros(len(rows), question.kept)
        number = np.array([len(rows)], np.int64)
        places = np.array([table.ctypes.data, number.ctypes.data, self.found.ctypes.data], np.int64)
        code = _written(question, threads if table[:, 1].sum() >= WORTH_A_THREAD else 1)
        function = compiler().function(code.text())
        self.call = NativeCall(function, places.ctypes.data, kept=(places, table, number))


def _written(question: Question, threads: int) -> Code:
    """The kernel: its places are the table of blocks, how many there are, and what is found in each."""
    code = Code(3)
    table, number, found = code.places
    begin, end = Team(code, threads).share(code.load(number, 0, INDEX))
    with code.loop(end, start=begin) as block:
        place = code.result(f"load ptr, ptr {code.address(table, block * 2, INDEX)}")
        code.store(_folded(code, question, place, code.load(table, block * 2 + 1, INDEX)), found, block)
    return code


def _folded(code: Code, question: Question, place: str, count: Number) -> Number:
    """Vectors as long as there are whole ones, then element by element."""
    lanes = compiler().lanes(question.kept) * VECTORS
    together = code.cell(code.constant(0, question.kept, lanes))
    alone = code.cell(code.constant(0, question.kept))
    whole = count - (count & (lanes - 1))
    for cell, width, (start, stop) in ((together, lanes, (code.index(0), whole)), (alone, 1, (whole, count))):
        with code.loop(stop, width, start) as at:
            seen = question.seen(code.load(place, at, question.stored, width))
            cell.set(question.fold(cell.get(), seen))
    total = together.get()
    while total.lanes > 1:
        half = total.lanes // 2
        total = question.fold(total.part(0, half), total.part(half, half))
    return question.fold(total, alone.get())


def finiteness(buffers: Sequence[Any], resources: Resources) -> Callable[[], bool]:
    """Look for NaN and infinity in floats of any width; the looks are kept with the context, by where they lie."""
    looks: dict[tuple[tuple[int, int], ...], list[tuple[Blocks, int]]] = resources.own("native looks", dict)
    key = tuple((item.address, item.layout.nbytes) for item in buffers)
    if key not in looks:
        looks[key] = _looks(buffers, resources.threads)

    def answer() -> bool:
        for blocks, limit in looks[key]:
            blocks.call()
            if int(blocks.found.max(initial=0)) >= limit:
                return False
        return True

    return answer


def guard(buffers: Sequence[Any], resources: Resources) -> list[Step]:
    """The same as calls that have a status where a number is not finite."""
    calls: list[Step] = []
    for blocks, limit in _looks(buffers, resources.threads):
        calls += [blocks.call, _verdict(blocks.found, limit)]
    return calls


def _looks(buffers: Sequence[Any], threads: int) -> list[tuple[Blocks, int]]:
    """Blocks to be asked for magnitudes, by element type, and from which of these on a number is not finite."""
    by_type: dict[np.dtype, list[Any]] = {}
    for item in buffers:
        by_type.setdefault(item.layout.dtype, []).append(item)
    return [(Blocks(items, magnitude(dtype), threads), _bits_of_infinity(dtype)) for dtype, items in by_type.items()]


def _verdict(found: np.ndarray, limit: int) -> NativeCall:
    """A call that refuses magnitudes from ``limit`` on."""
    code = Code(2)
    number, magnitudes = code.places
    with code.loop(code.load(number, 0, INDEX)) as at:
        code.refuse(code.load(magnitudes, at, found.dtype) >= limit)
    count = np.array([len(found)], np.int64)
    places = np.array([count.ctypes.data, found.ctypes.data], np.int64)
    return NativeCall(compiler().function(code.text()), places.ctypes.data, kept=(places, count, found))


def _bits_of_infinity(dtype: np.dtype) -> int:
    return int(np.full(1, np.inf, dtype).view(f"int{8 * dtype.itemsize}")[0])


class SumOfSquaresKernel(Kernel):
    """The squares of tensors in whatever layout."""

    name = "compiled"

    def __init__(self, inputs: Sequence[Layout | None], result: np.dtype, threads: int) -> None:
        self.inputs, self.outputs, self._threads = list(inputs), [plain(result, ())], threads

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        given, target = [item for item in inputs if item is not None], outputs[0]
        assert target is not None
        blocks = Blocks(given, square(given[0].layout.dtype), self._threads)
        total, found, call = target.array, blocks.found, blocks.call

        def run() -> None:
            call()
            total[...] = found.sum()

        return run


def _is_of_one_type(node: Node) -> bool:
    types = {item.dtype for item in node.inputs if item is not None}
    return len(types) == 1 and types.issubset(FLOATS)


@kernel(TOOLKIT_DOMAIN, "SumOfSquares", accepts=_is_of_one_type)
def lower_sum_of_squares(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    return SumOfSquaresKernel(inputs, node.y.dtype, resources.threads)
