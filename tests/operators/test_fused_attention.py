"""Attention that drops weights: how many, what it refuses, and a gradient of what it kept alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.interpret import apply
from toolkit.compiler.program import Node, Program, Variable
from toolkit.errors import NotDifferentiableError, ShapeError
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.record import Call, NotDifferentiable, lookup
from toolkit.operators.standard.fused_attention import ATTENTION_GRADIENT, DROPPING

SHAPE = (2, 3, 8, 4)


def appended(program: Program, operator: str, shapes: list[Any], outputs: int, **attributes: Any) -> Node:
    """A node on tensors of some shapes; those of truths are given as ``(shape, bool)``."""
    items = []
    for index, shape in enumerate(shapes):
        is_truth = shape is not None and shape[-1] is bool
        dtype = np.dtype(bool if is_truth else np.float32)
        items.append(None if shape is None else Variable(f"x{index}", dtype, shape[0] if is_truth else shape))
    return program.append(operator, items, attributes, domain=TOOLKIT_DOMAIN, outputs=outputs)


def test_as_many_weights_are_dropped_as_the_ratio_says() -> None:
    q, k = np.zeros((1, 1, 200, 4), np.float32), np.zeros((1, 1, 300, 4), np.float32)
    y, _, kept = apply(TOOLKIT_DOMAIN, DROPPING, 1, [q, k, np.ones_like(k)], {"ratio": 0.25})
    assert kept.mean() == pytest.approx(0.75, abs=0.01)
    np.testing.assert_allclose(y[..., 0], kept.mean(axis=-1) / 0.75, rtol=1e-5)


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_a_ratio_drops_some_and_keeps_some(ratio: float) -> None:
    with pytest.raises(ShapeError, match="ratio must lie between 0 and 1"):
        appended(Program(), DROPPING, [SHAPE] * 3, 3, ratio=ratio)


@pytest.mark.parametrize("kept", [((2, 3, 8, 7), bool), (2, 3, 8, 8)], ids=["shape", "type"])
def test_what_was_kept_is_one_truth_for_each_score(kept: Any) -> None:
    shapes = [*[SHAPE] * 5, (2, 3, 8, 1), None, kept]
    with pytest.raises(ShapeError, match=r"what was kept must be boolean and of the shape \(2, 3, 8, 8\)"):
        appended(Program(), ATTENTION_GRADIENT, shapes, 3, ratio=0.5)


def test_there_is_no_gradient_without_what_was_kept() -> None:
    program = Program()
    node = appended(program, DROPPING, [SHAPE] * 3, 1, ratio=0.5)
    found = lookup(TOOLKIT_DOMAIN, DROPPING, 1)
    assert found is not None and not isinstance(found.gradient, NotDifferentiable)
    inputs = [program.expression(item) for item in node.inputs if item is not None]
    call = Call([*inputs], [program.expression(node.y)], node.attributes, [True] * 3, 1)
    with pytest.raises(NotDifferentiableError, match="no gradient without what it kept: connect its third output"):
        found.gradient(call, program.expression(node.y))
