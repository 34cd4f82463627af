"""One node, some of its inputs known, as a plan on the backend, or layers that learn, against their references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import toolkit as tk
from tests.support.interpret import apply
from toolkit.backends.native.backend import NativeBackend
from toolkit.backends.protocol import Backend, Resources
from toolkit.backends.registry import numpy_backend
from toolkit.compiler.placement import place
from toolkit.compiler.program import Program, Variable
from toolkit.runtime import StepReport
from toolkit.runtime.plan import Plan


def planned(
    operator: str,
    arrays: Sequence[np.ndarray | None],
    attributes: Mapping[str, Any],
    *,
    known: Sequence[int] = (1, 2),
    outputs: int | Sequence[str] = 1,
    threads: int = 1,
    domain: str = "toolkit",
    version: int = 1,
    others: Sequence[Backend] = (),
    result: np.dtype | None = None,
) -> Plan:
    """A plan of the node alone, which the backend takes; the inputs ``known`` are constants of it.

    ``others`` are backends that convert layouts, before the backend itself. ``result`` is the type of all outputs,
    where it is not the one that the operator says.
    """
    program = Program(layer="checked")
    operands: list[Variable | None] = []
    for index, array in enumerate(arrays):
        item = None if array is None else Variable(f"x{index}", array.dtype, array.shape)
        if item is not None and index in known:
            item.constant = array
        elif item is not None:
            program.inputs[item.name] = item
        operands.append(item)
    node = program.append(operator, operands, dict(attributes), domain=domain, version=version, outputs=outputs)
    program.outputs = {str(index): item for index, item in enumerate(node.outputs) if item is not None}
    for item in program.outputs.values() if result is not None else ():
        item.dtype = np.dtype(result)
    backends = [*others, NativeBackend(), numpy_backend()]
    place(program, backends)
    assert node.backend == "native"
    return Plan(program, backends, Resources(threads), packed={})


def execute(plan: Plan, arrays: Sequence[np.ndarray | None]) -> None:
    """A run of the plan; no kernel may count on what it has not written."""
    for block in plan.blocks.values():
        block.fill(0xFF)  # NaN everywhere
    for name, target in plan.input_arrays.items():
        given = arrays[int(name[1:])]
        assert given is not None
        np.copyto(target, given)
    plan.run("forward")


def check_sums(arrays: Sequence[np.ndarray], **options: Any) -> None:
    """The sums of a product of two positive factors, near the exact ones: nearer than numpy's own may be."""
    plan = planned("FusedMatMul", arrays, {}, **options)
    execute(plan, arrays)
    a, b = (item.astype(np.float64) for item in arrays)
    np.testing.assert_allclose(plan.output_arrays["0"], a @ b, rtol=1e-6)


def check_node(
    operator: str,
    arrays: Sequence[np.ndarray | None],
    attributes: Mapping[str, Any],
    *,
    tolerance: float = 1e-5,
    **options: Any,
) -> None:
    """The backend takes the node (see ``planned``), and finds what the reference says."""
    plan = planned(operator, arrays, attributes, **options)
    domain, version = options.get("domain", "toolkit"), options.get("version", 1)
    expected = apply(domain, operator, version, list(arrays), dict(attributes))
    for _ in range(2):
        execute(plan, arrays)
        for name, found in plan.output_arrays.items():
            wanted = expected[int(name)]
            assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
            scale = float(np.abs(wanted[np.isfinite(wanted)]).max(initial=1e-6))
            within = tolerance if wanted.dtype.kind in "fV" else 0.0  # bfloat16 is none of numpy's own
            np.testing.assert_allclose(found, wanted, rtol=within, atol=within * scale, err_msg=f"output {name}")


def check_learning(layers: Sequence[Any], shape: tuple[int, ...], threads: int) -> list[StepReport]:
    """Results and gradients of layers on three items are those of the references; the steps that made them."""
    network = tk.layers.Sequential(list(layers)).network(shape)
    x = np.random.default_rng(0).standard_normal((3, *shape)).astype(np.float32)
    found, steps = [], []
    for backend in ("numpy", "cpu"):
        context = network.context(batch_size=3, training=True, backend=backend, threads=threads)
        (name, y), *_ = context.forward(x).items()
        grad = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
        found.append((y, context.backward({name: grad})))
        steps = context.explain().steps
    (expected, expected_grads), (y, grads) = found
    np.testing.assert_allclose(y, expected, atol=1e-5 * np.abs(expected).max())
    for kind in ("inputs", "parameters"):
        for name, grad in expected_grads[kind].items():
            np.testing.assert_allclose(grads[kind][name], grad, atol=2e-5 * np.abs(grad).max())
    return list(steps)
