"""Sharing bytes: which tensors of a plan may, or must, use the memory of another.

In-place kernels overwrite an input that nobody reads later; accumulating kernels must, so their input is copied first
when it is still needed; gradients that an optimizer reads are computed right where the store keeps them.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from toolkit.backends.protocol import Layout
from toolkit.compiler.program import UPDATE_ROLES, Variable
from toolkit.runtime.devices import Devices
from toolkit.runtime.store import Store
from toolkit.runtime.tensors import Task, Tensor

END = 1 << 60  # later than every task


def gradient_layouts(tasks: Sequence[Task], pins: Sequence[tuple[Variable, Hashable]]) -> dict[Hashable, Layout]:
    """In which layout, and so on which device, each gradient (variable, key) is read by what moves the parameters."""
    keys = dict(pins)
    found: dict[Hashable, Layout] = {}
    for task in tasks:
        for item in task.inputs if task.role in UPDATE_ROLES and task.node is not None else ():
            if item is not None and item.variable in keys:
                found.setdefault(keys[item.variable], item.layout)
    return found


def pin_gradients(
    tasks: Sequence[Task], pins: Sequence[tuple[Variable, Hashable]], store: Store, devices: Devices
) -> list[Task]:
    """Let each gradient (variable, key) be computed in the store's buffer for its key; returns the new task list."""
    result = list(tasks)
    for variable, key in pins:
        place = store.gradients.get(key)
        if place is None:
            continue
        for position, task in enumerate(result):
            if task.role not in UPDATE_ROLES or task.node is None:
                continue
            for index, item in enumerate(task.inputs):
                if item is None or item.variable is not variable:
                    continue
                root = item.base()
                if root.storage == "arena" and _is_alike(root.layout, place.layout):
                    root.storage, root.key = "gradient", key
                elif root.storage != "gradient" or root.key != key:
                    pinned = Tensor(variable, item.layout, "gradient", key)
                    copy = devices.conversion(item, pinned, task.layer, "Copy", "backward")
                    result.insert(position, copy)
                    task.inputs[index] = pinned
                break
    return result


def share_memory(tasks: Sequence[Task], outputs: Sequence[Tensor], devices: Devices) -> list[Task]:
    """Merge tensors as the kernels allow and demand; returns the tasks with the copies that became necessary."""
    last = _last_reads(tasks, outputs)
    result: list[Task] = []
    for position, task in enumerate(tasks):
        kernel = task.kernel
        if kernel.accumulates is not None:
            out, source = kernel.accumulates
            made, given = task.outputs[out], task.inputs[source]
            if made is not None and given is not None and not _merge(made, given, position, last, task):
                copy = Tensor(given.variable, given.layout)
                result.append(devices.conversion(given, copy, task.layer, "Copy", task.role))
                task.inputs[source] = copy
                made.root = copy
                last[copy] = last.get(made, position)
        for out, source in kernel.in_place:
            made, given = task.outputs[out], task.inputs[source]
            if made is not None and given is not None and _merge(made, given, position, last, task):
                break
        result.append(task)
    return result


def _is_alike(layout: Layout, other: Layout) -> bool:
    """Whether a tensor of one layout can lie where the other was meant to."""
    return layout.nbytes == other.nbytes and layout.device == other.device


def _last_reads(tasks: Sequence[Task], outputs: Sequence[Tensor]) -> dict[Tensor, int]:
    """The position of the last task that reads or writes each root; ``END`` for what the caller reads."""
    last: dict[Tensor, int] = {}
    for position, task in enumerate(tasks):
        for item in (*task.inputs, *task.outputs):
            if item is not None:
                last[item.base()] = position
    for item in outputs:
        last[item.base()] = END
    return last


def _merge(made: Tensor, given: Tensor, position: int, last: dict[Tensor, int], task: Task) -> bool:
    """Give ``made`` the memory of ``given`` if nobody needs that any more."""
    root = given.base()
    if made.root is not None or made.storage != "arena" or root.storage != "arena":
        return False
    if last[root] != position or made.layout.nbytes > root.layout.nbytes or made.layout.device != root.layout.device:
        return False
    if sum(item is not None and item.base() is root for item in task.inputs) > 1:
        return False
    if any(item is not None and item is not made and item.base() is root for item in task.outputs):
        return False
    made.root = root
    last[root] = max(position, last.pop(made, position))
    return True
