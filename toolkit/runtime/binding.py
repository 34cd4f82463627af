"""Binding: the buffers of a plan's tensors, and its kernels as calls on them."""

from __future__ import annotations

from toolkit.backends.protocol import Step
from toolkit.errors import malformed, naming
from toolkit.runtime.devices import Devices
from toolkit.runtime.store import Store
from toolkit.runtime.tensors import AnyBuffer, ObjectBuffer, Task, Tensor, host_buffer


class Binding:
    """Binds tasks to the memory of ``devices`` and of a ``store``."""

    def __init__(self, devices: Devices, store: Store) -> None:
        self.devices = devices
        self.store = store

    def buffer(self, item: Tensor | None) -> AnyBuffer | None:
        """The buffer of a tensor; a view gets one of its own layout over its root's memory."""
        if item is None:
            return None
        root = item.base()
        if root.buffer is None:
            if root.storage == "kept":
                root.buffer = self.store.buffers[root.key]
            elif root.storage == "gradient":
                root.buffer = self.store.gradients[root.key].over(root.layout)
            else:
                root.buffer = self.devices.fresh(root.layout)
        if item is root:
            return root.buffer
        if isinstance(root.buffer, ObjectBuffer):
            return host_buffer(item.layout, root.buffer.array.reshape(item.layout.shape))
        return root.buffer.over(item.layout)

    def step(self, task: Task, scratch: AnyBuffer | None) -> Step:
        """The kernel of a task bound to its memory."""
        inputs, outputs = ([self.buffer(item) for item in items] for items in (task.inputs, task.outputs))
        with naming(lambda why: malformed(task.operator, task.layer, why)):
            return task.kernel.bind(inputs, outputs, scratch)
