"""The factors of large products as they lie in memory, and how they come to lie as the innermost part wants them."""

from __future__ import annotations

from typing import Protocol

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.products.blocking import LINE
from toolkit.backends.native.products.tile import FLOAT32, Panel, width


class Left(Protocol):
    """A left factor."""

    def pack(self, place: str, at: Number, row: Number, start: Number, count: Number) -> None:
        """Write ``count`` numbers of a row from the depth ``start`` on to where ``at`` says."""

    def fetch(self, row: Number, start: Number, count: Number) -> None:
        """Bring what ``pack`` will read near; beyond the end nothing happens."""


class Right(Protocol):
    """A right factor."""

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
    """A right factor packed in panels of ``width()`` columns, which lie ``stride`` rows apart."""

    def __init__(self, code: Code, place: str, stride: Number) -> None:
        self._code, self._place, self._stride = code, place, stride

    def _at(self, panel: Number, start: Number) -> Number:
        return (panel * self._stride + start) * width()

    def block(self, panel: Number, start: Number, count: Number, spare: Panel) -> Panel:
        return Panel(self._place, self._at(panel, start))

    def fetch(self, panel: Number, start: Number, line: Number) -> None:
        self._code.prefetch(self._place, self._at(panel, start) + line * LINE, FLOAT32)
