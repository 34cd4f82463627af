"""What bound kernels enqueue, recorded: grids, addresses in the order of parameters, pieces of an optimizer step."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from toolkit.backends.cuda import launch
from toolkit.backends.cuda.elementwise import lower_elementwise
from toolkit.backends.cuda.launch import SourceKernel
from toolkit.backends.cuda.layouts import channels_last, on_device
from toolkit.backends.cuda.optimization import lower_update, pieces
from toolkit.backends.protocol import Resources
from toolkit.compiler.program import Node, Program, Variable

FLOAT32 = np.dtype(np.float32)
RULE = {"rule": ("Mul t1 n0", "Sub t0 v0"), "results": ("v1",), "targets": (0,)}


@pytest.fixture
def recorded(monkeypatch) -> list[tuple[Any, ...]]:
    """The calls that steps make: (format, blocks, threads, stream, arguments...)."""
    calls: list[tuple[Any, ...]] = []

    def loaded(function: Any) -> Any:
        found = SimpleNamespace(format="")
        found.prepare = lambda text: setattr(found, "format", text)
        found.prepared_async_call = lambda *given: calls.append((found.format, *given))
        return found

    monkeypatch.setattr(launch, "loaded", loaded)
    monkeypatch.setattr(launch, "queue_of", lambda resources: SimpleNamespace(stream="stream"))
    return calls


def buffer(address: int) -> Any:
    return SimpleNamespace(address=address)


def node_of(
    operator: str, shapes: list[tuple[int, ...]], version: int = 14, domain: str = "", **attributes: Any
) -> Node:
    inputs = [Variable(f"x{index}", FLOAT32, shape) for index, shape in enumerate(shapes)]
    return Program().append(operator, inputs, attributes, version=version, domain=domain)


def test_a_flat_sum_is_one_launch(recorded):
    node = node_of("Add", [(1000, 3), (1000, 3)])
    kernel = lower_elementwise(node, [on_device(FLOAT32, (1000, 3))] * 2, Resources(1))
    kernel.bind([buffer(256), buffer(512)], [buffer(1024)], None)()
    assert recorded == [("PPPI", (3, 1, 1), (256, 1, 1), "stream", 256, 512, 1024, 3000)]
    assert sorted(kernel.in_place) == [(0, 0), (0, 1)]


def test_a_bias_of_channels_last_is_read_in_packs():
    node = node_of("Add", [(2, 8, 5, 5), (8, 1, 1)])
    given = [channels_last(FLOAT32, (2, 8, 5, 5)), on_device(FLOAT32, (8, 1, 1))]
    kernel = lower_elementwise(node, given, Resources(1))
    assert isinstance(kernel, SourceKernel)
    assert list(kernel.inputs) == given and kernel.outputs[0] == given[0]
    assert "load<4>(x1 + c1)" in kernel.launches[0].function.body


def test_tensors_that_follow_each_other_are_one_piece():
    rows = [((0, 4096), 60), ((256, 4352), 64), ((512, 4608), 3), ((9999, 5120), 7)]
    assert pieces(rows, [4, 4]) == [((0, 4096), 131), ((9999, 5120), 7)]
    assert pieces([((0,), 4), ((1024,), 4)], [4]) == [((0,), 4), ((1024,), 4)]  # more than padding lies between


def test_an_update_passes_over_neighbours_at_once(recorded):
    shapes = [(1,), (8, 8), (10,), (8, 8), (10,)]
    inputs = [Variable(f"x{index}", FLOAT32, shape) for index, shape in enumerate(shapes)]
    node = Program().append("ElementwiseUpdate", inputs, {**RULE, "count": 2}, domain="toolkit", outputs=2)
    kernel = lower_update(node, [on_device(FLOAT32, shape) for shape in shapes], Resources(1))
    assert list(kernel.aliases) == [(0, 1), (1, 2)]
    places = [buffer(item) for item in (64, 1024, 1280, 8192, 8448)]
    kernel.bind(places, places[1:3], None)()
    assert recorded == [("PPPQ", (1, 1, 1), (256, 1, 1), "stream", 64, 1024, 8192, 74)]
