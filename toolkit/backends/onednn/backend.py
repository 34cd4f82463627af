"""The backend ``cpu``: oneDNN's kernels for what it is good at; placement gives the rest to numpy."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.backends.onednn import (
    activation,
    convolution,
    dropout,
    elementwise,
    linear,
    movement,
    normalization,
    optimization,
    pooling,
    quantized,
    recurrent,
    reduction,
    softmax,
)
from toolkit.backends.onednn.library import load
from toolkit.backends.onednn.registry import KERNELS
from toolkit.backends.onednn.reorder import reorder_kernel
from toolkit.backends.onednn.threads import use_threads
from toolkit.backends.protocol import Backend, Kernel, Layout, Resources
from toolkit.compiler.program import Node
from toolkit.operators.record import canonical_domain

# Importing a family registers its kernels.
FAMILIES = (
    activation,
    convolution,
    dropout,
    elementwise,
    linear,
    movement,
    normalization,
    optimization,
    pooling,
    quantized,
    recurrent,
    reduction,
    softmax,
)


class OneDNNBackend(Backend):
    """Kernels of oneDNN on host memory. Raises ``BackendError`` where the library is missing."""

    name = "cpu"

    def __init__(self) -> None:
        load()

    def supports(self, node: Node) -> bool:
        entry = KERNELS.get((canonical_domain(node.domain), node.op_type))
        return entry is not None and entry.accepts(node)

    def lower(self, node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
        return KERNELS[canonical_domain(node.domain), node.op_type].lower(node, inputs, resources)

    def reorder(self, source: Layout, target: Layout, resources: Resources) -> Kernel:
        return reorder_kernel(source, target, resources)

    def enter(self, resources: Resources) -> None:
        """Set the OpenMP threads of the calling thread; primitives are tuned for the number they are made with."""
        use_threads(resources.threads)
