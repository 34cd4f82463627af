"""The backend ``cpu``: oneDNN's kernels for what it is good at; placement gives the rest to numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from toolkit.backends.host import HostBackend
from toolkit.backends.onednn.library import load
from toolkit.backends.onednn.memory import ACTIVATION_TAGS, channels_last
from toolkit.backends.onednn.registry import KERNELS, is_half_width
from toolkit.backends.onednn.reorder import reorder_kernel
from toolkit.backends.onednn.threads import Alone, is_small, is_small_copy, use_threads
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node, Variable
from toolkit.errors import BackendError


class OneDNNBackend(HostBackend):
    """Kernels of oneDNN on host memory. Raises ``BackendError`` where the library is missing."""

    name = "cpu"

    def __init__(self) -> None:
        self.multiplies_bytes = load().multiplies_bytes

    def supports(self, node: Node) -> bool:
        return KERNELS.entry_of(node) is not None and (not is_half_width(node) or self._offers(node))

    def _offers(self, node: Node) -> bool:
        """Whether this processor has more than plain loops for a node of half width: its kernel, made and looked at.

        Pooling has none for row-major order, in which its input will hardly lie.
        """
        lent = Resources(1, training=node.role != "forward")
        for laid in (_in_rows, _channels_last):
            try:
                made = self.lower(node, [None if item is None else laid(item) for item in node.inputs], lent)
            except BackendError:
                continue
            if not made.name.startswith(("ref", "simple")):
                return True
        return False

    def lower(self, node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
        entry = KERNELS.entry_of(node)
        assert entry is not None, f"{node} was not placed here"
        return _made(lambda: entry.lower(node, inputs, resources), resources.threads, is_small(node))

    def reorder(self, source: Layout, target: Layout, resources: Resources) -> Kernel:
        return _made(lambda: reorder_kernel(source, target, resources), resources.threads, is_small_copy(source))

    def enter(self, resources: Resources) -> None:
        """Set the OpenMP threads of the calling thread; primitives are tuned for the number they are made with."""
        use_threads(resources.threads)


def _made(make: Callable[[], Kernel], threads: int, is_small: bool) -> Kernel:
    """A kernel for all threads of a context, or for one where a node is small."""
    if threads == 1 or not is_small:
        return make()
    use_threads(1)
    try:
        return Alone(make(), threads)
    finally:
        use_threads(threads)


def _in_rows(variable: Variable) -> Layout:
    return plain(variable.dtype, variable.shape)


def _channels_last(variable: Variable) -> Layout:
    is_image = len(variable.shape) in ACTIVATION_TAGS
    return channels_last(variable.dtype, variable.shape) if is_image else _in_rows(variable)
