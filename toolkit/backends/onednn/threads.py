"""The number of OpenMP threads, which oneDNN reads when a primitive is made and when it is executed.

OpenMP keeps the number per calling thread: whoever makes or runs primitives in a thread of their own sets it there.
Waking a second thread and waiting for it costs a few microseconds, and much more beside a program that keeps a core
busy: what takes less alone is made for one thread, and executed by one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

from toolkit.backends.onednn.library import load
from toolkit.backends.protocol import Bracket, Bracketed, Buffer, Kernel, Layout, NativeCall, Step
from toolkit.compiler.program import Node
from toolkit.compiler.work import CONVOLUTIONS, PRODUCTS, products
from toolkit.operators.standard.recurrent_layer import STATES

ENOUGH_WORK = 16_000  # operations on elements, about as many nanoseconds, from which a second thread is worth waking
PER_NANOSECOND = 32  # multiplications and additions of a product in the time of one operation on an element
COSTS = {  # operations on each element of the largest tensor
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Max", "Min", "Abs", "Neg", "Sqrt"), 0.3),
    **dict.fromkeys(("Relu", "LeakyRelu", "PRelu", "Clip"), 0.3),
    **dict.fromkeys(("Sigmoid", "Tanh", "Elu", "HardSigmoid", "HardSwish", "Gelu", "GeluTanh", "Silu", "Mish"), 1.0),
    **dict.fromkeys(("Exp", "Reciprocal", "Round", "OnGrid", "Cast", "RoundToType", "Transpose"), 1.0),
    **dict.fromkeys(
        ("Softmax", "LogSoftmax", "LayerNormalization", "BatchNormalization", "InstanceNormalization"), 2.0
    ),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "ReduceSum", "Sum"), 1.0),
    **dict.fromkeys(("Resize", "Upsample", "Interpolation"), 4.0),
}
POOLS = ("MaxPool", "AveragePool")
SMALL_STEP = 4096  # products in each step of a recurrent layer, before which the threads would have to meet


def use_threads(count: int) -> None:
    """Let primitives that the calling thread makes or executes from now on use ``count`` threads."""
    load().set_thread_count(count)


def is_small(node: Node) -> bool:
    """Whether one thread is done with a node before a second one could help; false for what is not listed here."""
    if node.op_type in PRODUCTS or node.op_type in CONVOLUTIONS:
        return products(node) < ENOUGH_WORK * PER_NANOSECOND and _largest(node) < ENOUGH_WORK * 8
    if node.op_type in POOLS:
        return node.y.size * math.prod(node.attributes.get("kernel_shape", ())) < ENOUGH_WORK
    if node.op_type == "Recurrent":
        if len(node.outputs) > 1 + STATES[node.attributes["kind"]]:
            return False  # the gradient reads what this kernel keeps, as it is for all threads
        directions, step = _recurrent_step(node)
        return step < SMALL_STEP * directions and node.x.shape[0] * step < ENOUGH_WORK * PER_NANOSECOND
    return _largest(node) * COSTS.get(node.op_type, float("inf")) < ENOUGH_WORK


def is_small_copy(layout: Layout) -> bool:
    """The same of a conversion between layouts."""
    return layout.nbytes < ENOUGH_WORK * layout.dtype.itemsize


def _recurrent_step(node: Node) -> tuple[int, int]:
    """The directions of a recurrent layer, and the products of all of them in one step."""
    recurrent = node.inputs[2]
    assert recurrent is not None
    return recurrent.shape[0], recurrent.size * node.x.shape[1]


def _largest(node: Node) -> int:
    return max(item.size for item in (*node.inputs, *node.outputs) if item is not None)


class Alone(Kernel):
    """A kernel made for one thread, in a context of ``threads``."""

    def __init__(self, kernel: Kernel, threads: int) -> None:
        self._kernel, self._bracket = kernel, _one_thread(threads)
        self.name, self.inputs, self.outputs = kernel.name, kernel.inputs, kernel.outputs
        self.workspace, self.is_free, self.is_shared = kernel.workspace, kernel.is_free, kernel.is_shared
        self.in_place, self.accumulates, self.aliases = kernel.in_place, kernel.accumulates, kernel.aliases

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Any) -> Step:
        return Bracketed(self._kernel.bind(inputs, outputs, workspace), self._bracket)


@cache
def _one_thread(threads: int) -> Bracket:
    """From the threads of a context to one and back."""
    count = load().set_thread_count
    return Bracket(NativeCall(count, 1, has_status=False), NativeCall(count, threads, has_status=False))
