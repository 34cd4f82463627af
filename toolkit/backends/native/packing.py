"""Matrices in panels of columns: the layout of what products multiply by, made once for each content.

Panel after panel, each row by row, ``width`` numbers a row; the last panel is filled up with zeros. The weight of a
convolution is seen as a matrix with a row for each output channel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.backends.protocol import Kernel, Layout, Step, plain
from toolkit.compiler.program import Variable


@dataclass(frozen=True, slots=True)
class Panels:
    """``is_turned``: the matrix has a row for each column of the product."""

    width: int
    is_turned: bool

    def layout(self, matrix: Variable | None) -> Layout:
        """How a matrix lies in panels."""
        assert matrix is not None, "a product has two factors"
        rows, rest = matrix.shape[0], math.prod(matrix.shape[1:])
        depth, columns = (rest, rows) if self.is_turned else (rows, rest)
        numbers = -(-columns // self.width) * self.width * depth
        return Layout(matrix.dtype, matrix.shape, numbers * matrix.dtype.itemsize, self)


class Pack(Kernel):
    """From rows to panels."""

    name = "pack"

    def __init__(self, source: Layout, target: Layout) -> None:
        assert source.is_plain and isinstance(target.opaque, Panels), "only what lies in rows is packed"
        self.inputs, self.outputs, self._panels = [source], [target], target.opaque

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any], workspace: Any) -> Step:
        source, target = inputs[0], outputs[0]
        rows = source.array.reshape(source.layout.shape[0], -1)
        matrix = rows.T if self._panels.is_turned else rows
        depth, columns = matrix.shape
        width = self._panels.width
        panels = target.over(plain(source.layout.dtype, (-(-columns // width), depth, width))).array

        def step() -> None:
            for panel, start in zip(panels, range(0, columns, width), strict=True):
                part = matrix[:, start : start + width]
                panel[:, : part.shape[1]] = part
                panel[:, part.shape[1] :] = 0

        return step
