"""Which programs compute every item for itself, and how many items at a time suit the caches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from toolkit.compiler import items
from toolkit.compiler.items import items_at_once
from toolkit.compiler.program import Program, Variable

FLOAT = np.dtype(np.float32)
BATCH = 8
ITEM = 4 * 6 * 6 * FLOAT.itemsize  # bytes of (4, 6, 6)
Network = Callable[[Program, Variable], Variable]


def constant(*shape: int) -> Variable:
    return Variable("constant", FLOAT, shape, constant=np.ones(shape, np.float32))


def node(program: Program, operator: str, inputs: list[Any], version: int = 13, **attributes: Any) -> Variable:
    domain, _, name = operator.rpartition("::")
    return program.append(name, inputs, attributes, domain=domain, version=version).y


def made(network: Network, batch: int = BATCH) -> Program:
    program = Program()
    x = program.inputs["x"] = Variable("x", FLOAT, (batch, 4, 6, 6))
    program.outputs["y"] = network(program, x)
    return program


@pytest.fixture(autouse=True)
def small_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a layer reads and writes of four items fits, and steps cost little."""
    monkeypatch.setattr(items, "_cache_nbytes", lambda: items.SHARE * 4 * 2 * ITEM)
    monkeypatch.setattr(items, "STEP_NBYTES", 1)


def relu(program: Program, x: Variable) -> Variable:
    return node(program, "Relu", [node(program, "Relu", [x])])


def narrowed(program: Program, x: Variable) -> Variable:
    inputs = [x, None, None, constant(4, 1, 3, 3), None, constant(2, 4, 1, 1)]
    attributes = {"strides": [1, 1], "pads": [1] * 4, "activations": [""] * 3}
    numbers = {"activation_alpha": [0.0] * 3, "activation_beta": [0.0] * 3}
    return node(program, "toolkit::InvertedResidual", inputs, 1, **attributes, **numbers)


ALONE: dict[str, Network] = {
    "element by element": relu,
    "with what is alike for all": lambda p, x: node(p, "Add", [node(p, "Mul", [x, constant(4, 1, 1)]), x]),
    "convolution": lambda p, x: node(p, "Conv", [x, constant(4, 4, 1, 1)], pads=[0, 0, 0, 0]),
    "reshaped behind the items": lambda p, x: node(p, "Flatten", [relu(p, x)], axis=1),
    "turned behind the items": lambda p, x: node(p, "Transpose", [relu(p, x)], perm=[0, 2, 3, 1]),
    "joined along channels": lambda p, x: node(p, "Concat", [relu(p, x), x], axis=1),
    "softmax of channels": lambda p, x: node(p, "Softmax", [relu(p, x)], axis=1),
    "filtered by channel and narrowed": narrowed,
    "rows by a matrix": lambda p, x: node(p, "MatMul", [relu(p, x), constant(6, 2)]),
}
TOGETHER: dict[str, Network] = {
    "a reduction": lambda p, x: node(p, "ReduceMean", [relu(p, x)], axes=[0], keepdims=1),
    "turned": lambda p, x: node(p, "Transpose", [relu(p, x)], perm=[1, 0, 2, 3]),
    "joined": lambda p, x: node(p, "Concat", [relu(p, x), x], axis=0),
    "softmax of items": lambda p, x: node(p, "Softmax", [relu(p, x)], axis=0),
    "a product of activations": lambda p, x: node(p, "MatMul", [relu(p, x), x]),
    "its own number for each item": lambda p, x: node(p, "Add", [relu(p, x), constant(BATCH, 1, 1, 1)]),
    "its own number for each item of fewer axes": lambda p, x: node(
        p, "Add", [node(p, "Flatten", [relu(p, x)], axis=1), constant(BATCH, 1)]
    ),
    "places that count from the first item on": lambda p, x: (
        p.append("MaxPool", [relu(p, x)], {"kernel_shape": [1, 1]}, version=12, outputs=2).y
    ),
    "statistics of a batch": lambda p, x: (
        p.append(
            "BatchNormalization",
            [relu(p, x), *[constant(4)] * 4],
            {"training_mode": 1},
            version=15,
            outputs=["normal", "", ""],
        ).y
    ),
    "an operator that nobody knows": lambda p, x: node(p, "Einsum", [relu(p, x)], equation="abcd->abcd"),
    "a result that no item has": lambda p, x: node(p, "Relu", [constant(4, 6)]),
}


@pytest.mark.parametrize("name", ALONE)
def test_items_that_are_alone_are_computed_in_parts(name: str) -> None:
    assert items_at_once(made(ALONE[name]), BATCH) in (2, 4)


@pytest.mark.parametrize("name", TOGETHER)
def test_items_that_meet_are_computed_together(name: str) -> None:
    assert items_at_once(made(TOGETHER[name]), BATCH) == BATCH


@pytest.mark.parametrize(("batch", "wanted"), [(1, 1), (2, 2), (4, 4), (6, 3), (7, 1), (12, 4)])
def test_parts_are_alike_and_as_large_as_the_caches_allow(batch: int, wanted: int) -> None:
    assert items_at_once(made(relu, batch), batch) == wanted


def test_parameters_that_no_cache_holds_are_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    def network(program: Program, x: Variable) -> Variable:
        return node(program, "MatMul", [relu(program, x), constant(6, 4000)])

    monkeypatch.setattr(items, "MOST_PRODUCTS", 0)
    assert items_at_once(made(network), BATCH) == BATCH


def test_layers_that_multiply_wait_for_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    network = ALONE["convolution"]
    monkeypatch.setattr(items, "MOST_PRODUCTS", 0)
    assert items_at_once(made(network), BATCH) == BATCH


def test_little_gain_beside_much_work_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "WORTH", 0)
    assert items_at_once(made(relu), BATCH) == BATCH


def test_the_cache_is_that_of_the_processor(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    file = tmp_path / "size"
    monkeypatch.setattr(items, "LAST_CACHE", file)
    for text, nbytes in (("8192K\n", 8 << 20), ("unknown", items.USUAL_CACHE)):
        file.write_text(text)
        items._cache_nbytes.cache_clear()
        assert items._cache_nbytes() == nbytes
    items._cache_nbytes.cache_clear()
