"""Matrices in panels of columns: the layouts of what products multiply by, made once for each content.

Panel after panel, each row by row, ``width`` numbers a row; the last panel is filled up with zeros. The weight of a
convolution is seen as a matrix with a row for each output channel.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from toolkit.backends.protocol import Kernel, Layout, Resources, Step, plain
from toolkit.compiler.program import Variable


class Packed(ABC):
    """A layout of this backend, as ``Layout.opaque``."""

    @abstractmethod
    def shape(self, given: tuple[int, ...]) -> tuple[int, ...]:
        """The axes in the order in which they lie, of a tensor of the shape ``given``."""

    @abstractmethod
    def packing(self, source: Layout, target: Layout, resources: Resources) -> Kernel:
        """What writes a tensor that lies in rows this way."""

    def layout(self, variable: Variable | None) -> Layout:
        """How a variable lies."""
        assert variable is not None, "what is packed is there"
        nbytes = math.prod(self.shape(variable.shape)) * variable.dtype.itemsize
        return Layout(variable.dtype, variable.shape, nbytes, self, is_derived=True)


class Rearranged(Packed):
    """The numbers of a tensor in another order, which numpy knows how to copy."""

    @abstractmethod
    def fill(self, target: np.ndarray, source: np.ndarray) -> None:
        """Write a tensor into memory of ``shape``."""

    def packing(self, source: Layout, target: Layout, resources: Resources) -> Kernel:
        return Rearrange(source, target)


@dataclass(frozen=True, slots=True)
class Panels(Rearranged):
    """Panels of ``width`` columns; ``is_turned``: the matrix has a row for each column of the product."""

    width: int
    is_turned: bool

    def shape(self, given: tuple[int, ...]) -> tuple[int, ...]:
        rows, rest = given[0], math.prod(given[1:])
        depth, columns = (rest, rows) if self.is_turned else (rows, rest)
        return -(-columns // self.width), depth, self.width

    def fill(self, target: np.ndarray, source: np.ndarray) -> None:
        rows = source.reshape(source.shape[0], -1)
        matrix = rows.T if self.is_turned else rows
        for panel, start in zip(target, range(0, matrix.shape[1], self.width), strict=True):
            part = matrix[:, start : start + self.width]
            panel[:, : part.shape[1]] = part
            panel[:, part.shape[1] :] = 0


@dataclass(frozen=True, slots=True)
class GatePanels(Rearranged):
    """A weight (directions, depth, gates, hidden) of a recurrent layer by ``width`` hidden units, all gates of them."""

    width: int

    def shape(self, given: tuple[int, ...]) -> tuple[int, ...]:
        directions, depth, gates, hidden = given
        return directions, hidden // self.width, depth, gates, self.width

    def fill(self, target: np.ndarray, source: np.ndarray) -> None:
        directions, depth, gates, hidden = source.shape
        apart = source.reshape(directions, depth, gates, hidden // self.width, self.width)
        target[...] = apart.transpose(0, 3, 1, 2, 4)


@dataclass(frozen=True, slots=True)
class LayerPanels(Rearranged):
    """The same weight by panels of ``width`` columns, for each direction those of all ``parts`` one behind the other.

    A part has so many gates from a first one on, and a column for each hidden unit of them.
    """

    width: int
    parts: tuple[tuple[int, int], ...]

    def shape(self, given: tuple[int, ...]) -> tuple[int, ...]:
        directions, depth, _, hidden = given
        return directions, sum(-(-gates * hidden // self.width) for _, gates in self.parts), depth, self.width

    def fill(self, target: np.ndarray, source: np.ndarray) -> None:
        directions, depth, _, _ = source.shape
        panels = iter(target.swapaxes(0, 1))
        for first, gates in self.parts:
            matrix = source[:, :, first : first + gates].reshape(directions, depth, -1)
            for start in range(0, matrix.shape[-1], self.width):
                panel, part = next(panels), matrix[:, :, start : start + self.width]
                panel[..., : part.shape[-1]] = part
                panel[..., part.shape[-1] :] = 0


class Rearrange(Kernel):
    """From rows to another order."""

    name = "pack"
    is_shared = True

    def __init__(self, source: Layout, target: Layout) -> None:
        assert source.is_plain and isinstance(target.opaque, Rearranged), "only what lies in rows is packed"
        self.inputs, self.outputs, self._packed = [source], [target], target.opaque

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any], workspace: Any) -> Step:
        source, target = inputs[0], outputs[0]
        lying = plain(source.layout.dtype, self._packed.shape(source.layout.shape))
        return partial(self._packed.fill, target.over(lying).array, source.array)
