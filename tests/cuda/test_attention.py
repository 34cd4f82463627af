"""Attention on cuDNN: the recorded graphs, computed on the host, give what the references say; each has a plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.cases.fused_attention import CASES
from tests.cuda import offline
from tests.cuda.graphs import Computing
from tests.cuda.host import garbage, placed
from tests.cuda.nodes import Somewhere, entry_of, lowered, node_of
from tests.cuda.recorder import Recorder
from tests.support.case import Case, Given, dtype_of
from tests.support.interpret import apply
from tests.support.rows import each_row
from toolkit.backends.cuda.arrays import ReferenceKernel
from toolkit.backends.cuda.attention import backward, forward, serves
from toolkit.backends.cuda.layouts import on_device
from toolkit.backends.cuda.parts import GraphPart, PartsKernel
from toolkit.compiler.program import Node, Program, Variable

REASON = None if not isinstance(offline.session(), str) else offline.session()
LOGARITHM = 5
DROPPED = [case for case in CASES if case.note.startswith("dropped")]  # no graph of cuDNN computes these
FLOAT32 = [case for case in CASES if case.note != "float16" and case not in DROPPED]
BFLOAT16 = dtype_of("bfloat16")


def narrowed(case: Case, dtype: str) -> Case:
    """The row with operands of half width; the logarithm and masks stay."""
    is_backward = case.operator.endswith("Gradient")
    operands = range(LOGARITHM) if is_backward else range(3)

    def narrow(given: Given) -> Given:
        return Given(lambda random, batch: given.make(random, batch).astype(dtype_of(dtype)), given.is_constant)

    inputs = [narrow(item) if index in operands and item else item for index, item in enumerate(case.inputs)]
    return replace(case, inputs=inputs, note=f"{case.note} {dtype}")


def lowering(node: Node) -> Any:
    return backward if node.op_type.endswith("Gradient") else forward


@each_row(DROPPED, ("float16", "bfloat16"))
def test_weights_that_are_dropped_are_left_to_others(case: Case, dtype: str) -> None:
    node = node_of(narrowed(case, dtype), 3)
    entry = entry_of(node)
    assert entry is None or entry.lower is not lowering(node)


@each_row(FLOAT32, ("float16", "bfloat16"))
def test_graphs_compute_the_reference(case: Case, dtype: str) -> None:
    row = narrowed(case, dtype)
    for batch in (1, 3):
        node, recorder = node_of(row, batch), Computing()
        entry = entry_of(node)
        assert entry is not None and entry.lower is lowering(node)
        kernel = lowered(node, entry, recorder.resources())
        assert isinstance(kernel, PartsKernel)
        (part,) = kernel.parts
        assert isinstance(part, GraphPart)
        recorder.graph = part.plan.graph
        arrays = [item if item is None else placed(np.asarray(item)) for item in row.arrays(batch)]
        results = [garbage(item.nbytes).view(item.dtype).reshape(item.shape) for item in node.outputs if item]
        workspace = garbage(kernel.workspace)
        step = kernel.bind(
            [
                item if item is None else Somewhere(on_device(item.dtype, item.shape), item.ctypes.data)
                for item in arrays
            ],
            [Somewhere(on_device(item.dtype, item.shape), item.ctypes.data) for item in results],
            Somewhere(on_device(np.dtype(np.uint8), workspace.shape), workspace.ctypes.data),
        )
        assert not step()
        expected = apply(row.domain, row.operator, row.version, row.arrays(batch), row.bound_attributes(batch))
        for found, wanted in zip(results, expected, strict=False):
            assert found.dtype == wanted.dtype
            rough = 4e-2 if dtype == "bfloat16" else 5e-3
            np.testing.assert_allclose(found.astype(np.float32), wanted.astype(np.float32), rtol=rough, atol=rough)


def node_with(
    q: tuple[int, ...] = (2, 4, 8, 64),
    keys: int = 8,
    width: int = 64,
    dtype: Any = BFLOAT16,
    mask: tuple[int, ...] | None = None,
    outputs: int = 2,
    **attributes: Any,
) -> Node:
    """Attention with heads first, or the gradient where three outputs are asked for."""
    program = Program(layer="attention")
    lead, (queries, size) = q[:-2], q[-2:]
    shapes = {"q": q, "k": (*lead, keys, size), "v": (*lead, keys, width)}
    operands = [Variable(name, np.dtype(dtype), shape) for name, shape in shapes.items()]
    y = (*lead, queries, width)
    if outputs == 3:
        operands.insert(0, Variable("g", np.dtype(dtype), y))
        operands += [Variable("y", np.dtype(dtype), y), Variable("l", np.dtype(np.float32), (*lead, queries, 1))]
    if mask is not None:
        operands.append(Variable("mask", np.dtype(np.float32), mask))
    name = "ScaledDotProductAttention" + ("Gradient" if outputs == 3 else "")
    return program.append(name, operands, {"scale": 0.125, **attributes}, domain="toolkit", outputs=outputs)


SERVED: list[dict[str, Any]] = [
    {},
    {"dtype": np.float16},
    {"q": (1, 12, 197, 64), "keys": 197},
    {"q": (1, 2, 1, 64), "keys": 77, "mask": (1, 1, 1, 77)},
    {"q": (4, 16, 128), "width": 128},
    {"q": (2, 4, 8, 8), "width": 40, "keys": 24},
    {"is_causal": 1},
    {"mask": (2, 1, 8, 8), "is_causal": 1},
    {"mask": (2, 4, 8, 8)},
    {"mask": (8,)},
]
REFUSED: list[dict[str, Any]] = [
    {"dtype": np.float32},
    {"q": (2, 4, 8, 65)},
    {"q": (2, 4, 8, 136)},
    {"width": 12},
    {"mask": (2, 1, 8, 1)},
    {"q": (2, 4, 0, 64)},
]


@pytest.mark.parametrize("settings", SERVED, ids=str)
@pytest.mark.parametrize("outputs", [1, 3])
def test_what_is_served(settings: dict[str, Any], outputs: int) -> None:
    assert serves(node_with(**settings, outputs=outputs))


@pytest.mark.parametrize("settings", REFUSED, ids=str)
@pytest.mark.parametrize("outputs", [1, 3])
def test_what_is_left_in_parts(settings: dict[str, Any], outputs: int) -> None:
    assert not serves(node_with(**settings, outputs=outputs))


@pytest.mark.skipif(REASON is not None, reason=f"cuDNN cannot choose here: {REASON}")
@pytest.mark.parametrize("outputs", [1, 3])
def test_what_is_served_has_plans(outputs: int) -> None:
    for settings in SERVED:
        node = node_with(**settings, outputs=outputs)
        kernel = lowering(node)(node, [], offline.resources(strict=True))
        assert isinstance(kernel, PartsKernel), settings


def test_gradients_that_nobody_wants_go_to_scratch_memory() -> None:
    node = node_with(outputs=3)
    wanted = lowering(node)(node, [], Recorder().resources()).workspace
    node.outputs[1] = None
    kernel = lowering(node)(node, [], Recorder().resources())
    assert kernel.workspace == wanted + 2 * 4 * 8 * 64 * 2
    assert kernel.outputs[1] is None


def test_a_device_without_an_engine_computes_the_reference() -> None:
    node = node_with()
    recorder = Recorder(refuses=lambda kinds: True)
    kernel = forward(node, [], recorder.resources())
    assert isinstance(kernel, ReferenceKernel)
    assert not kernel.is_capturable
