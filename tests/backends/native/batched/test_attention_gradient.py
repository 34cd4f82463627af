"""The gradient of attention in one kernel: sizes around tiles, panels and blocks, masks, and which parts are wanted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.backends.native.batched.test_attention import operands
from tests.backends.native.checked import check_node, execute, planned
from tests.support.interpret import apply
from toolkit.backends import native
from toolkit.backends.native.batched import attention_gradient, heads
from toolkit.compiler.program import Program, Variable
from toolkit.operators.standard.fused_attention import ATTENTION, ATTENTION_GRADIENT, DROPPING

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)


@pytest.fixture(autouse=True)
def everything_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LEAST_QUERIES", "LEAST_SCORES"):
        monkeypatch.setattr(heads, name, 1)


def given(arrays: list[Any], attributes: dict[str, Any]) -> list[Any]:
    """The inputs of the gradient of attention of arrays."""
    y, logarithm = apply("toolkit", ATTENTION, 1, arrays, attributes)
    g = np.random.default_rng(5).standard_normal(y.shape, np.float32)
    return [g, *arrays[:3], y, logarithm, *arrays[3:]]


def check(arrays: list[Any], swaps: str = "", **attributes: Any) -> None:
    named = {"scale": 0.4, **{f"swap{letter}": 1 for letter in swaps}, **attributes}
    check_node(ATTENTION_GRADIENT, given(arrays, named), named, known=(), threads=2, outputs=3, tolerance=2e-5)


@pytest.mark.parametrize("swaps", ["QV", "KY"])
def test_every_way_to_lie(swaps: str) -> None:
    check(operands((2, 3), (13, 10, 7, 21), swaps), swaps)


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (50, 17, 8, 16), (8, 300, 33, 9), (300, 8, 4, 4)], ids=str)
def test_sizes(sizes: tuple[int, int, int, int]) -> None:
    check(operands((3,), sizes))


@pytest.mark.parametrize("queries", [20, 23])
def test_queries_come_in_blocks(queries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_gradient, "MOST_SCORES", 300)
    check(operands((2, 2), (queries, 30, 8, 8)))


@pytest.mark.parametrize("shape", [(20,), (3, 1, 20), (2, 3, 9, 20)], ids=str)
def test_masks_broadcast(shape: tuple[int, ...]) -> None:
    mask = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    check([*operands((2, 3), (9, 20, 8, 8)), mask])


@pytest.mark.parametrize("queries", [5, 40])
def test_later_keys_are_hidden(queries: int) -> None:
    check(operands((2,), (queries, 20, 8, 8)), is_causal=1)


@pytest.mark.parametrize("value", [-1e5, float(np.finfo(np.float32).min)])
def test_queries_without_keys_have_the_gradient_of_a_softmax(value: float) -> None:
    """Beside masks this low the logarithm does not tell how many keys there were; the same without mask does."""
    arrays = operands((2, 3), (9, 20, 8, 8))
    arrays[0] *= 1e-3  # no key stands out, for its score is lost beside the mask
    hidden = given([*arrays, np.full((9, 20), value, np.float32)], {})
    plain = given(arrays, {})
    wanted = apply("toolkit", ATTENTION_GRADIENT, 1, plain, {})
    plan = planned(ATTENTION_GRADIENT, hidden, {}, known=(), outputs=3)
    execute(plan, hidden)
    for name, found in plan.output_arrays.items():
        np.testing.assert_allclose(found, wanted[int(name)], rtol=0.05, atol=0.02)


@pytest.mark.parametrize("mask", [None, np.asarray([0.0] * 19 + [-9.0], np.float32)], ids=["bare", "masked"])
def test_dropped_weights(mask: np.ndarray | None) -> None:
    arrays = operands((2, 3), (9, 20, 8, 8), "QV")
    named = {"scale": 0.4, "ratio": 0.3, "swapQ": 1, "swapV": 1}
    y, logarithm, kept = apply("toolkit", DROPPING, 1, [*arrays, mask], named)
    g = np.random.default_rng(5).standard_normal(y.shape, np.float32)
    behind = [g, *arrays, y, logarithm, mask, kept]
    check_node(ATTENTION_GRADIENT, behind, named, known=(), threads=2, outputs=3, tolerance=2e-5)


@pytest.mark.parametrize("wanted", [(0,), (0, 1), (0, 2)], ids=str)
def test_what_nobody_wants_is_left_out(wanted: tuple[int, ...]) -> None:
    arrays = given(operands((2, 3), (9, 20, 8, 8)), {})
    expected = apply("toolkit", ATTENTION_GRADIENT, 1, arrays, {})
    names = [str(index) if index in wanted else "" for index in range(3)]
    plan = planned(ATTENTION_GRADIENT, arrays, {}, known=(), outputs=names)
    execute(plan, arrays)
    assert sorted(plan.output_arrays) == [str(index) for index in wanted]
    for name, found in plan.output_arrays.items():
        np.testing.assert_allclose(found, expected[int(name)], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("least", [2 * 3 * 16 * 20, 2 * 3 * 16 * 20 + 1])
def test_few_scores_are_kept_instead(least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "LEAST_SCORES", least)
    program = Program(layer="scored")
    arrays = given(operands((2, 3), (16, 20, 8, 8)), {})
    items = [Variable(str(index), array.dtype, array.shape) for index, array in enumerate(arrays)]
    node = program.append(ATTENTION_GRADIENT, items, {}, domain="toolkit", version=1, outputs=3)
    assert heads.serves_attention(node) == (least == 2 * 3 * 16 * 20)
