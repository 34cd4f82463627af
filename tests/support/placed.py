"""A case row as a plan on given backends, compared with its reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from tests.support.case import Case, is_float
from tests.support.interpret import apply, build
from toolkit.backends.protocol import Backend, Resources
from toolkit.compiler.placement import place
from toolkit.compiler.program import Program
from toolkit.runtime.plan import Plan


def is_planned(case: Case) -> bool:
    """Whether a plan executes it: neither random, nor of a shape that data decides, nor with a graph inside."""
    if case.is_data_dependent or case.record.is_random:
        return False
    return not any(isinstance(item, onnx.GraphProto) for item in case.bound_attributes(3).values())


def placed(case: Case, backends: Sequence[Backend], batch: int = 3) -> Program | None:
    """The case as a program of which the first of ``backends`` has something; ``None`` where it has nothing."""
    program, node = build(case, case.arrays(batch), batch)
    program.outputs = {str(index): item for index, item in enumerate(node.outputs) if item is not None}
    place(program, backends)
    return program if any(item.backend == backends[0].name for item in program.nodes) else None


def agrees(case: Case, backends: Sequence[Backend], *, batch: int = 3, tolerance: float = 1e-5) -> bool:
    """Whether the first of ``backends`` takes the case; raises ``AssertionError`` where it computes something else."""
    arrays, program = case.arrays(batch), placed(case, backends, batch)
    if program is None:
        return False
    plan = Plan(program, backends, Resources(1), packed={})
    for _ in range(2):  # the second time, what can be fused is
        for block in plan.blocks.values():
            if isinstance(block, np.ndarray):
                block.fill(0xFF)  # what nobody has written is no number
        for name, array in plan.input_arrays.items():
            np.copyto(array, arrays[int(name.removeprefix("input"))])
        plan.run("forward")
        expected = apply(case.domain, case.operator, case.version, arrays, case.bound_attributes(batch))
        for name, found in plan.output_arrays.items():
            _compare(
                found, np.asarray(expected[int(name)]), max(tolerance, case.tolerance), f"{case.id}, output {name}"
            )
    return True


def _compare(found: np.ndarray, wanted: np.ndarray, tolerance: float, what: str) -> None:
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape), what
    if is_float(wanted.dtype):
        found, wanted = found.astype(np.float64), wanted.astype(np.float64)
        np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance, err_msg=what)
    else:
        np.testing.assert_array_equal(found, wanted, err_msg=what)
