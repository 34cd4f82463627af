"""The backend ``native``: small nodes of programs that only compute forward, and optimizer steps of any size, compiled
when they are lowered.

Whether a node is better off here is a question of the whole program (what lies around it, how small it is), so the
backend takes its nodes over from others once all are placed. Others do the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from toolkit.backends.host import HostBackend, HostBuffer
from toolkit.backends.native.batched.product import stacks_win
from toolkit.backends.native.elementwise.region import shapes_of
from toolkit.backends.native.inverted_residual.forming import form_inverted_residuals
from toolkit.backends.native.kernel import NAME
from toolkit.backends.native.normalization.clipping import take_in_clips
from toolkit.backends.native.normalization.residuals import take_in_sums
from toolkit.backends.native.optimization.gradients import finiteness, guard
from toolkit.backends.native.products.packing import Packed
from toolkit.backends.native.registry import KERNELS
from toolkit.backends.native.selection import LIBRARY, SLOW, take_small_nodes
from toolkit.backends.numpy.backend import CopyKernel
from toolkit.backends.protocol import Kernel, Layout, Resources, Step
from toolkit.compiler.passes.attention_spellings import form_attention
from toolkit.compiler.passes.elementwise_regions import form_elementwise_regions
from toolkit.compiler.program import Node, Program


class NativeBackend(HostBackend):
    """Kernels on host memory, compiled for this processor when a program is lowered."""

    name = NAME
    is_entered = False
    is_judge = True

    def supports(self, node: Node) -> bool:
        """Never: see ``arrange``."""
        return False

    def arrange(self, program: Program) -> None:
        """Form attention, take over what is small, let normalisations clip and add, and form regions of it."""
        if stacks_win():
            form_attention(program, self.name, _is_served, (LIBRARY, SLOW), is_exact=True)
        take_small_nodes(program)
        form_inverted_residuals(program, self.name, _is_served, (LIBRARY,))
        take_in_clips(program, self.name)
        take_in_sums(program, self.name)
        form_elementwise_regions(program, self.name, shapes_of)

    def lower(self, node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
        entry = KERNELS.entry_of(node)
        assert entry is not None, f"{node} was not placed here"
        return entry.lower(node, inputs, resources)

    def owns(self, layout: Layout) -> bool:
        return isinstance(layout.opaque, Packed)

    def reorder(self, source: Layout, target: Layout, resources: Resources) -> Kernel:
        packed = target.opaque
        return packed.packing(source, target, resources) if isinstance(packed, Packed) else CopyKernel(source)

    def finiteness(self, buffers: Sequence[HostBuffer], resources: Resources) -> Callable[[], bool]:
        return finiteness(buffers, resources)

    def guard(self, buffers: Sequence[HostBuffer], resources: Resources) -> list[Step]:
        return guard(buffers, resources)

    def enter(self, resources: Resources) -> None:
        """Nothing belongs to the thread: kernels that want others say how many when they call them."""


def _is_served(node: Node) -> bool:
    return KERNELS.entry_of(node) is not None
