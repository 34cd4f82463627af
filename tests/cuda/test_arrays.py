"""The long tail on arrays that notice: a reference is bound once, computes in scratch memory, and fills its outputs."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from tests.cuda.strict_array import StrictArray
from toolkit.backends.cuda import arrays, library
from toolkit.backends.cuda.arrays import GRANULE, LEAST_BLOCK, ReferenceKernel, Scratch
from toolkit.backends.cuda.backend import CudaBackend
from toolkit.backends.cuda.layouts import on_device
from toolkit.backends.protocol import Resources
from toolkit.compiler.program import Node, Program, Variable

FLOAT32, INT64 = np.dtype(np.float32), np.dtype(np.int64)
DATA = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)


class Queue:
    """What a kernel does with a queue: take its stream for CuPy's."""

    def __init__(self) -> None:
        self.uses = 0
        self.array_stream = SimpleNamespace(use=self._use)

    def _use(self) -> None:
        self.uses += 1


class Block:
    """A block at an address of its own."""

    made: ClassVar[list[int]] = []

    def __init__(self, nbytes: int) -> None:
        self.nbytes, self.address = nbytes, 1 << 20 << len(self.made)
        self.made.append(nbytes)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A queue and a CuPy that are none; ``allocators`` are those that were in use."""
    found = SimpleNamespace(queue=Queue(), allocators=[])

    @contextmanager
    def using_allocator(take: Any) -> Any:
        found.allocators.append(take)
        yield

    cuda = SimpleNamespace(
        using_allocator=using_allocator,
        UnownedMemory=lambda address, nbytes, owner, device: (address, owner),
        MemoryPointer=lambda memory, offset: memory[0] + offset,
    )
    monkeypatch.setattr(library, "module", lambda name: SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(arrays, "queue_of", lambda resources: found.queue)
    monkeypatch.setattr(arrays, "DeviceBlock", Block)
    monkeypatch.setattr(Block, "made", [])
    return found


def node(operator: str, inputs: list[Variable | None], version: int, outputs: int = 1, **attributes: Any) -> Node:
    return Program().append(operator, inputs, attributes, version=version, outputs=outputs)


def variable(name: str, array: np.ndarray, *, is_constant: bool = False) -> Variable:
    return Variable(name, array.dtype, array.shape, constant=array if is_constant else None)


def place(array: np.ndarray) -> Any:
    return SimpleNamespace(array=StrictArray(array))


def test_a_step_computes_the_reference_into_the_outputs(machine: Any) -> None:
    made = node("Hardmax", [variable("x", DATA)], 13, axis=1)
    kernel, resources = ReferenceKernel(made, lent := Resources(1)), lent
    assert resources.own("cuda scratch", lambda: None) is not None
    assert list(kernel.inputs) == list(kernel.outputs) == [on_device(FLOAT32, DATA.shape)]
    source, target = place(DATA.copy()), place(np.full_like(DATA, np.nan))
    step = kernel.bind([source], [target], None)
    assert machine.queue.uses == 1
    assert not machine.allocators, "nothing is computed before the step"
    for turned in (DATA, -DATA):
        source.array.host[:] = turned
        assert step() is None
        np.testing.assert_array_equal(target.array.host, turned == turned.max(axis=1, keepdims=True))
    assert len(machine.allocators) == 2


def test_what_is_read_as_numbers_never_gets_to_the_device(machine: Any) -> None:
    count = variable("k", np.array([2]), is_constant=True)
    made = node("TopK", [variable("x", DATA), count], 11, outputs=2, axis=-1)
    kernel = ReferenceKernel(made, Resources(1))
    assert list(kernel.inputs) == [on_device(FLOAT32, DATA.shape), None]
    assert not kernel.is_capturable, "it sorts"
    values, places = place(np.zeros((3, 2), np.float32)), place(np.zeros((3, 2), np.int64))
    kernel.bind([place(DATA), None], [values, places], None)()
    order = np.argsort(-DATA, axis=1)[:, :2]
    np.testing.assert_array_equal(places.array.host, order)
    np.testing.assert_array_equal(values.array.host, np.take_along_axis(DATA, order, 1))


def test_outputs_that_nobody_wants_are_left_out(machine: Any) -> None:
    count = variable("k", np.array([1]), is_constant=True)
    made = node("TopK", [variable("x", DATA), count], 11, outputs=2, axis=-1)
    values = place(np.zeros((3, 1), np.float32))
    ReferenceKernel(made, Resources(1)).bind([place(DATA), None], [values, None], None)()
    np.testing.assert_array_equal(values.array.host, DATA.max(axis=1, keepdims=True))


def test_scratch_gives_the_same_pieces_in_every_step(machine: Any) -> None:
    scratch = Scratch()
    sizes = (1, GRANULE + 1, LEAST_BLOCK, 3 * LEAST_BLOCK)
    first = [scratch.take(size) for size in sizes]
    assert all(address % GRANULE == 0 for address in first)
    assert len(set(first)) == len(sizes)
    blocks = list(Block.made)
    scratch.restart()
    assert [scratch.take(size) for size in sizes] == first
    assert Block.made == blocks, "the second step asks for no memory"


def test_convolutions_on_a_grid_are_written_out_for_kernels() -> None:
    x, weight, scale = (np.ones(shape, np.float32) for shape in ((1, 2, 4, 4), (3, 2, 3, 3), (3,)))
    geometry = {"strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1], "group": 1}
    program = Program(layer="quantised")
    given = [variable("x", x), variable("w", weight, is_constant=True), None, variable("m", scale, is_constant=True)]
    slow = program.append("GridConv", given, {**geometry, "low": -8.0, "high": 7.0}, domain="toolkit")
    slow.backend, program.outputs = "cuda", {"y": slow.y}
    assert not arrays.has_kernel(slow)
    CudaBackend().arrange(program)
    assert [node.op_type for node in program.nodes] == ["Conv", "Reshape", "ElementwiseRegion"]
    assert all(map(arrays.has_kernel, program.nodes))
