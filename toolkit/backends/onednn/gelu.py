"""The approximate Gelu without a tanh: x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3), which is the same number.

The library's own function computes a tanh by tables, which takes three times as long on AVX2. One pass over memory, in
place: behind products as well, where it follows as a primitive of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit.backends.onednn.memory import dense
from toolkit.backends.onednn.primitive import (
    DST,
    LINEAR,
    LOGISTIC,
    MULTIPLY,
    SRC,
    SRC_1,
    Binary,
    Eltwise,
    Primitive,
    attributes,
    chain,
    describe,
    post_operand,
)
from toolkit.backends.onednn.registry import FLOAT32
from toolkit.backends.protocol import Buffer, Kernel, Layout, Step
from toolkit.operators.standard.activation import GELU_CUBE, GELU_SLOPE

ENOUGH = 1 << 12  # elements, from which what is saved outweighs one more call


def is_worthwhile(layout: Layout) -> bool:
    """Whether a tensor is large enough, and float32."""
    return layout.dtype == FLOAT32 and layout.nbytes >= ENOUGH * FLOAT32.itemsize


class ApproximateGelu(Kernel):
    """The function of whatever lies in memory, padding included; a result may take the memory of what it is of."""

    in_place = ((0, 0),)
    is_shared = True

    def __init__(self, layout: Layout, input_count: int = 1) -> None:
        self.inputs, self.outputs = [layout, *[None] * (input_count - 1)], [layout]
        self._vector = dense(FLOAT32, (layout.nbytes // FLOAT32.itemsize,))
        again = Binary(MULTIPLY, self._vector)
        cubic = Eltwise(LINEAR, 2 * GELU_SLOPE * GELU_CUBE, 2 * GELU_SLOPE)
        after = attributes([cubic, again, Eltwise(LOGISTIC), again])
        self._primitive = Primitive(describe("binary", MULTIPLY, *[self._vector] * 3, attribute=after))
        self.name, self.workspace = self._primitive.implementation, self._primitive.scratch_nbytes

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        source, target = inputs[0], outputs[0]
        assert source is not None and target is not None
        places = dict.fromkeys((SRC, SRC_1, post_operand(1), post_operand(3)), (self._vector, source.address))
        places[DST] = (self._vector, target.address)
        return self._primitive.bind(places, 0 if workspace is None else workspace.address)


class FollowedByGelu(Kernel):
    """A kernel of sums, and the function over its only result."""

    def __init__(self, kernel: Kernel) -> None:
        layout = kernel.outputs[0]
        assert layout is not None
        self._kernel, self._gelu = kernel, ApproximateGelu(layout)
        self.name, self.inputs, self.outputs = kernel.name, kernel.inputs, kernel.outputs
        self.in_place, self.accumulates = kernel.in_place, kernel.accumulates
        self.workspace, self.is_shared = max(kernel.workspace, self._gelu.workspace), kernel.is_shared

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Any) -> Step:
        first = self._kernel.bind(inputs, outputs, workspace)
        return chain([first, self._gelu.bind(outputs, outputs, workspace)])
