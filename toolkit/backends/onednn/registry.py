"""Which kernels the backend has: ``@kernel(domain, operator)`` beside each, nothing else to edit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.backends.onednn.memory import MAX_RANK
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node

Lower = Callable[[Node, Sequence[Layout | None], Resources], Kernel]
Accepts = Callable[[Node], bool]
FLOAT32 = np.dtype(np.float32)


@dataclass(frozen=True, slots=True)
class Entry:
    """How to lower an operator, and which of its nodes."""

    lower: Lower
    accepts: Accepts


KERNELS: dict[tuple[str, str], Entry] = {}


def is_float32(node: Node) -> bool:
    """Whether every tensor of the node is float32, not empty, and of a rank that oneDNN knows."""
    present = [item for item in (*node.inputs, *node.outputs) if item is not None]
    return all(item.dtype == FLOAT32 and item.size > 0 and len(item.shape) <= MAX_RANK for item in present)


def kernel(domain: str, *operators: str, accepts: Accepts = is_float32) -> Callable[[Lower], Lower]:
    """Register a lowering function for operators of a domain; ``accepts`` says for which of their nodes."""

    def register(lower: Lower) -> Lower:
        for operator in operators:
            KERNELS[domain, operator] = Entry(lower, accepts)
        return lower

    return register
