"""The arrangement of a plan: its tasks in order, and where in the arena each tensor will lie once there is memory.

So the size of a plan can be known without making it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from toolkit.backends.protocol import Backend, Resources
from toolkit.compiler.memory import Lifetime, plan_arena
from toolkit.compiler.program import Program, Variable
from toolkit.graph.parameter import Parameter
from toolkit.runtime.lowering import Lowering
from toolkit.runtime.sharing import pin_gradients, share_memory
from toolkit.runtime.store import Store
from toolkit.runtime.tensors import Task, Tensor

Groups = Sequence[tuple[Sequence[Parameter], Sequence[str]]]
Pins = Sequence[tuple[Variable, Hashable]]


@dataclass(frozen=True)
class Arrangement:
    """``tasks`` over an arena of ``nbytes``: ``lifetimes`` of the roots that lie there, ``scratch`` of each task."""

    lowering: Lowering
    inputs: dict[str, Tensor]
    tasks: list[Task]
    lifetimes: dict[Tensor, Lifetime]
    scratch: list[Lifetime | None]
    nbytes: int


def arrange(
    program: Program,
    backends: Sequence[Backend],
    resources: Resources,
    *,
    store: Store | None = None,
    groups: Groups = (),
    gradients: Pins = (),
) -> Arrangement:
    """Lower a placed program and share its memory; ``groups`` and ``gradients`` as in ``Plan``.

    What the program keeps is given its place in ``store``.
    """
    lowering = Lowering(program, backends, resources, store).run()
    for parameters, slots in groups:
        lowering.store.allocate_group(parameters, slots)
    for key in lowering.store.layouts:
        lowering.store.allocate(key)
    copier, outputs = lowering.converter, list(lowering.outputs.values())
    inputs = {name: lowering.places(variable)[0] for name, variable in program.inputs.items()}
    tasks = pin_gradients(lowering.tasks, gradients, lowering.store, copier, resources)
    tasks = share_memory(tasks, outputs, copier, resources)
    lifetimes = _lifetimes(list(inputs.values()), tasks, outputs)
    scratch = [
        Lifetime(task.kernel.workspace, position, position) if task.kernel.workspace else None
        for position, task in enumerate(tasks)
    ]
    nbytes = plan_arena([*lifetimes.values(), *(item for item in scratch if item is not None)])
    return Arrangement(lowering, inputs, tasks, lifetimes, scratch, nbytes)


def _lifetimes(inputs: Sequence[Tensor], tasks: Sequence[Task], outputs: Sequence[Tensor]) -> dict[Tensor, Lifetime]:
    """From when to when the memory of each root of the arena is needed."""
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
