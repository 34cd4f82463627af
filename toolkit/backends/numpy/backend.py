"""The numpy backend: plain layouts, and a kernel for whatever has a reference.

Frequent operators have kernels that write into planned memory (``direct``); the others call their reference and copy
the result (``NumpyKernel``). Operators without a record are served by onnx.reference, and say so in ``explain``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from toolkit.backends.host import HostBackend
from toolkit.backends.numpy.bound import Direct
from toolkit.backends.numpy.direct import direct_of
from toolkit.backends.protocol import Buffer, Kernel, Layout, Resources, Step, plain
from toolkit.compiler.program import Node
from toolkit.errors import BackendError
from toolkit.operators.long_tail import reference_for


class NumpyBackend(HostBackend):
    """Kernels on host arrays in row-major order."""

    name = "numpy"
    widens = True
    is_entered = False

    def supports(self, node: Node) -> bool:
        return _reference(node) is not None

    def lower(self, node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
        record = node.record
        if record is not None and record.is_view:
            return ViewKernel(node)
        direct = direct_of(node.domain, node.op_type)
        bound = None if direct is None else direct(node)
        if bound is not None:
            return ViewKernel(node) if bound.is_same else DirectKernel(node, bound)
        return NumpyKernel(node, resources)

    def reorder(self, source: Layout, target: Layout, resources: Resources) -> Kernel:
        if not (source.is_plain and target.is_plain):
            raise BackendError(
                f"numpy cannot convert between {source} and {target}: only row-major order is known to it."
            )
        return CopyKernel(source)

    def enter(self, resources: Resources) -> None:
        """Nothing belongs to the thread: numpy's own pools are the process's."""


def _reference(node: Node) -> Callable[..., Any] | None:
    record = node.record
    if record is not None and record.reference is not None:
        return record.reference
    return reference_for(node.domain, node.op_type, node.version, node.attributes)


class _PlainKernel(Kernel):
    """A kernel whose every tensor is dense and row-major."""

    def __init__(self, node: Node) -> None:
        self.inputs = [None if item is None else plain(item.dtype, item.shape) for item in node.inputs]
        self.outputs = [None if item is None else plain(item.dtype, item.shape) for item in node.outputs]


class ViewKernel(_PlainKernel):
    """Nothing to do: the output is the input's memory."""

    name = "view"
    aliases = ((0, 0),)
    is_free = True

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.inputs = [self.inputs[0]] + [None] * (len(node.inputs) - 1)

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        return _nothing


def _nothing() -> None:
    """The step of a kernel that has none."""


class DirectKernel(_PlainKernel):
    """A kernel that writes into its outputs without temporary arrays."""

    name = "numpy"

    def __init__(self, node: Node, direct: Direct) -> None:
        super().__init__(node)
        self._direct = direct
        self.in_place = direct.in_place

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        arrays = [None if item is None else item.array for item in inputs]
        results = [None if item is None else item.array for item in outputs]
        return self._direct.bind(arrays, results)


class NumpyKernel(_PlainKernel):
    """The reference, its results copied to where the plan wants them."""

    def __init__(self, node: Node, resources: Resources) -> None:
        super().__init__(node)
        record = node.record
        reference = _reference(node)
        assert reference is not None
        self.name = "numpy" if record is not None and record.reference is not None else "onnx.reference"
        self._reference = reference
        self._attributes = dict(node.attributes)
        if record is not None and record.is_random:
            self._attributes["random"] = resources.random

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        arrays = [None if item is None else item.array for item in inputs]
        targets = [None if item is None else item.array for item in outputs]
        reference, attributes = self._reference, self._attributes

        def step() -> None:
            result = reference(*arrays, **attributes)
            results = result if isinstance(result, tuple) else (result,)
            for target, value in zip(targets, results, strict=False):
                if target is not None:
                    np.copyto(target, value, casting="same_kind")

        return step


class CopyKernel(Kernel):
    """A plain copy of a tensor."""

    name = "copy"

    def __init__(self, layout: Layout) -> None:
        self.inputs = [layout]
        self.outputs = [layout]

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        source, target = inputs[0], outputs[0]
        assert source is not None
        assert target is not None
        from_array, to_array = source.array, target.array
        return lambda: np.copyto(to_array, from_array)
