"""Which kernels the backend has: ``@kernel(domain, operator)`` beside each, nothing else to edit."""

from __future__ import annotations

import numpy as np

from toolkit.backends.kernel_table import KernelTable
from toolkit.backends.native.assembly.number import BOOLEAN, NUMBERS
from toolkit.compiler.program import Node

FLOAT32 = np.dtype(np.float32)


def is_of_numbers(node: Node) -> bool:
    """Whether every tensor of the node is of a type that fits into a register, and not empty."""
    present = [item for item in (*node.inputs, *node.outputs) if item is not None]
    return all(item.size > 0 and (item.dtype in NUMBERS or item.dtype == BOOLEAN) for item in present)


def is_of_float32(node: Node) -> bool:
    """Whether every tensor of the node is of float32, and not empty."""
    present = [item for item in (*node.inputs, *node.outputs) if item is not None]
    return is_of_numbers(node) and all(item.dtype == FLOAT32 for item in present)


KERNELS = KernelTable(__package__, is_of_numbers)
kernel = KERNELS.kernel
