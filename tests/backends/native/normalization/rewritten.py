"""Programs around a normalisation by statistics of the batch, executed before and after a pass has changed them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.support.interpret import interpret
from toolkit.compiler.program import Program, Variable

SHAPE = (2, 3, 4, 5)
FLOAT32 = np.dtype(np.float32)


class Rewritten:
    """A program of the native backend on random images and vectors."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)
        self.program = Program(layer="it")
        self.feeds: dict[Variable, np.ndarray] = {}

    def images(self, count: int) -> list[Variable]:
        return [self._given(self.random.standard_normal(SHAPE)) for _ in range(count)]

    def vectors(self, count: int) -> list[Variable]:
        """One positive number for each channel."""
        return [self._given(self.random.uniform(0.5, 1.5, SHAPE[1:2])) for _ in range(count)]

    def _given(self, array: np.ndarray) -> Variable:
        item = Variable(f"x{len(self.feeds)}", FLOAT32, array.shape)
        self.program.inputs[item.name] = item
        self.feeds[item] = array.astype(np.float32)
        return item

    def finish(self, made: Sequence[Variable | None]) -> None:
        """Name the outputs, and give every node to the backend."""
        self.program.outputs = {str(index): item for index, item in enumerate(made) if item is not None}
        for node in self.program.nodes:
            node.backend = "native"

    def results(self) -> Sequence[np.ndarray]:
        return interpret(self.program, self.feeds, list(self.program.outputs.values()))
