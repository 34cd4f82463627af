"""What is fused behind the sums of a product, row by row: ``activation(alpha * sums + bias + residual)``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.elementwise.spelling import ACTIVATIONS
from toolkit.compiler.program import Node

FLOAT32 = np.dtype(np.float32)


def is_usual_ending(node: Node, axis: int = -1) -> bool:
    """Whether everything added has the shape of the result, or of one axis of it, and the activation is known."""
    addends = [item.shape for item in node.inputs[2:] if item is not None]
    usual = ((node.y.shape[axis],), node.y.shape)
    return node.attributes.get("activation", "") in ACTIVATIONS and all(item in usual for item in addends)


def overwritten(node: Node) -> list[tuple[int, int]]:
    """Which of what is added to the sums has the shape of the result, which may be written over it."""
    addends = enumerate(node.inputs[2:], 2)
    return [(0, at) for at, item in addends if item is not None and item.shape == node.y.shape]


@dataclass(frozen=True, slots=True)
class Activation:
    """The function that a node applies last, nothing where it names none."""

    name: str
    parameters: tuple[float, ...]

    @staticmethod
    def of(node: Node) -> Activation:
        """That of a product or a convolution."""
        values = node.attributes
        parameters = tuple(float(values.get(f"activation_{name}", 0.0)) for name in ("alpha", "beta"))
        return Activation(values.get("activation", ""), parameters)

    def __call__(self, total: Number) -> Number:
        return ACTIVATIONS[self.name](total, *self.parameters)


class Sums(NamedTuple):
    """Sums of one row in whole vectors: their place, where there, and the row and the column of the first."""

    place: str
    start: Number
    row: Number
    column: Number


@dataclass(frozen=True, slots=True)
class Ending:
    """What comes behind the sums of a node. ``have_rows``: which of what is added has a row for each of the result."""

    columns: int
    have_rows: tuple[bool, ...]
    alpha: float
    activation: Activation

    @staticmethod
    def of(node: Node) -> Ending:
        """That of a product."""
        shapes = [item.shape for item in node.inputs[2:] if item is not None]
        return Ending(
            node.y.shape[-1],
            tuple(shape == node.y.shape and len(shape) > 1 for shape in shapes),
            float(node.attributes.get("alpha", 1.0)),
            Activation.of(node),
        )

    def write(self, code: Code, sums: Sums, width: int, addends: Sequence[str], target: str) -> None:
        """Finish ``width`` sums, fewer at the end of a row. ``addends`` are the places of what is added.

        The first column is a multiple of ``width``, and that one of a vector.
        """
        lanes = compiler().lanes(FLOAT32)
        whole, rest = divmod(self.columns, lanes)
        vectors = code.index(whole * lanes) - sums.column
        is_whole = vectors >= width
        with code.where(is_whole):
            for vector in range(0, width, lanes):
                self._piece(code, sums, code.index(vector), lanes, addends, target)
        with code.where(~is_whole):
            with code.loop(vectors, lanes) as position:
                self._piece(code, sums, position, lanes, addends, target)
            if rest:
                self._piece(code, sums, vectors, rest, addends, target)

    def _piece(self, code: Code, sums: Sums, position: Number, count: int, addends: Sequence[str], target: str) -> None:
        lanes = compiler().lanes(FLOAT32)
        total = code.load(sums.place, sums.start + position, FLOAT32, lanes)
        column = sums.column + position
        at = sums.row * self.columns + column
        if self.alpha != 1.0:
            total = total * self.alpha
        for place, has_rows in zip(addends, self.have_rows, strict=True):
            total = total + code.load_some(place, at if has_rows else column, FLOAT32, count, lanes)
        code.store_some(self.activation(total), target, at, count)
