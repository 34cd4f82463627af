"""Large products of matrices, block by block as the caches want it, by a team of threads.

A thread has some rows of the result, or some of its panels. For a group of its rows it goes through its panels: one
block of a panel after the other stays in the first cache while all rows of the group pass by, and meanwhile the next
block is fetched into the second. The left factor is packed when the first panel meets it, as deep as the second cache
allows. The sums of one panel (of all, where the depth is done in several passes) lie in the workspace until they are
complete. Then a function of the kernel's own makes the result of them.

All this is one function for products of all sizes, compiled once: what is said of a size stands in a table.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import INDEX, Number
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.products.blocking import Cut
from toolkit.backends.native.products.factors import Left, Right, RowsOfLeft
from toolkit.backends.native.products.tile import DEPTH, FLOAT32, Panel, width

FINISHING = 4  # whole numbers that a finishing function is given: row, rows, column, and where the sums begin


class _Group(NamedTuple):
    """Blocks of rows ``first`` to ``last``, from ``row`` on, in one pass: ``depth`` steps from ``start`` on.

    ``packed``, ``sums`` and ``spare`` are where the parts of the workspace begin.
    """

    first: Number
    last: Number
    row: Number
    start: Number
    depth: Number
    packed: Number
    sums: Number
    spare: Number


class _Turn(NamedTuple):
    """One block of a panel: the panel, whether it is the thread's first, which block of the pass, the panel's sums."""

    panel: Number
    is_first: Number
    block: Number
    sums: Number


@cache
def blocked_function(right: type[Right]) -> str:
    """The name of a function for ``Code.invoke`` that computes a thread's share of a product.

    - Places: the left factor row by row, the ``right`` one as it lies, the workspace, the table of the ``Cut``, the
      ``tile_function`` of its blocks and that of the higher ones, the kernel's table of addresses and its finishing
      function. That is given the table, and ``FINISHING`` numbers: from ``row`` on ``rows`` rows of sums of
      ``width()`` columns from ``column`` on lie in the workspace from ``start`` on, one behind the other.
    - Numbers: the thread and how many there are.
    """
    code = Code(8, numbers=2)
    _Writer(code, right).write()
    return compiler().name(code.text())


class _Writer:
    """Writes the function."""

    def __init__(self, code: Code, kind: type[Right]) -> None:
        left, right, self._workspace, table, self._tile, self._higher, self._table, self._finish = code.places
        self._code = code
        self._number, self._count = code.numbers
        self._cut = Cut(*(code.load(table, index, INDEX) for index in range(len(Cut._fields))))
        self._left: Left = RowsOfLeft(code, left, self._cut.left_stride)
        self._right = kind(code, right, self._cut)

    def write(self) -> None:
        code, cut = self._code, self._cut
        base = self._number * cut.size
        with code.loop(cut.across * cut.along, self._count, start=self._number) as share:
            across = share / cut.along
            along = share - across * cut.along
            begin, end = (item * cut.blocks / cut.across for item in (across, across + 1))
            panels = along * cut.panels / cut.along, (along + 1) * cut.panels / cut.along
            with code.loop(end, cut.group, start=begin) as first, code.loop(cut.passes) as turn:
                last = (first + cut.group).smaller(end)
                deepest = cut.pass_steps * cut.step
                start = turn * deepest
                depth = (cut.depth - start).smaller(deepest)
                parts = base, base + cut.sums_at, base + cut.spare_at
                self._pass(_Group(first, last, self._row(first), start, depth, *parts), panels)

    def _row(self, block: Number) -> Number:
        """The first row of a block."""
        return block * self._cut.height + block.smaller(self._cut.higher)

    def _pass(self, group: _Group, panels: tuple[Number, Number]) -> None:
        code, cut = self._code, self._cut
        rows = self._row(group.last) - group.row
        with code.loop(panels[1], start=panels[0]) as panel:
            sums = group.sums + (panel - panels[0]) * cut.kept_size
            with code.where(group.start.equals(0)):
                self._clear(sums, rows * width())
            with code.loop((group.depth + cut.step - 1) / cut.step) as index:
                self._block(group, _Turn(panel, panel.equals(panels[0]), index, sums))

    def _clear(self, start: Number, count: Number) -> None:
        code, lanes = self._code, compiler().lanes(FLOAT32)
        zero = code.constant(0.0, FLOAT32, lanes)
        with code.loop(count, lanes) as at:
            code.store(zero, self._workspace, start + at)

    def _block(self, group: _Group, step: _Turn) -> None:
        """All rows of a group by one block of a panel."""
        code, cut, right, work = self._code, self._cut, self._right, self._workspace
        start = group.start + step.block * cut.step
        end = group.start + group.depth
        count = (end - start).smaller(cut.step)
        found = right.block(step.panel, start, count, Panel(work, group.spare))
        is_last = start + count >= end
        panel_ahead = is_last.choose(step.panel + 1, step.panel)
        ahead = is_last.choose(group.start, start + cut.step)
        is_complete = start + count >= cut.depth
        packed = group.packed + step.block * cut.block_size
        with code.loop(group.last, start=group.first) as block:
            row = self._row(block)
            height = self._row(block + 1) - row
            own = row - group.row
            mine, sums = packed + own * DEPTH, step.sums + own * width()
            with code.loop(cut.lines) as line:
                right.fetch(panel_ahead, ahead, (block - group.first) * cut.lines + line)
            with code.where(step.is_first), code.loop(height) as item:
                self._left.fetch(row + height + item, start, count)
                self._left.pack(work, mine + item * DEPTH, row + item, start, count)
            places = (work, mine), found, (work, sums)
            given = [code.address(place, at, FLOAT32) for place, at in places]
            is_higher = block < cut.higher
            with code.where(is_higher):
                code.invoke_at(self._higher, given, [count])
            with code.where(~is_higher):
                code.invoke_at(self._tile, given, [count])
            with code.where(is_complete):
                code.invoke_at(self._finish, [self._table], [row, height, step.panel * width(), sums])
