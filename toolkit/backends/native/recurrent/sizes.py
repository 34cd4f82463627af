"""The sizes of a recurrent layer, as its node and the node of its gradient tell them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from toolkit.backends.native.compilation.compiler import compiler
from toolkit.compiler.program import Node
from toolkit.operators.standard.recurrent_layer import STATES

FLOAT32 = np.dtype(np.float32)
PARTS = {"GRU": ((0, 2), (2, 1)), "LinearGRU": ((0, 2), (2, 1))}
MANY = 8  # sequences from which weights that come from far away serve enough of them


class Sizes(NamedTuple):
    """``first_reverse`` is the first direction that goes backwards; some cells have one bias more than gates."""

    kind: str
    steps: int
    batch: int
    size: int
    directions: int
    gates: int
    hidden: int
    first_reverse: int

    @classmethod
    def of(cls, node: Node) -> Sizes:
        x, w = node.inputs[:2]
        assert x is not None and w is not None
        steps, batch, size = x.shape
        directions, _, gates, hidden = w.shape
        first_reverse = 0 if node.attributes.get("direction", "forward") == "reverse" else 1
        return cls(node.attributes["kind"], steps, batch, size, directions, gates, hidden, first_reverse)

    @property
    def biases(self) -> int:
        return self.gates + (self.kind == "LinearGRU")

    @property
    def parts(self) -> tuple[tuple[int, int], ...]:
        """First gate and gates of what meets R together."""
        return PARTS.get(self.kind, ((0, self.gates),))

    @property
    def products(self) -> int:
        """Multiplications of the way forward."""
        return self.directions * self.steps * self.batch * (self.size + self.hidden) * self.width

    @property
    def width(self) -> int:
        """The numbers of a sequence in a step, for all gates."""
        return self.gates * self.hidden


def lanes_of(node: Node) -> int:
    """How many hidden units a vector has, where they come in whole ones."""
    recurrent = node.inputs[2]
    assert recurrent is not None
    return math.gcd(recurrent.shape[-1], compiler().lanes(FLOAT32))


def is_kept(node: Node) -> bool:
    """Whether the node keeps anything for a gradient."""
    return any(item is not None for item in node.outputs[1 + STATES[node.attributes["kind"]] :])
