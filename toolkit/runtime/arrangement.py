"""The arrangement of a plan: its tasks in order, and where in an arena each tensor will lie once there is memory.

So the size of a plan can be known without making it. Until a gradient is computed, what lies in the store's memory for
it is what the forward pass keeps: a step needs the one no more when it has the other.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from toolkit.backends.protocol import Backend, Resources
from toolkit.compiler.memory import Lifetime, Region, plan_arena
from toolkit.compiler.program import Program, Variable
from toolkit.graph.parameter import Parameter
from toolkit.runtime.devices import Devices
from toolkit.runtime.lowering import Lowering
from toolkit.runtime.sharing import gradient_layouts, pin_gradients, share_memory
from toolkit.runtime.store import GradientBlock, Store
from toolkit.runtime.tensors import Task, Tensor

Groups = Sequence[tuple[Sequence[Parameter], Sequence[str]]]
Pins = Sequence[tuple[Variable, Hashable]]


class Arrangement(NamedTuple):
    """``tasks`` over arenas: ``lifetimes`` of the roots there, ``scratch`` of tasks.

    ``needed`` are the bytes that these take by device, ``arenas`` those that are not found in the ``blocks`` of
    gradients. The regions of lifetimes are the numbers of blocks.
    """

    lowering: Lowering
    inputs: dict[str, Tensor]
    tasks: list[Task]
    lifetimes: dict[Tensor, Lifetime]
    scratch: list[Lifetime | None]
    needed: dict[str, int]
    arenas: dict[str, int]
    blocks: dict[str, list[GradientBlock]]

    @property
    def nbytes(self) -> int:
        """Bytes needed on all devices."""
        return sum(self.needed.values())


def arrange(
    program: Program,
    backends: Sequence[Backend],
    resources: Resources,
    *,
    store: Store | None = None,
    groups: Groups = (),
    gradients: Pins = (),
    given: Mapping[str, str] = MappingProxyType({}),
    staying: Collection[str] = (),
) -> Arrangement:
    """Lower a placed program and share its memory; the options are those of ``Plan``.

    What the program keeps is given its place in ``store``.
    """
    devices = Devices(backends, resources)
    lowering = Lowering(program, devices, store, given, staying).run()
    read = gradient_layouts(lowering.tasks, gradients)
    for parameters, slots in groups:
        lowering.store.allocate_group(parameters, slots, read)
    for key in lowering.store.layouts:
        lowering.store.allocate(key)
    outputs = list(lowering.outputs.values())
    inputs = {name: lowering.places(variable)[0] for name, variable in program.inputs.items()}
    tasks = pin_gradients(lowering.tasks, gradients, lowering.store, devices)
    tasks = share_memory(tasks, outputs, devices)
    lifetimes = _lifetimes(list(inputs.values()), tasks, outputs)
    scratch = [
        Lifetime(task.kernel.workspace, position, position) if task.kernel.workspace else None
        for position, task in enumerate(tasks)
    ]
    by_device: dict[str, list[Lifetime]] = {}
    for root, life in lifetimes.items():
        by_device.setdefault(root.layout.device, []).append(life)
    for task, item in zip(tasks, scratch, strict=True):
        if item is not None:
            by_device.setdefault(task.device, []).append(item)
    needed, arenas, blocks = {}, {}, {}
    for device, lives in by_device.items():
        alignment = devices.alignment(device)
        blocks[device] = [item for item in lowering.store.gradient_blocks if item.device == device]
        regions = _regions(blocks[device], tasks, lowering.store)
        needed[device] = arenas[device] = plan_arena(lives, alignment)
        if regions:
            arenas[device] = plan_arena(lives, alignment, regions)
    return Arrangement(lowering, inputs, tasks, lifetimes, scratch, needed, arenas, blocks)


def _regions(blocks: Sequence[GradientBlock], tasks: Sequence[Task], store: Store) -> list[Region]:
    """The memory of gradients, each of which is needed from its first task on.

    Some are needed always: those that no task computes, which stay what they were, and those of a padded layout, whose
    padding is nobody's to write.
    """
    first: dict[Hashable, int] = {}
    for position, task in enumerate(tasks):
        for item in task.outputs:
            root = None if item is None else item.base()
            if root is not None and root.storage == "gradient":
                first.setdefault(root.key, position)

    def owner(key: Hashable, offset: int) -> Lifetime:
        layout = store.gradients[key].layout
        is_dense = layout.nbytes == math.prod(layout.shape) * layout.dtype.itemsize
        return Lifetime(layout.nbytes, first.get(key, -1) if is_dense else -1, len(tasks), offset)

    return [Region(block.nbytes, [owner(*item) for item in block.offsets.items()]) for block in blocks]


def _lifetimes(inputs: Sequence[Tensor], tasks: Sequence[Task], outputs: Sequence[Tensor]) -> dict[Tensor, Lifetime]:
    """From when to when the memory of each root of an arena is needed."""
    found: dict[Tensor, Lifetime] = {}

    def touch(item: Tensor, position: int) -> None:
        root = item.base()
        if root.storage == "arena" and root.layout.dtype != object:
            known = found.get(root)
            if known is None:
                found[root] = Lifetime(root.layout.nbytes, position, position)
            else:
                known.first, known.last = min(known.first, position), max(known.last, position)

    for item in inputs:
        touch(item, -1)
    for position, task in enumerate(tasks):
        for tensor in (*task.inputs, *task.outputs):
            if tensor is not None:
                touch(tensor, position)
    for item in outputs:
        touch(item, len(tasks))
    return found
