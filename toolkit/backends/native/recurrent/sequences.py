"""What both ways through the steps of many sequences share: places, memory, and threads with sequences of their own.

A thread takes its sequences through all steps, so that none waits for another until what concerns all sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.products.blocks import Blocks, Matrix, Panels
from toolkit.backends.native.recurrent.sizes import FLOAT32, Sizes
from toolkit.backends.protocol import Layout

COUNTER = 16  # floats at the beginning of the workspace, of which the barrier uses the first
LINE = 16  # floats of a line of the caches
LEAST_SEQUENCES = 2  # of a thread


@dataclass(frozen=True, slots=True)
class Unit:
    """Hidden units of one sequence, ``count`` from ``position`` on, in one vector."""

    walk: Walk
    row: Number
    position: Number
    count: int

    def load(self, matrix: Matrix, gate: int = 0) -> Number:
        """The units of a row, behind those of ``gate`` gates."""
        at = matrix.at(self.row, self.position + gate * self.walk.sizes.hidden)
        return self.walk.code.load_some(matrix.place, at, FLOAT32, self.count, self.walk.lanes, matrix.column_step)

    def store(self, value: Number, matrix: Matrix, gate: int = 0) -> None:
        at = matrix.at(self.row, self.position + gate * self.walk.sizes.hidden)
        self.walk.code.store_some(value, matrix.place, at, self.count)


class Walk:
    """The code of a kernel, its places by tensor (``""`` for what it does not touch), and its workspace."""

    def __init__(
        self, sizes: Sizes, threads: int, inputs: Sequence[Layout | None], outputs: Sequence[Layout | None]
    ) -> None:
        self.sizes, self.lanes = sizes, compiler().lanes(FLOAT32)
        touched = [item is not None for item in (*inputs, *outputs)]
        self.code = Code(sum(touched) + 1)
        places = iter(self.code.places)
        found = [next(places) if is_there else "" for is_there in touched]
        self.given, self.made = found[: len(inputs)], found[len(inputs) :]
        self.scratch = next(places)
        self.blocks = Blocks(self.code)
        self._threads = threads = max(1, min(threads, sizes.batch // LEAST_SEQUENCES))
        self.team = Team(self.code, threads, self.scratch)
        self._groups = 1 if self.team.is_alone else threads
        self._reserved = COUNTER

    @property
    def most_rows(self) -> int:
        """Sequences of a thread, where one has more than another of that one."""
        return -(-self.sizes.batch // self._groups)

    # memory -----------------------------------------------------------------------------------------------------------

    @property
    def workspace(self) -> int:
        """Bytes."""
        return self._reserved * FLOAT32.itemsize

    def reserve(self, count: int) -> int:
        """Numbers of the workspace; returns the first."""
        start = self._reserved
        self._reserved += -(-count // LINE) * LINE
        return start

    def reserve_rows(self, gates: int = 1) -> Matrix:
        """Hidden units of each sequence, or several gates of them."""
        width = gates * self.sizes.hidden
        return Matrix(self.scratch, self.code.index(self.reserve(self.sizes.batch * width)), width)

    def outside(self, place: str, direction: Number, first: Number) -> Matrix:
        """States in a tensor of the node, from a sequence on."""
        return Matrix(place, (direction * self.sizes.batch + first) * self.sizes.hidden, self.sizes.hidden)

    def own_scratch(self, count: int) -> Number:
        """Numbers of the workspace for each thread; returns the first of this one."""
        threads = 1 if self.team.is_alone else self._threads
        size = -(-count // LINE) * LINE
        return self.team.number * size + self.reserve(threads * size)

    def zero(self) -> Number:
        return self.code.constant(0.0, FLOAT32, self.lanes)

    def known(self, place: str, depth: int, parts: Sequence[tuple[int, int]]) -> list[Callable[[Number], Panels]]:
        """Where the parts of a weight of a direction lie that was packed before, see ``LayerPanels``."""
        counts = [gates * self.sizes.hidden for _, gates in parts]
        starts = list(accumulate((self.blocks.size(depth, count) for count in counts), initial=0))

        def panels(start: int, count: int) -> Callable[[Number], Panels]:
            return lambda direction: Panels(place, direction * starts[-1] + start, depth, count)

        return [panels(start, count) for start, count in zip(starts, counts, strict=False)]

    def packed(self, source: Matrix, step: int, depth: int, columns: int) -> Callable[[Number], Panels]:
        """Pack a matrix of each direction, ``step`` elements apart; returns where that of a direction lies."""
        size = self.blocks.size(depth, columns)
        start = self.reserve(self.sizes.directions * size)

        def panels(direction: Number) -> Panels:
            return Panels(self.scratch, direction * size + start, depth, columns)

        with self.code.loop(self.sizes.directions) as direction:
            self.blocks.pack(source.further(direction * step), panels(direction), self.team.share)
        return panels

    # work -------------------------------------------------------------------------------------------------------------

    def each_group(self, body: Callable[[Number, int], None]) -> None:
        """``body(first sequence, how many)`` for the sequences of this thread."""
        code, groups = self.code, self._groups
        low, more = divmod(self.sizes.batch, groups)
        begin, end = self.team.share(groups)
        with code.loop(end, start=begin) as group:
            first = group * low + group.smaller(more)
            if not more:
                body(first, low)
                return
            for rows, condition in ((low + 1, group < more), (low, group >= more)):
                with code.where(condition):
                    body(first, rows)

    def is_reverse(self, direction: Number) -> Number:
        """Whether a direction begins with the last time."""
        return direction >= self.sizes.first_reverse

    def sweep(self, rows: int, body: Callable[[Unit], None]) -> None:
        """``body`` for all hidden units of some sequences."""
        with self.code.loop(rows) as row:
            self.code.pieces(
                self.sizes.hidden, self.lanes, lambda position, count: body(Unit(self, row, position, count))
            )

    def move(self, source: Matrix, target: Matrix, rows: int) -> None:
        """Copy the hidden units of some sequences."""
        self.sweep(rows, lambda unit: unit.store(unit.load(source), target))

    def fill(self, target: Matrix, rows: int, columns: int, place: str = "", start: Number | int = 0) -> None:
        """Set every row to the numbers from ``start`` on, or to zeros where no place is named."""

        def body(position: Number, count: int) -> None:
            value = self.code.constant(0.0, FLOAT32, self.lanes)
            if place:
                value = self.code.load_some(place, position + start, FLOAT32, count, self.lanes)
            with self.code.loop(rows) as row:
                self.code.store_some(value, target.place, target.at(row, position), count)

        self.code.pieces(columns, self.lanes, body)

    def clear(self, place: str, count: int) -> None:
        """Set numbers to zero, each thread some of them."""
        vectors, rest = divmod(count, self.lanes)
        begin, end = self.team.share(vectors)
        zero = self.code.constant(0.0, FLOAT32, self.lanes)
        with self.code.loop(end, start=begin) as vector:
            self.code.store(zero, place, vector * self.lanes)
        if rest:
            with self.code.where(self.team.number.equals(0)):
                self.code.store_some(zero, place, self.code.index(count - rest), rest)
