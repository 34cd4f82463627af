"""Recurrent layers that keep what their gradient needs, and that gradient, against the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tests.backends.native.checked import execute
from tests.backends.native.recurrent.test_inference import arrays
from tests.support.interpret import apply
from toolkit.backends import native
from toolkit.backends.native.backend import NativeBackend
from toolkit.backends.protocol import Resources
from toolkit.backends.registry import numpy_backend
from toolkit.compiler.placement import place
from toolkit.compiler.program import Program, Variable
from toolkit.operators.standard.recurrent_layer import GATE_ORDER, STATES
from toolkit.runtime.plan import Plan

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

Given = list[np.ndarray | None]


def check(
    kind: str,
    given: Given,
    threads: int = 1,
    direction: str = "forward",
    wrt: Sequence[int] = (),
    zeros: Sequence[int] = (),
) -> None:
    """A layer and its gradient for ``wrt``, or for all inputs, on the backend; ``zeros`` are outputs without."""
    attributes: dict[str, Any] = {"kind": kind, "direction": direction}
    backward = {**attributes, "wrt": list(wrt) or [index for index, item in enumerate(given) if item is not None]}
    count = 1 + STATES[kind]
    padded = [*given, *[None] * (6 - len(given))]
    outputs = apply("toolkit", "Recurrent", 1, padded, attributes)
    random = np.random.default_rng(1)
    seeds = [random.standard_normal(item.shape).astype(np.float32) for item in outputs[:count]]
    for index in zeros:
        seeds[index][...] = 0
    expected = apply("toolkit", "RecurrentGradient", 1, [*padded, *outputs, *seeds], backward)

    program, fed = Program(layer="checked"), [*padded, *seeds]
    variables = [None if item is None else Variable(f"x{at}", item.dtype, item.shape) for at, item in enumerate(fed)]
    for index in zeros:
        variables[6 + index] = Variable(f"x{6 + index}", seeds[index].dtype, seeds[index].shape, constant=seeds[index])
    program.inputs = {item.name: item for item in variables if item is not None and item.constant is None}
    names = [*("y", "h", "c")[:count], "kept"]
    layer = program.append("Recurrent", variables[:6], attributes, domain="toolkit", outputs=names)
    program.role = "backward"
    operands = [*variables[:6], *layer.outputs, *variables[6:]]
    gradient = program.append("RecurrentGradient", operands, backward, domain="toolkit", outputs=len(expected))
    titles = [*names[:count], *(f"d{index}" for index in backward["wrt"])]
    wanted = dict(zip(titles, [*outputs[:count], *expected], strict=True))
    made = [*layer.outputs[:count], *gradient.outputs]
    program.outputs = {name: item for name, item in zip(wanted, made, strict=True) if item is not None}
    backends = [NativeBackend(), numpy_backend()]
    place(program, backends)
    assert [node.backend for node in program.nodes] == ["native", "native"]
    plan = Plan(program, backends, Resources(threads, training=True), packed={})
    for _ in range(2):
        execute(plan, fed)
        plan.run("backward")
        for name, found in plan.output_arrays.items():
            scale = 1e-5 * float(np.abs(wanted[name]).max())
            np.testing.assert_allclose(found, wanted[name], rtol=1e-4, atol=scale, err_msg=f"{kind}: {name}")


@pytest.mark.parametrize("kind", GATE_ORDER)
def test_every_cell(kind: str) -> None:
    check(kind, arrays(kind, 5, 20), threads=2)  # not as many sequences for each thread, nor whole panels of units


@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "LinearGRU"])
def test_every_direction(kind: str, direction: str) -> None:
    directions = 2 if direction == "bidirectional" else 1
    check(kind, arrays(kind, 1, 8, directions=directions, steps=3), direction=direction)


@pytest.mark.parametrize("wrt", [(0,), (1,), (2,), (3,), (0, 4)])
def test_what_is_wanted_alone(wrt: tuple[int, ...]) -> None:
    check("LinearGRU", arrays("LinearGRU", 2, 8, steps=2), wrt=wrt)


@pytest.mark.parametrize("steps", [1, 2])
def test_what_is_left_out(steps: int) -> None:
    check("LSTM", arrays("LSTM", 2, 8, bias=False, states=False, steps=steps))


def test_products_of_several_blocks() -> None:
    check("LSTM", arrays("LSTM", 60, 72), threads=2)


@pytest.mark.parametrize("zeros", [(0,), (1,), (0, 2)], ids=str)
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "Tanh"])
def test_outputs_without_a_gradient(kind: str, zeros: tuple[int, ...]) -> None:
    """The steps of which the last state alone is read have gradients that are known to be nothing."""
    check(kind, arrays(kind, 2, 8, steps=3), zeros=[index for index in zeros if index <= STATES[kind]])
