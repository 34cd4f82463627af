"""Arithmetic of two and more tensors on oneDNN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.backends.onednn.driver import BACKEND, node_of, run
from toolkit.backends.onednn.memory import dense, layout_of

CHANNELS_LAST = layout_of(dense(np.dtype(np.float32), (2, 5, 7, 6)).permuted((0, 3, 1, 2)))
FUNCTIONS: dict[str, Any] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Max": np.maximum,
    "Min": np.minimum,
}


def made(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).uniform(0.5, 2, shape).astype(np.float32)


@pytest.mark.parametrize("op_type", FUNCTIONS)
@pytest.mark.parametrize("lying", [{}, {0: CHANNELS_LAST}, {1: CHANNELS_LAST}], ids=["plain", "first", "second"])
def test_equal_shapes_keep_the_layout(op_type: str, lying: Any) -> None:
    a, b = made(2, 6, 5, 7), made(2, 6, 5, 7)[::-1].copy()
    outcome = run(node_of(op_type, [a, b]), [a, b], lying=lying)
    np.testing.assert_allclose(outcome.y, FUNCTIONS[op_type](a, b), rtol=1e-6)
    if lying:
        assert outcome.layouts == [CHANNELS_LAST]


@pytest.mark.parametrize("op_type", FUNCTIONS)
@pytest.mark.parametrize(
    "other", [(1,), (), (6, 1, 1), (1, 6, 1, 1), (2, 1, 1, 1), (7,), (5, 7), (2, 6, 1, 1), (2, 1, 5, 7), (2, 6, 5, 1)]
)
def test_the_second_operand_may_broadcast(op_type: str, other: tuple[int, ...]) -> None:
    a, b = made(2, 6, 5, 7), made(*other)
    node = node_of(op_type, [a, b])
    assert BACKEND.supports(node)
    np.testing.assert_allclose(run(node, [a, b]).y, FUNCTIONS[op_type](a, b), rtol=1e-6)


@pytest.mark.parametrize("other", [(1,), (6, 1, 1), (5, 7), (2, 1, 1, 1)])
def test_broadcasting_to_another_layout(other: tuple[int, ...]) -> None:
    a, b = made(2, 6, 5, 7), made(*other)
    outcome = run(node_of("Mul", [a, b]), [a, b], lying={0: CHANNELS_LAST})
    np.testing.assert_allclose(outcome.y, a * b, rtol=1e-6)
    assert outcome.layouts[0] is not None
    assert outcome.layouts[0].is_plain == (other in [(5, 7), (2, 1, 1, 1)])


@pytest.mark.parametrize("op_type", ["Add", "Mul", "Max", "Min"])
def test_the_first_operand_may_broadcast_where_order_does_not_matter(op_type: str) -> None:
    a, b = made(6, 1, 1), made(2, 6, 5, 7)
    np.testing.assert_allclose(run(node_of(op_type, [a, b]), [a, b]).y, FUNCTIONS[op_type](a, b), rtol=1e-6)
    assert not BACKEND.supports(node_of("Sub", [a, b]))


@pytest.mark.parametrize("op_type", FUNCTIONS)
@pytest.mark.parametrize("position", [0, 1])
def test_a_known_number(op_type: str, position: int) -> None:
    tensor, number = made(2, 6, 5, 7), np.float32(1.5).reshape(())
    arrays = [number, tensor] if position == 0 else [tensor, number]
    node = node_of(op_type, arrays, constants=[position])
    outcome = run(node, arrays, lying={1 - position: CHANNELS_LAST})
    np.testing.assert_allclose(outcome.y, FUNCTIONS[op_type](*arrays), rtol=1e-6)
    assert outcome.layouts == [CHANNELS_LAST]


def test_two_operands_that_stretch_each_other_are_left_to_others() -> None:
    assert not BACKEND.supports(node_of("Add", [made(3, 1), made(1, 4)]))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_sum_of_many(count: int) -> None:
    arrays = [made(2, 6, 5, 7) * (index + 1) for index in range(count)]
    outcome = run(node_of("Sum", arrays), arrays, lying={1: CHANNELS_LAST})
    np.testing.assert_allclose(outcome.y, sum(arrays), rtol=1e-6)
    assert outcome.layouts == [CHANNELS_LAST]
