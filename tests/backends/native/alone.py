"""A node as a plan on the backend, against its reference."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from tests.support.interpret import apply
from toolkit.backends.native.backend import NativeBackend
from toolkit.backends.protocol import Resources
from toolkit.backends.registry import numpy_backend
from toolkit.compiler.placement import place
from toolkit.compiler.program import Program, Variable
from toolkit.runtime.plan import Plan

Arrays = Sequence[np.ndarray | None]


def check_node(
    operator: str,
    arrays: Arrays,
    attributes: Mapping[str, Any] | None = None,
    *,
    known: Collection[int] = (),
    domain: str = "",
    version: int = 20,
    outputs: int = 1,
    tolerance: float = 1e-5,
) -> None:
    """The backend takes the node, and finds what the reference says; the inputs ``known`` are constants."""
    bound = dict(attributes or {})
    plan = planned(operator, arrays, bound, known=known, domain=domain, version=version, outputs=outputs)
    plan.run("forward")
    expected = apply(domain, operator, version, list(arrays), bound)
    for index in range(outputs):
        found, wanted = plan.output_arrays[f"y{index}"], np.asarray(expected[index])
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        if wanted.dtype.kind == "f":
            scale = float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0))
            np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * scale)
        else:
            np.testing.assert_array_equal(found, wanted)


def planned(
    operator: str,
    arrays: Arrays,
    attributes: Mapping[str, Any],
    *,
    known: Collection[int] = (),
    domain: str = "",
    version: int = 20,
    outputs: int = 1,
) -> Plan:
    """The plan of the node, its inputs filled in."""
    program = Program(layer="alone")
    operands: list[Variable | None] = []
    for index, array in enumerate(arrays):
        item = None if array is None else Variable(f"x{index}", array.dtype, array.shape)
        if item is not None and index in known:
            item.constant = array
        elif item is not None:
            program.inputs[item.name] = item
        operands.append(item)
    node = program.append(operator, operands, dict(attributes), domain=domain, version=version, outputs=outputs)
    program.outputs = {f"y{index}": item for index, item in enumerate(node.outputs) if item is not None}
    backends = [NativeBackend(), numpy_backend()]
    place(program, backends)
    assert node.backend == "native"
    plan = Plan(program, backends, Resources(1), packed={})
    for block in plan.blocks.values():
        block.fill(0xFF)  # NaN everywhere: no kernel may count on what it has not written
    for name, target in plan.input_arrays.items():
        given = arrays[int(name[1:])]
        assert given is not None
        np.copyto(target, given)
    return plan
