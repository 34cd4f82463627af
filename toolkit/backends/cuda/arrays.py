"""The long tail: operators that no other family has a kernel for compute their reference, on CuPy arrays.

A reference is the same function on every device (``operator``); here its inputs are arrays over the context's memory,
and its results are copied to where the plan wants them. What it makes in between comes out of ``Scratch``. Left to the
host: whatever ``refusal`` has a reason for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from toolkit.backends.cuda import library
from toolkit.backends.cuda.layouts import on_device
from toolkit.backends.cuda.memory import DeviceBlock
from toolkit.backends.cuda.queue import queue_of
from toolkit.backends.cuda.registry import KERNELS, kernel
from toolkit.backends.cuda.uncapturable import UNCAPTURABLE
from toolkit.backends.protocol import Buffer, Kernel, Layout, Resources, Step
from toolkit.compiler.program import Node
from toolkit.operators import REGISTRY, load_everything, wire
from toolkit.operators.record import canonical_domain

LIBRARY = "CuPy"

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
GRANULE = 512  # bytes: CuPy's own pool gives out no smaller pieces, and its kernels rely on the alignment
LEAST_BLOCK = 1 << 20  # bytes
SETTINGS = (bool, int, float, str, bytes, np.ndarray, np.generic, type(None))


class Scratch:
    """Memory for what references make on their way, from the first byte again in every step.

    Steps of one queue run one after the other, and nothing made in a step outlives it, so all of them share the blocks.
    A step that was executed once asks for the same pieces ever after: recorded into a graph, it allocates nothing and
    finds its pieces at the same addresses. The blocks live as long as the context.
    """

    def __init__(self) -> None:
        self._blocks: list[DeviceBlock] = []
        self._number = self._used = 0

    def restart(self) -> None:
        """Everything given out so far is free."""
        self._number = self._used = 0

    def take(self, nbytes: int) -> Any:
        """A CuPy memory pointer to ``nbytes`` that nobody else in this step uses; CuPy's form of an allocator."""
        cupy: Any = library.module("cupy")
        size = -(-max(nbytes, 1) // GRANULE) * GRANULE
        while self._number < len(self._blocks) and self._used + size > self._blocks[self._number].nbytes:
            self._number, self._used = self._number + 1, 0
        if self._number == len(self._blocks):
            self._blocks.append(DeviceBlock(max(size, LEAST_BLOCK)))
        block, start = self._blocks[self._number], self._used
        self._used += size
        return cupy.cuda.MemoryPointer(cupy.cuda.UnownedMemory(block.address, block.nbytes, block, 0), start)


class ReferenceKernel(Kernel):
    """A reference on the device. Inputs that it reads as plain numbers are constants, which never get there."""

    name = "CuPy"

    def __init__(self, node: Node, resources: Resources) -> None:
        record = node.record
        assert record is not None and record.reference is not None
        self.inputs = [
            None if item is None or index in record.host_inputs else on_device(item.dtype, item.shape)
            for index, item in enumerate(node.inputs)
        ]
        self.outputs = [None if item is None else on_device(item.dtype, item.shape) for item in node.outputs]
        self.is_capturable = (canonical_domain(node.domain), node.op_type) not in UNCAPTURABLE
        self._reference, self._attributes = record.reference, dict(node.attributes)
        self._numbers = {
            index: item.constant for index, item in enumerate(node.inputs) if item and index in record.host_inputs
        }
        self._scratch = resources.own("cuda scratch", Scratch)
        self._queue = queue_of(resources)

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        given = [self._numbers.get(index, item and item.array) for index, item in enumerate(inputs)]
        targets = [None if item is None else item.array for item in outputs]
        reference, attributes, scratch = self._reference, self._attributes, self._scratch
        using_allocator = library.module("cupy").cuda.using_allocator
        self._queue.array_stream.use()  # from now on whenever the queue is entered

        def step() -> None:
            scratch.restart()
            with using_allocator(scratch.take):
                result = reference(*given, **attributes)
                results = result if isinstance(result, tuple) else (result,)
                for target, value in zip(targets, results, strict=False):
                    if target is not None:
                        np.copyto(target, value, casting="same_kind")

        return step


class ViewKernel(Kernel):
    """Nothing to do: the output is the input's memory."""

    name = "view"
    aliases = ((0, 0),)
    is_free = True

    def __init__(self, node: Node) -> None:
        self.inputs = [on_device(node.x.dtype, node.x.shape), *[None] * (len(node.inputs) - 1)]
        self.outputs = [on_device(node.y.dtype, node.y.shape)]

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        return lambda: None


def refusal(node: Node) -> str:
    """Why a node is left to the host, ``""`` where it is not."""
    record = node.record
    if record is None:
        return "onnx.reference serves it"
    if record.why_on_host():
        return record.why_on_host()
    read = [item for index, item in enumerate(node.inputs) if item is not None and index not in record.host_inputs]
    numbers = [node.inputs[index] for index in record.host_inputs if index < len(node.inputs)]
    if not read:
        return "it reads no tensor"
    if any(item is not None and item.constant is None for item in numbers):
        return "what it reads as plain numbers is computed"
    for item in (*read, *(item for item in node.outputs if item is not None)):
        if not _has_type(item.dtype):
            return f"CuPy has no {item.dtype}"
        if 0 in item.shape:
            return "a tensor has no elements"
    named = node.attributes.get("to")
    if isinstance(named, int) and not _has_type(wire.element_dtype(named)):
        return f"CuPy has no {wire.element_dtype(named)}"
    if node.attributes.get("reduction") == "mul":
        return "CuPy scatters no products"
    if not all(_is_setting(value) for value in node.attributes.values()):
        return "an attribute is a graph"
    return ""


def _has_type(dtype: np.dtype) -> bool:
    return dtype == BFLOAT16 or (dtype.kind in "biufc" and dtype.isbuiltin == 1 and dtype.char != "g")


def _is_setting(value: Any) -> bool:
    return all(map(_is_setting, value)) if isinstance(value, (list, tuple)) else isinstance(value, SETTINGS)


def _lower(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    assert node.record is not None
    return ViewKernel(node) if node.record.is_view else ReferenceKernel(node, resources)


def has_kernel(node: Node) -> bool:
    """Whether the device has a kernel for a node, beyond its reference on CuPy arrays."""
    entry = KERNELS.entry_of(node)
    return entry is not None and (entry.lower is not _lower or (node.record is not None and node.record.is_view))


load_everything()
for _domain, _name in REGISTRY:
    kernel(_domain, _name, accepts=lambda node: not refusal(node), is_fallback=True)(_lower)
