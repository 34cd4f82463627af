"""Which kernels the backend has: ``@kernel(domain, operator)`` beside each, nothing else to edit."""

from __future__ import annotations

import numpy as np

from toolkit.backends.kernel_table import KernelTable
from toolkit.backends.onednn.memory import MAX_RANK
from toolkit.compiler.program import Node, Variable
from toolkit.operators.precision import HALF_WIDTH

FLOAT32 = np.dtype(np.float32)


def is_float32(node: Node) -> bool:
    """Whether every tensor of the node is float32, not empty, and of a rank that oneDNN knows."""
    present = [item for item in (*node.inputs, *node.outputs) if item is not None]
    return all(item.dtype == FLOAT32 and item.size > 0 and len(item.shape) <= MAX_RANK for item in present)


def is_float(node: Node) -> bool:
    """As ``is_float32``, or with tensors of one type of half width, which others of float32 may stand beside.

    Whether this processor has a kernel for half width is asked for each node by lowering it: see ``OneDNNBackend``.
    """
    present = [item for item in (*node.inputs, *node.outputs) if item is not None]
    fits = all(item.size > 0 and len(item.shape) <= MAX_RANK for item in present)
    return fits and len({item.dtype for item in present} - {FLOAT32}) <= 1 and all(map(_is_float, present))


def is_uniform(node: Node) -> bool:
    """As ``is_float``, all tensors of one type; constants of one number are no tensors, they are read beforehand."""
    tensors = [item for item in (*node.inputs, *node.outputs) if item is not None]
    types = {item.dtype for item in tensors if item.constant is None or item.size != 1}
    return len(types) == 1 and is_float(node)


def _is_float(variable: Variable) -> bool:
    return variable.dtype == FLOAT32 or variable.dtype in HALF_WIDTH


def is_half_width(node: Node) -> bool:
    """Whether the node reads or writes tensors of half width."""
    return any(item is not None and item.dtype in HALF_WIDTH for item in (*node.inputs, *node.outputs))


KERNELS = KernelTable(__package__, is_float32)
kernel = KERNELS.kernel
