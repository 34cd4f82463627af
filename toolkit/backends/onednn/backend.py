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
    rounding,
    softmax,
)
from toolkit.backends.onednn.library import load
from toolkit.backends.onednn.registry import KERNELS, is_half_width
from toolkit.backends.onednn.reorder import reorder_kernel
from toolkit.backends.onednn.threads import use_threads
from toolkit.backends.protocol import Backend, Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node
from toolkit.errors import BackendError
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
    rounding,
    softmax,
)


class OneDNNBackend(Backend):
    """Kernels of oneDNN on host memory. Raises ``BackendError`` where the library is missing."""

    name = "cpu"

    def __init__(self) -> None:
        load()

    def supports(self, node: Node) -> bool:
        entry = KERNELS.get((canonical_domain(node.domain), node.op_type))
        if entry is None or not entry.accepts(node):
            return False
        return not is_half_width(node) or self._offers(node)

    def _offers(self, node: Node) -> bool:
        """Whether this processor has more than plain loops for a node of half width: its kernel, made and looked at."""
        layouts = [None if item is None else plain(item.dtype, item.shape) for item in node.inputs]
        try:
            made = self.lower(node, layouts, Resources(1, training=node.role != "forward"))
        except BackendError:
            return False
        return not made.name.startswith(("ref", "simple"))

    def lower(self, node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
        return KERNELS[canonical_domain(node.domain), node.op_type].lower(node, inputs, resources)

    def reorder(self, source: Layout, target: Layout, resources: Resources) -> Kernel:
        return reorder_kernel(source, target, resources)

    def enter(self, resources: Resources) -> None:
        """Set the OpenMP threads of the calling thread; primitives are tuned for the number they are made with."""
        use_threads(resources.threads)
