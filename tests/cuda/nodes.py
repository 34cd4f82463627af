"""Case rows as nodes on the device, and kernels bound to addresses that nobody owns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.support.case import Case
from toolkit.backends.cuda.layouts import on_device
from toolkit.backends.cuda.registry import KERNELS
from toolkit.backends.kernel_table import Entry
from toolkit.backends.protocol import Kernel, Layout, Resources, Step
from toolkit.compiler.program import Node, Program, Variable

FIRST_ADDRESS = 1 << 20


@dataclass
class Somewhere:
    """A buffer by its address alone."""

    layout: Layout
    address: int


def node_of(case: Case, batch: int) -> Node:
    """The case as a node of a program, its operands inputs or constants."""
    program = Program(layer="recorded")
    operands: list[Variable | None] = []
    for given, array in zip(case.inputs, case.arrays(batch), strict=True):
        if given is None or not isinstance(array, np.ndarray):
            operands.append(None)
        else:
            content = array if given.is_constant else None
            operands.append(Variable(f"x{len(operands)}", array.dtype, array.shape, constant=content))
    attributes = case.bound_attributes(batch)
    return program.append(
        case.operator, operands, attributes, domain=case.domain, version=case.version, outputs=case.outputs
    )


def entry_of(node: Node, module: str = "") -> Entry | None:
    """What lowers a node; of one ``module`` of the backend if that is given."""
    entries = KERNELS.entries(node.domain, node.op_type)
    mine = [entry for entry in entries if entry.lower.__module__.endswith(module)]
    return next((entry for entry in mine if entry.accepts(node)), None)


def lowered(node: Node, entry: Entry, resources: Resources) -> Kernel:
    """The kernel for inputs that lie in row-major order on the device."""
    given = [None if item is None else on_device(item.dtype, item.shape) for item in node.inputs]
    return entry.lower(node, given, resources)


def bound(kernel: Kernel) -> tuple[Step, list[int], list[int]]:
    """The step, and the addresses of inputs and outputs (0 where there is none)."""
    address = FIRST_ADDRESS
    found: list[Somewhere | None] = []
    for layout in (*kernel.inputs, *kernel.outputs):
        found.append(None if layout is None else Somewhere(layout, address))
        address += 0 if layout is None else -(-layout.nbytes // 256) * 256
    inputs, outputs = found[: len(kernel.inputs)], found[len(kernel.inputs) :]
    workspace = Somewhere(on_device(np.dtype(np.uint8), (kernel.workspace,)), address)
    step = kernel.bind(inputs, outputs, workspace)
    places = [[0 if item is None else item.address for item in side] for side in (inputs, outputs)]
    return step, places[0], places[1]
