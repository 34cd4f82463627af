"""Attention in one kernel: every way in which heads lie, sizes around tiles and panels, masks, and what they hide."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from tests.backends.native.checked import check_node, execute, planned
from tests.support.interpret import apply
from toolkit.backends import native
from toolkit.backends.native import backend
from toolkit.backends.native.backend import NativeBackend
from toolkit.backends.native.batched import attention, heads
from toolkit.compiler.program import Program, Variable
from toolkit.operators.standard.fused_attention import ATTENTION, DROPPING

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

LETTERS = "QKVY"


@pytest.fixture(autouse=True)
def everything_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((heads, "LEAST_QUERIES"), (attention, "WORTH_A_THREAD")):
        monkeypatch.setattr(module, name, 1)


def operands(lead: tuple[int, ...], sizes: tuple[int, int, int, int], swaps: str = "") -> list[Any]:
    """q, k and v; ``sizes`` are those of queries, keys, and both kinds of vectors."""
    random = np.random.default_rng(0)
    queries, keys, size, width = sizes
    found = []
    for letter, shape in (("Q", (queries, size)), ("K", (keys, size)), ("V", (keys, width))):
        laid = (*lead[:-1], shape[0], lead[-1], shape[1]) if letter in swaps else (*lead, *shape)
        found.append(random.standard_normal(laid, np.float32))
    return found


def check(arrays: list[Any], swaps: str = "", outputs: int = 2, **attributes: Any) -> None:
    named = {"scale": 0.4, **{f"swap{letter}": 1 for letter in swaps}, **attributes}
    check_node(ATTENTION, arrays, named, known=(), threads=2, outputs=outputs)


@pytest.mark.parametrize("flags", [*product((0, 1), repeat=4)][::5], ids=lambda flags: "".join(map(str, flags)))
def test_every_way_to_lie(flags: tuple[int, ...]) -> None:
    swaps = "".join(letter for letter, flag in zip(LETTERS, flags, strict=True) if flag)
    check(operands((2, 3), (13, 10, 7, 21), swaps), swaps)


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (50, 17, 8, 16), (97, 40, 5, 3), (8, 300, 33, 9)], ids=str)
def test_sizes(sizes: tuple[int, int, int, int]) -> None:
    check(operands((3,), sizes), outputs=1)


@pytest.mark.parametrize("keys", [7, 16, 40, 70])
def test_weights_that_are_dropped(keys: int) -> None:
    arrays, named = operands((2, 3), (13, keys, 7, 21), "KY"), {"scale": 0.4, "swapK": 1, "swapY": 1}
    plan = planned(DROPPING, arrays, {**named, "ratio": 0.3}, known=(), threads=2, outputs=3)
    execute(plan, arrays)
    y, logarithm, kept = (plan.output_arrays[name].copy() for name in "012")
    assert abs(kept.mean() - 0.7) < 4 * np.sqrt(0.21 / kept.size)
    ones = np.broadcast_to(np.eye(keys, dtype=np.float32), (2, 3, keys, keys))
    weights, expected = apply("toolkit", ATTENTION, 1, [*arrays[:2], ones], {**named, "swapY": 0})
    wanted = (weights * kept / 0.7 @ arrays[2]).swapaxes(1, 2)
    np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(logarithm, expected, rtol=1e-5, atol=1e-5)
    execute(plan, arrays)
    assert (plan.output_arrays["2"] != kept).any()


def test_what_is_dropped_follows_from_the_seed_whatever_the_threads() -> None:
    arrays, kept = operands((2, 3), (13, 40, 7, 21)), []
    for threads in (1, 2):
        plan = planned(DROPPING, arrays, {"ratio": 0.5}, known=(), threads=threads, outputs=3)
        execute(plan, arrays)
        kept.append(plan.output_arrays["2"].copy())
    np.testing.assert_array_equal(*kept)


def test_blocks_become_lower_where_there_are_many_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "MOST_SCORES", 200)
    check(operands((2, 2), (20, 30, 8, 8)))


@pytest.mark.parametrize("shape", [(20,), (9, 1), (9, 20), (3, 1, 20), (2, 1, 1, 20), (2, 3, 9, 20)], ids=str)
def test_masks_broadcast(shape: tuple[int, ...]) -> None:
    mask = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    check([*operands((2, 3), (9, 20, 8, 8)), mask])


@pytest.mark.parametrize("queries", [5, 20, 60])
def test_later_keys_are_hidden(queries: int) -> None:
    check(operands((2,), (queries, 20, 8, 8)), is_causal=1)


@pytest.mark.parametrize("value", [-1e4, float(np.finfo(np.float32).min), -np.inf])
def test_what_hidden_keys_hold_does_not_matter(value: float) -> None:
    mask = np.zeros((9, 20), np.float32)
    mask[:, 11:] = value
    check([*operands((2, 3), (9, 20, 8, 8)), mask])


def test_queries_without_keys_get_what_a_softmax_makes_of_them() -> None:
    """All alike where the mask is finite, NaN where it is not."""
    mask = np.zeros((9, 20), np.float32)
    mask[3], mask[5] = np.finfo(np.float32).min, -np.inf
    with np.errstate(invalid="ignore"):
        check([*operands((2, 3), (9, 20, 8, 8)), mask])
    check([*operands((2, 3), (9, 20, 8, 8)), mask[3:4]])


@pytest.mark.parametrize("is_faster", [True, False])
def test_the_spelling_is_taken_over_where_kernels_win(is_faster: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "stacks_win", lambda: is_faster)
    program = Program(layer="spelt")
    q, k, v = (Variable(name, np.dtype(np.float32), (2, 3, 16, 8)) for name in "qkv")
    program.inputs = {item.name: item for item in (q, k, v)}
    scores = program.append("FusedMatMul", [q, k], {"transB": 1, "alpha": 0.3}, domain="toolkit", version=1)
    weights = program.append("Softmax", [scores.y], {"axis": -1}, version=13)
    result = program.append("FusedMatMul", [weights.y, v], {}, domain="toolkit", version=1)
    program.outputs = {"y": result.y}
    for node in program.nodes:
        node.backend = "cpu"
    NativeBackend().arrange(program)
    formed = [node.op_type == ATTENTION and node.backend == "native" for node in program.nodes]
    assert formed == ([True] if is_faster else [False] * 3)
