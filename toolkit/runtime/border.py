"""What goes over the border of a device beside the work of a plan: its inputs, and in inference its outputs.

So the next inputs are on their way, and the last results on theirs, while the device computes. It takes memory of its
own on both sides, and two more events a run: small tensors are copied in turn, as steps of the work.
"""

from __future__ import annotations

from toolkit.backends.protocol import HOST, Kernel, Layout, plain
from toolkit.compiler.program import UPDATE_ROLES, Program
from toolkit.runtime.devices import Devices
from toolkit.runtime.tensors import Task, Tensor

LEAST_NBYTES = 1 << 16  # of the largest tensor that crosses; below, events cost more than they win


class Border:
    """The crossings of one plan: ``uploads`` are its first tasks, ``downloads`` its last.

    An input crosses where no caller gets it back, an output where the plan computes it on a device.
    """

    def __init__(self, program: Program, devices: Devices) -> None:
        self._devices = devices
        self.uploads: list[Task] = []
        self.downloads: list[Task] = []
        given, made = list(program.inputs.values()), list(program.outputs.values())
        crossing = [item for item in (*given, *made) if item.dtype != object]
        self._is_open = bool(devices.others) and any(item.nbytes >= LEAST_NBYTES for item in crossing)
        self._inputs = {item for item in given if item not in made and item.dtype != object}
        self._is_two_way = not devices.resources.training

    def upload(self, source: Tensor, layout: Layout, role: str) -> Tensor | None:
        """The input ``source`` in a layout of a device, ``None`` where it is not to cross."""
        variable, device = source.variable, layout.device
        is_input = variable in self._inputs and source.layout.device == HOST and role not in UPDATE_ROLES
        crossing = self._devices.crossing(device) if self._is_open and is_input and device != HOST else None
        if crossing is None:
            return None
        source.storage = "border"
        landing = Tensor(variable, plain(variable.dtype, variable.shape, device), "border")
        made = Tensor(variable, layout)
        over = self._task(crossing.over(source.layout, landing.layout), source, landing, role, device)
        over.crossing = crossing
        beside = self._task(crossing.beside(landing.layout, layout), landing, made, role, device)
        self.uploads += [over, beside]
        return made

    def download(self, source: Tensor, layout: Layout, role: str) -> Tensor | None:
        """The output ``source`` on the host, ``None`` where it is not to cross."""
        variable, device = source.variable, source.layout.device
        is_crossing = self._is_open and self._is_two_way and device != HOST
        crossing = self._devices.crossing(device) if is_crossing else None
        if crossing is None:
            return None
        ready = Tensor(variable, plain(variable.dtype, variable.shape, device), "border")
        made = Tensor(variable, layout, "border")
        beside = self._task(crossing.beside(source.layout, ready.layout), source, ready, role, device)
        over = self._task(crossing.over(ready.layout, layout), ready, made, role, device)
        over.crossing = crossing
        self.downloads += [beside, over]
        return made

    def _task(self, kernel: Kernel, source: Tensor, target: Tensor, role: str, device: str) -> Task:
        backend = self._devices.others[device].name
        return Task(kernel, [source], [target], source.variable.name, "Reorder", backend, role, device=device)
