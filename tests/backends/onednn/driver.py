"""Runs one node on the oneDNN backend as a plan would: lower, convert the inputs, execute, convert the outputs back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.backends.onednn.backend import OneDNNBackend
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node, Program, Variable

BACKEND = OneDNNBackend()


def aligned(nbytes: int) -> np.ndarray:
    """Bytes full of NaN, so that nothing can rely on their content, aligned as the plan aligns them."""
    raw = np.full(nbytes // 4 + 32, np.nan, np.float32).view(np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + -(-nbytes // 4) * 4]


class HostBuffer:
    """A tensor in host memory of its own."""

    def __init__(self, layout: Layout, memory: np.ndarray) -> None:
        self.layout, self.memory = layout, memory
        self.address = memory.ctypes.data

    @property
    def array(self) -> np.ndarray:
        assert self.layout.is_plain
        return np.ndarray(self.layout.shape, self.layout.dtype, buffer=self.memory)

    def over(self, layout: Layout) -> HostBuffer:
        return HostBuffer(layout, self.memory)


def resources(*, training: bool = False) -> Resources:
    """Two threads and a fixed seed."""
    return Resources(2, 0, training)


def node_of(
    op_type: str,
    arrays: Sequence[np.ndarray | None],
    attributes: dict[str, Any] | None = None,
    *,
    domain: str = "",
    version: int | None = None,
    outputs: int = 1,
    constants: Sequence[int] = (),
) -> Node:
    """A node over variables of the arrays' types; those listed in ``constants`` are known to the compiler."""
    program = Program()
    inputs = [
        None if item is None else Variable(f"x{i}", item.dtype, item.shape, constant=item if i in constants else None)
        for i, item in enumerate(arrays)
    ]
    version = version if version is not None else (23 if domain == "" else 1)
    return program.append(
        op_type, inputs, attributes or {}, domain=domain, version=version, outputs=outputs, layer="it"
    )


@dataclass
class Outcome:
    """What came out, by which kernel, and in which layouts."""

    arrays: list[np.ndarray]
    kernel: Kernel
    layouts: list[Layout | None]

    @property
    def y(self) -> np.ndarray:
        return self.arrays[0]


def convert(buffer: HostBuffer, layout: Layout) -> HostBuffer:
    """The buffer's tensor in another layout."""
    if buffer.layout == layout:
        return buffer
    result = HostBuffer(layout, aligned(layout.nbytes))
    kernel = BACKEND.reorder(buffer.layout, layout, resources())
    workspace = scratch(kernel)  # a bound step knows its address only, so it must stay alive
    assert not kernel.bind([buffer], [result], workspace)()
    return result


def scratch(kernel: Kernel) -> HostBuffer:
    """Scratch memory for a kernel."""
    return HostBuffer(plain(np.dtype(np.uint8), (kernel.workspace,)), aligned(kernel.workspace))


def upload(array: np.ndarray, layout: Layout | None = None) -> HostBuffer:
    """A buffer holding ``array``, in ``layout``."""
    buffer = HostBuffer(plain(array.dtype, array.shape), aligned(array.nbytes))
    buffer.array[...] = array
    return buffer if layout is None else convert(buffer, layout)


def download(buffer: HostBuffer) -> np.ndarray:
    """The content of a buffer in row-major order."""
    return convert(buffer, plain(buffer.layout.dtype, buffer.layout.shape)).array.copy()


def run(
    node: Node, arrays: Sequence[np.ndarray | None], *, lying: dict[int, Layout] | None = None, training: bool = False
) -> Outcome:
    """Execute ``node`` on ``arrays``; ``lying`` says which inputs come in a layout that is not plain."""
    assert BACKEND.supports(node), f"{node} is not supported"
    lent = resources(training=training)
    BACKEND.enter(lent)
    given = [None if item is None else upload(item, (lying or {}).get(i)) for i, item in enumerate(arrays)]
    kernel = BACKEND.lower(node, [None if item is None else item.layout for item in given], lent)
    inputs = [
        None if item is None or wanted is None else convert(item, wanted)
        for item, wanted in zip(given, kernel.inputs, strict=True)
    ]
    outputs: list[HostBuffer | None] = [
        None if layout is None else HostBuffer(layout, aligned(layout.nbytes)) for layout in kernel.outputs
    ]
    for out, source in [*kernel.aliases, *([kernel.accumulates] if kernel.accumulates else [])]:
        shared, layout = inputs[source], kernel.outputs[out]
        assert shared is not None
        assert layout is not None
        outputs[out] = shared.over(layout)
    workspace = scratch(kernel)
    step = kernel.bind(inputs, outputs, workspace)
    status = None if kernel.is_free else step()
    assert not isinstance(status, int) or status == 0
    return Outcome([download(item) for item in outputs if item is not None], kernel, list(kernel.outputs))
