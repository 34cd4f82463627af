"""Matrix products on oneDNN against the operators' references."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.backends.onednn.driver import BACKEND, Outcome, node_of, run
from toolkit.backends.onednn import linear
from toolkit.backends.onednn.memory import dense, layout_of

FLOAT32 = np.dtype(np.float32)


def made(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def check(arrays: list[Any], *, constant: bool = False, training: bool = False, **attributes: Any) -> Outcome:
    node = node_of("FusedMatMul", arrays, attributes, domain="toolkit", constants=[1] if constant else [])
    outcome = run(node, arrays, training=training)
    expected = node.record.reference(*arrays, **attributes)
    np.testing.assert_allclose(outcome.y, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    return outcome


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
class TestTransposition:
    """Every combination of turned operands, with the shapes that take different ways."""

    def sides(self, trans_a: int, trans_b: int) -> tuple[tuple[int, int], tuple[int, int]]:
        return ((40, 24) if trans_a else (24, 40)), ((56, 40) if trans_b else (40, 56))

    def test_matrices(self, constant: bool, training: bool, trans_a: int, trans_b: int) -> None:
        a, b = self.sides(trans_a, trans_b)
        how: dict[str, Any] = {"constant": constant, "training": training, "transA": trans_a, "transB": trans_b}
        check([made(*a), made(*b)], **how)
        check([made(*a), made(*b), made(56), made(24, 56)], activation="Relu", **how)
        check([made(*a), made(*b), made(56), made(24, 56)], alpha=0.5, **how)
        check([made(*a), made(*b), made(24, 56), made(24, 56)], **how)

    def test_batches(self, constant: bool, training: bool, trans_a: int, trans_b: int) -> None:
        a, b = self.sides(trans_a, trans_b)
        how: dict[str, Any] = {"constant": constant, "training": training, "transA": trans_a, "transB": trans_b}
        check([made(3, *a), made(*b), made(56), made(3, 24, 56)], **how)
        check([made(3, *a), made(1, *b), made(56)], **how)
        check([made(*a), made(3, *b), made(56), made(3, 24, 56)], **how)
        check([made(2, 1, *a), made(3, *b), made(56), made(2, 3, 24, 56)], alpha=0.125, **how)
        check([made(2, 3, *a), made(2, 3, *b), made(2, 1, 1, 56)], alpha=0.125, activation="Gelu", **how)


@pytest.mark.parametrize("shapes", [((1, 784), (784, 96)), ((1, 5), (5, 1)), ((7, 1), (1, 3))])
def test_thin_products(shapes: Any) -> None:
    a, b = (made(*shape) for shape in shapes)
    check([a, b, made(b.shape[1])], constant=True)
    check([a, b, made(b.shape[1])])


def test_a_constant_matrix_is_packed_for_inference_only() -> None:
    arrays = [made(64, 96), made(96, 80)]
    packed = check(arrays, constant=True).kernel.inputs[1]
    assert packed is not None
    assert not packed.is_plain
    kept = check(arrays, constant=True, training=True).kernel.inputs[1]
    assert kept is not None
    assert kept.is_plain


def test_operands_that_lie_transposed_are_read_where_they_lie() -> None:
    a, b = made(2, 3, 24, 40), made(2, 3, 40, 56)
    lying = {
        0: layout_of(dense(FLOAT32, (2, 24, 3, 40)).permuted((0, 2, 1, 3))),
        1: layout_of(dense(FLOAT32, (2, 56, 3, 40)).permuted((0, 2, 3, 1))),
    }
    outcome = run(node_of("FusedMatMul", [a, b], domain="toolkit"), [a, b], lying=lying)
    assert list(outcome.kernel.inputs) == [lying[0], lying[1]]
    np.testing.assert_allclose(outcome.y, a @ b, rtol=1e-4, atol=1e-4)


def test_plain_matmul() -> None:
    a, b = made(2, 5, 8), made(2, 8, 3)
    np.testing.assert_allclose(run(node_of("MatMul", [a, b]), [a, b]).y, a @ b, rtol=1e-4, atol=1e-5)


def test_what_it_leaves_to_others() -> None:
    assert not BACKEND.supports(node_of("MatMul", [made(4), made(4, 3)]))
    assert not BACKEND.supports(node_of("FusedMatMul", [made(8, 4), made(4, 3), made(8, 1)], domain="toolkit"))
    assert not BACKEND.supports(node_of("MatMul", [np.zeros((0, 4), np.float32), made(4, 3)]))


@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("rows", [95, 96, 512])
def test_large_weights(rows: int, trans_b: int) -> None:
    """Packed for few rows, row-major for many, where they lie for very many; each with all that follows."""
    a, b = made(2, rows, 512), made(*((520, 512) if trans_b else (512, 520)))
    bias, residual = made(520), made(rows, 520)
    check([a[0], b, bias, residual], constant=True, transB=trans_b, activation="Gelu")
    check([a, b, bias], constant=True, transB=trans_b, alpha=0.5)


@pytest.mark.parametrize("trans_a", [0, 1])
def test_gradients_of_layers_are_copied(trans_a: int) -> None:
    """Where the library would read rows in place, large products without anything behind them take the other way."""
    a, b = made(*((65, 130) if trans_a else (130, 65))), made(65, 70)

    def name(*arrays: np.ndarray, **how: Any) -> str:
        return check(list(arrays), training=True, transA=trans_a, **how).kernel.name

    assert name(a, b) != linear.IN_PLACE
    others = name(a, made(70, 65), transB=1), name(a, b, made(70)), name(a, b, activation="Relu"), name(a, b, alpha=0.5)
    small = name(a[:, :60] if trans_a else a[:60], b)
    if small == linear.IN_PLACE:
        assert linear.BY_COPIES not in others
