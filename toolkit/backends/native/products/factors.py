"""The factors of large products as they lie in memory, and how they come to lie as the innermost part wants them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number, joined
from toolkit.backends.native.assembly.squares import turned
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.products.blocking import LINE, Cut
from toolkit.backends.native.products.tile import FLOAT32, Panel, width


class Left(Protocol):
    """A left factor."""

    def pack(self, place: str, at: Number, row: Number, start: Number, count: Number) -> None:
        """Write ``count`` numbers of a row from the depth ``start`` on to where ``at`` says."""

    def fetch(self, row: Number, start: Number, count: Number) -> None:
        """Bring what ``pack`` will read near; beyond the end nothing happens."""


class Right(Protocol):
    """A right factor, which lies at a place as a product is cut that it belongs to."""

    def __init__(self, code: Code, place: str, cut: Cut[Number]) -> None: ...

    def block(self, panel: Number, start: Number, count: Number, spare: Panel) -> Panel:
        """``count`` steps of a panel from the depth ``start`` on, packed to ``spare`` unless they lie so already."""

    def fetch(self, panel: Number, start: Number, line: Number) -> None:
        """Bring a line of what ``block`` will read near; beyond the end nothing happens."""


class RowsOfLeft:
    """A left factor row by row; rows lie ``stride`` numbers apart."""

    def __init__(self, code: Code, place: str, stride: Number) -> None:
        self._code, self._place, self._stride = code, place, stride

    def pack(self, place: str, at: Number, row: Number, start: Number, count: Number) -> None:
        code, lanes = self._code, compiler().lanes(FLOAT32)
        source = row * self._stride + start
        whole = count - (count & (lanes - 1))
        with code.loop(whole, lanes) as position:
            code.store(code.load(self._place, source + position, FLOAT32, lanes), place, at + position)
        with code.loop(count, start=whole) as position:
            code.store(code.load(self._place, source + position, FLOAT32), place, at + position)

    def fetch(self, row: Number, start: Number, count: Number) -> None:
        source = row * self._stride + start
        with self._code.loop(count, LINE) as position:
            self._code.prefetch(self._place, source + position, FLOAT32)


class Panels:
    """A right factor packed in panels of ``width()`` columns, which lie ``right_stride`` rows apart."""

    def __init__(self, code: Code, place: str, cut: Cut[Number]) -> None:
        self._code, self._place, self._stride = code, place, cut.right_stride

    def _at(self, panel: Number, start: Number) -> Number:
        return (panel * self._stride + start) * width()

    def block(self, panel: Number, start: Number, count: Number, spare: Panel) -> Panel:
        return Panel(self._place, self._at(panel, start))

    def fetch(self, panel: Number, start: Number, line: Number) -> None:
        self._code.prefetch(self._place, self._at(panel, start) + line * LINE, FLOAT32)


class RowsOfRight:
    """A right factor row by row. Columns that are not there repeat the last one."""

    def __init__(self, code: Code, place: str, cut: Cut[Number]) -> None:
        self._code, self._place, self._stride, self._columns = code, place, cut.right_stride, cut.columns

    def block(self, panel: Number, start: Number, count: Number, spare: Panel) -> Panel:
        code, lanes, first = self._code, compiler().lanes(FLOAT32), panel * width()
        is_whole = first + width() <= self._columns
        with code.where(is_whole), code.loop(count) as step:
            source = (start + step) * self._stride + first
            for vector in range(0, width(), lanes):
                values = code.load(self._place, source + vector, FLOAT32, lanes)
                code.store(values, spare.place, spare.start + step * width() + vector)
        with code.where(~is_whole), code.loop(count) as step, code.loop(width()) as lane:
            column = (first + lane).smaller(self._columns - 1)
            value = code.load(self._place, (start + step) * self._stride + column, FLOAT32)
            code.store(value, spare.place, spare.start + step * width() + lane)
        return spare

    def fetch(self, panel: Number, start: Number, line: Number) -> None:
        self._code.prefetch(self._place, (start + line) * self._stride + panel * width(), FLOAT32)


class ColumnsOfRight:
    """A right factor whose transpose lies row by row. Columns that are not there repeat the last one."""

    def __init__(self, code: Code, place: str, cut: Cut[Number]) -> None:
        self._code, self._place, self._stride, self._columns = code, place, cut.right_stride, cut.columns

    def block(self, panel: Number, start: Number, count: Number, spare: Panel) -> Panel:
        code, lanes = self._code, compiler().lanes(FLOAT32)
        first, last = panel * width(), self._columns - 1
        sources = [(first + lane).smaller(last) * self._stride + start for lane in range(width())]
        squares = count - (count & (lanes - 1))

        def store(values: Number, step: Number, vector: int) -> None:
            code.store(values, spare.place, spare.start + step * width() + vector)

        with code.loop(squares, lanes) as step:
            for vector in range(0, width(), lanes):
                loaded = self._loaded(sources[vector : vector + lanes], step, lanes)
                for ahead, values in enumerate(turned(loaded)):
                    store(values, step + ahead, vector)
        with code.loop(count, start=squares) as step:
            for vector in range(0, width(), lanes):
                store(joined(self._loaded(sources[vector : vector + lanes], step, 1)), step, vector)
        return spare

    def _loaded(self, sources: Sequence[Number], step: Number, count: int) -> list[Number]:
        return [self._code.load(self._place, source + step, FLOAT32, count) for source in sources]

    def fetch(self, panel: Number, start: Number, line: Number) -> None:
        piece = line / width()
        column = panel * width() + (line - piece * width())
        self._code.prefetch(self._place, column * self._stride + start + piece * LINE, FLOAT32)
