"""Which kernels the backend has: ``@kernel(domain, operator)`` beside each, nothing else to edit."""

from __future__ import annotations

import sys

from toolkit.backends.kernel_table import KernelTable
from toolkit.compiler.program import Node


def is_numeric(node: Node) -> bool:
    """Whether no tensor of the node holds strings or other objects, and none is random."""
    record = node.record
    present = [item for item in (*node.inputs, *node.outputs) if item is not None]
    return not (record is not None and record.is_random) and all(item.dtype != object for item in present)


KERNELS = KernelTable(__package__, is_numeric, is_remembered=False)  # one module serves every operator there is
kernel = KERNELS.kernel


def libraries(domain: str, operator: str) -> list[str]:
    """Who has kernels for some nodes of an operator: what its families name as ``LIBRARY``, ours where they do not."""
    homes = (sys.modules[entry.lower.__module__] for entry in KERNELS.entries(domain, operator))
    return list(dict.fromkeys(getattr(home, "LIBRARY", "CUDA C") for home in homes))
