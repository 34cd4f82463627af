"""Lowering: the nodes of a placed program become tasks, kernels with the tensors they read and write.

Each kernel says in which layouts it wants its inputs; conversions are inserted where a tensor lies otherwise, and
shared. A layout names its device, so the copies at the borders of devices are conversions like all others. Tasks that
depend on parameters and constants only are set apart (``static``): the plan executes them when parameters change, not
in every run.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from types import MappingProxyType

from toolkit.backends.protocol import HOST, Layout, plain
from toolkit.compiler.passes.common_subexpressions import attribute_key, identity
from toolkit.compiler.program import UPDATE_ROLES, Node, Program, Variable
from toolkit.errors import malformed, naming
from toolkit.runtime.border import Border
from toolkit.runtime.devices import Devices
from toolkit.runtime.kernels import kernel_for
from toolkit.runtime.store import Store
from toolkit.runtime.tensors import Task, Tensor, host_buffer


class Lowering:
    """Lowers one program; afterwards ``tasks`` and ``static`` hold the work, ``tensors`` the variables' places.

    ``given`` are the devices on which inputs lie, by name, the host where it says nothing; the outputs in ``staying``
    are left on the device that computes them.
    """

    def __init__(
        self,
        program: Program,
        devices: Devices,
        store: Store | None = None,
        given: Mapping[str, str] = MappingProxyType({}),
        staying: Collection[str] = (),
    ) -> None:
        self.program, self._given, self._staying = program, given, staying
        self.devices = devices
        self.store = store if store is not None else Store(devices)
        self.tasks: list[Task] = []
        self.static: list[Task] = []
        self.tensors: dict[Variable, list[Tensor]] = {}
        self.undecided: set[Tensor] = set()
        self.kept = {target for target, _ in program.assignments}
        self.border = Border(program, devices)

    def run(self) -> Lowering:
        """Lower everything; returns itself."""
        self.devices.enter()
        for name, variable in self.program.inputs.items():
            layout = plain(variable.dtype, variable.shape, self._given.get(name, HOST))
            self.tensors[variable] = [Tensor(variable, layout)]
        for node in self.program.nodes:
            self._lower(node)
        count = len(self.tasks)
        self.outputs = {name: self._output(name, variable) for name, variable in self.program.outputs.items()}
        self._place_in_roles(count)
        for target, content in self.program.assignments:
            self._assign(target, content)
        self.tasks = [*self.border.uploads, *self.tasks, *self.border.downloads]
        return self

    def _output(self, name: str, variable: Variable) -> Tensor:
        """Where the caller finds an output: row-major, on the host or where it was computed."""
        layout, first = plain(variable.dtype, variable.shape), self.places(variable)[0]
        if name in self._staying:
            return self.tensor(variable, layout._replace(device=first.layout.device), _role(variable))
        if first.storage == "arena" and variable.producer is not None:
            crossed = self.border.download(first, layout, _role(variable))
            if crossed is not None:
                return crossed
        return self.tensor(variable, layout, _role(variable))

    def _place_in_roles(self, count: int) -> None:
        """Put what stands behind the first ``count`` tasks to the last ones of its role: roles may be run by turns."""
        later = self.tasks[count:]
        del self.tasks[count:]
        for task in later:
            behind = (at + 1 for at in range(len(self.tasks) - 1, -1, -1) if self.tasks[at].role == task.role)
            self.tasks.insert(next(behind, len(self.tasks)), task)

    def tensor(self, variable: Variable, layout: Layout, role: str) -> Tensor:
        """The variable in ``layout``, converted if it lies nowhere in it yet."""
        places = self.places(variable)
        first = places[0]
        if first in self.undecided:
            kept = plain(layout.dtype, layout.shape, layout.device) if layout.is_derived else layout
            first.layout = self.store.adopt(first.key, kept)
            self.undecided.discard(first)
        for place in places:
            if place.layout == layout:
                return place
        source = next((place for place in places if place.layout.device == layout.device), first)
        crossed = self.border.upload(source, layout, role)
        if crossed is not None:
            places.append(crossed)
            return crossed
        between = self.devices.between(source.layout, layout)
        if between is not None:
            source = self.tensor(variable, between, role)
        made = Tensor(variable, layout)
        task = self.devices.conversion(source, made, variable.name, "Reorder", role)
        self._append(task, ("reorder", source.key, layout))
        places.append(made)
        return made

    def places(self, variable: Variable) -> list[Tensor]:
        """Where a variable lies; sources are given their tensor when they are first read."""
        if variable not in self.tensors:
            self.tensors[variable] = [self._source(variable)]
        return self.tensors[variable]

    def _source(self, variable: Variable) -> Tensor:
        layout = plain(variable.dtype, variable.shape)
        if variable.state is not None or variable in self.kept:
            key: Hashable = variable.state if variable.state is not None else variable.parameter
            tensor = Tensor(variable, self.store.layout(key, layout), "kept", key)
            if key not in self.store.layouts:
                self.undecided.add(tensor)
            return tensor
        if variable.parameter is not None:
            return Tensor(variable, layout, "static", ("parameter", variable.parameter))
        assert variable.constant is not None, f"{variable} has no source"
        tensor = Tensor(variable, layout, "static", ("constant", identity(variable)))
        tensor.buffer = host_buffer(layout, variable.constant)
        return tensor

    def _lower(self, node: Node) -> None:
        backend = self.devices.backends[node.backend]
        layouts = [None if item is None else self._shown(item, backend.device) for item in node.inputs]
        with naming(lambda why: malformed(f"{node.operator}-{node.version}", node.layer, why)):
            kernel = kernel_for(backend, node, layouts, self.devices.resources)
        inputs = [
            None if item is None or wanted is None else self.tensor(item, wanted, _role_of_reading(node, item))
            for item, wanted in zip(node.inputs, kernel.inputs, strict=True)
        ]
        outputs = [
            None if item is None or layout is None else Tensor(item, layout)
            for item, layout in zip(node.outputs, kernel.outputs, strict=True)
        ]
        for made in outputs:
            if made is not None:
                self.tensors[made.variable] = [made]
        for out, source in kernel.aliases:
            target, origin = outputs[out], inputs[source]
            if target is not None and origin is not None:
                target.root = origin
                target.storage, target.key = origin.storage, None
        labels = node.layer, node.operator, node.backend, node.role, node, node.fused
        task = Task(kernel, inputs, outputs, *labels, backend.device)
        keys = tuple(
            _baked(variable) if item is None else item.key for variable, item in zip(node.inputs, inputs, strict=True)
        )
        attributes = tuple(sorted((name, attribute_key(value)) for name, value in node.attributes.items()))
        self._append(task, (node.domain, node.op_type, node.version, attributes, keys))

    def _shown(self, variable: Variable, device: str) -> Layout:
        """The layout in which a kernel of a device is to expect a variable."""
        there = (place.layout for place in self.places(variable) if place.layout.device == device)
        return next(there, plain(variable.dtype, variable.shape, device))

    def _append(self, task: Task, key: Hashable) -> None:
        if self._is_static(task):
            for index, made in enumerate(task.outputs):
                if made is not None:
                    made.storage, made.key = "static", (key, index, made.layout)
            self.static.append(task)
        else:
            self.tasks.append(task)

    def _is_static(self, task: Task) -> bool:
        record = None if task.node is None else task.node.record
        if (record is not None and record.is_random) or task.role in UPDATE_ROLES or not task.inputs:
            return False
        if task.kernel.accumulates is not None:  # only tensors of the arena can share memory as it demands
            return False
        return all(item is None or item.base().storage == "static" for item in task.inputs)

    def _assign(self, target: Variable, content: Variable) -> None:
        """Write ``content`` over the kept tensor of ``target``, unless a kernel has put it there already."""
        place = self.places(target)[0]
        if place in self.undecided:
            device = self.places(content)[0].layout.device
            place.layout = self.store.adopt(place.key, place.layout._replace(device=device))
            self.undecided.discard(place)
        made_in = "update" if content.producer is None else content.producer.role
        role = made_in if made_in in UPDATE_ROLES else "statistics"
        source = self.tensor(content, place.layout, role)
        if source.base() is place:
            return
        self.tasks.append(self.devices.conversion(source, place, target.name, "Assign", role))


def _baked(variable: Variable | None) -> Hashable:
    """What tells apart kernels that read no tensor for an input: the constant that they are made for."""
    return None if variable is None or variable.constant is None else ("constant", identity(variable))


def _role_of_reading(node: Node, variable: Variable) -> str:
    """When what a node reads is brought into its layout.

    Gradients are judged, and handed out, before they move anything; the numbers of an update are there only then.
    """
    if node.role in UPDATE_ROLES and variable.producer is not None:
        return variable.producer.role
    return node.role


def _role(variable: Variable) -> str:
    """The role in which a variable becomes known."""
    return "forward" if variable.producer is None else variable.producer.role
