"""The gradients of the inputs of all gates in all steps, in panels: as the products for the weights read them.

Each gate has panels of its own, of as many hidden units as ``Blocks`` takes columns at once, with a row for each time
and sequence. What a last panel has beyond the hidden units is never written, and its products are never stored.
"""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.products.blocks import Matrix
from toolkit.backends.native.recurrent.sequences import Unit


@dataclass(frozen=True, slots=True)
class GradPanels:
    """``gates`` of ``hidden`` units, ``width`` a panel, each panel of ``rows`` rows, from ``start`` on."""

    place: str
    start: Number
    gates: int
    hidden: int
    width: int
    rows: int

    @property
    def of_gate(self) -> int:
        """The panels of a gate."""
        return -(-self.hidden // self.width)

    @property
    def count(self) -> int:
        """All numbers."""
        return self.gates * self.of_gate * self.rows * self.width

    def panel(self, number: Number, row: Number) -> Matrix:
        """One of all panels, from a row on."""
        return Matrix(self.place, self.start + (number * self.rows + row) * self.width, self.width)

    def store(self, unit: Unit, value: Number, gate: int, row: Number) -> None:
        """The gradients of some units of a gate; ``row`` is that of the first sequence of the step."""
        inside = unit.position / self.width
        panel = self.panel(inside + gate * self.of_gate, row + unit.row)
        at = panel.at(0, unit.position - inside * self.width)
        unit.walk.code.store_some(value, self.place, at, unit.count)
