"""The backend ``cuda``: kernels on one GPU; placement gives what it has no kernel for to the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from toolkit.backends.cuda.arrays import has_kernel
from toolkit.backends.cuda.attention import serves
from toolkit.backends.cuda.capture import captured
from toolkit.backends.cuda.crossing import StreamCrossing
from toolkit.backends.cuda.device import device
from toolkit.backends.cuda.elementwise import shapes_of
from toolkit.backends.cuda.finiteness import finiteness
from toolkit.backends.cuda.layouts import DEVICE
from toolkit.backends.cuda.memory import DeviceMemory
from toolkit.backends.cuda.queue import queue_of
from toolkit.backends.cuda.recurrent import share_weights
from toolkit.backends.cuda.registry import KERNELS
from toolkit.backends.cuda.transfer import transfer
from toolkit.backends.protocol import Backend, Kernel, Layout, Resources, Step
from toolkit.compiler.passes.attention_spellings import form_attention
from toolkit.compiler.passes.elementwise_regions import form_elementwise_regions
from toolkit.compiler.passes.expansion import expand_slow_operators
from toolkit.compiler.program import Node, Program

MILLISECONDS = 1e-3


class CudaBackend(Backend):
    """Kernels of cuDNN, cublasLt and our own on device memory."""

    name = "cuda"
    device = DEVICE
    memory = DeviceMemory()

    def supports(self, node: Node) -> bool:
        return KERNELS.entry_of(node) is not None

    def arrange(self, program: Program) -> None:
        expand_slow_operators(program, self.name, has_kernel)
        share_weights(program, self.name)
        form_attention(program, self.name, serves)
        form_elementwise_regions(program, self.name, shapes_of)

    def lower(self, node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
        entry = KERNELS.entry_of(node)
        assert entry is not None, f"{node} was not placed here"
        return entry.lower(node, inputs, resources)

    def reorder(self, source: Layout, target: Layout, resources: Resources) -> Kernel:
        return transfer(source, target, resources)

    def enter(self, resources: Resources) -> None:
        queue_of(resources).enter()

    def synchronise(self, resources: Resources) -> None:
        queue_of(resources).synchronise()

    def fuse(self, steps: Sequence[Step], resources: Resources) -> Step | None:
        return captured(steps, queue_of(resources))

    def finiteness(self, buffers: Sequence[Any], resources: Resources) -> Callable[[], bool]:
        self.enter(resources)
        return finiteness(buffers, resources)

    def crossing(self, resources: Resources) -> StreamCrossing:
        return StreamCrossing(resources)

    def mark(self, resources: Resources) -> Event:
        return Event(queue_of(resources).stream)


class Event:
    """A moment of a stream."""

    def __init__(self, stream: Any) -> None:
        with device().active() as driver:
            self._event = driver.Event()
            self._event.record(stream)

    def since(self, earlier: Event) -> float:
        return self._event.time_since(earlier._event) * MILLISECONDS
