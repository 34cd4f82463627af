"""The arrangement of a plan: its tasks in order, and where in an arena each tensor will lie once there is memory.

So the size of a plan can be known without making it.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from toolkit.backends.protocol import Backend, Resources
from toolkit.compiler.memory import Lifetime, plan_arena
from toolkit.compiler.program import Program, Variable
from toolkit.graph.parameter import Parameter
from toolkit.runtime.devices import Devices
from toolkit.runtime.lowering import Lowering
from toolkit.runtime.sharing import gradient_layouts, pin_gradients, share_memory
from toolkit.runtime.store import Store
from toolkit.runtime.tensors import Task, Tensor

Groups = Sequence[tuple[Sequence[Parameter], Sequence[str]]]
Pins = Sequence[tuple[Variable, Hashable]]


class Arrangement(NamedTuple):
    """``tasks`` over ``arenas`` of so many bytes by device: ``lifetimes`` of the roots there, ``scratch`` of tasks."""

    lowering: Lowering
    inputs: dict[str, Tensor]
    tasks: list[Task]
    lifetimes: dict[Tensor, Lifetime]
    scratch: list[Lifetime | None]
    arenas: dict[str, int]

    @property
    def nbytes(self) -> int:
        """Bytes of all arenas."""
        return sum(self.arenas.values())


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
    arenas = {device: plan_arena(lives, devices.alignment(device)) for device, lives in by_device.items()}
    return Arrangement(lowering, inputs, tasks, lifetimes, scratch, arenas)


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
