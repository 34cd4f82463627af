"""Dropout in training mode: how much it drops, and the gradient of exactly what it kept."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.interpret import interpret
from toolkit.compiler.program import Program, Variable
from toolkit.errors import NotDifferentiableError
from toolkit.operators import lookup
from toolkit.operators.record import Call, NotDifferentiable, Operator

RATIO = np.asarray(0.25, np.float32)


def record() -> Operator:
    found = lookup("", "Dropout", 13)
    assert found is not None
    return found


def drop(x: np.ndarray, ratio: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    reference = record().reference
    assert reference is not None
    y, mask = reference(x, np.asarray(ratio, np.float32), np.asarray(True), random=np.random.default_rng(seed))
    return y, mask


def test_the_ratio_is_dropped_and_the_rest_scaled_up() -> None:
    x = np.ones((200, 500), np.float32)
    y, mask = drop(x, 0.25, seed=1)
    assert abs(mask.mean() - 0.75) < 0.01
    np.testing.assert_allclose(y[mask], 4 / 3, rtol=1e-6)
    assert not y[~mask].any()


def test_two_draws_differ_and_a_ratio_of_one_drops_everything() -> None:
    x = np.ones((4, 50), np.float32)
    assert (drop(x, 0.5, seed=1)[1] != drop(x, 0.5, seed=2)[1]).any()
    assert not drop(x, 1.0, seed=1)[0].any()


@pytest.mark.parametrize("is_constant", [True, False])
@pytest.mark.parametrize("is_live", [True, False])
def test_the_gradient_passes_where_the_value_passed(is_constant: bool, is_live: bool) -> None:
    x, g = np.ones((3, 40), np.float32), np.full((3, 40), 2, np.float32)
    program = Program()
    data = Variable("x", x.dtype, x.shape)
    ratio = Variable("ratio", RATIO.dtype, (), constant=RATIO if is_constant else None)
    live = Variable("live", np.dtype(bool), (), constant=np.asarray(is_live) if is_constant else None)
    node = program.append("Dropout", [data, ratio, live], {"seed": 4}, version=13, outputs=2)
    gradient = record().gradient
    assert not isinstance(gradient, NotDifferentiable)
    inputs = [program.expression(data), program.expression(ratio), program.expression(live)]
    call = Call(list(inputs), [program.expression(item) for item in node.outputs if item], {}, [True, False, False], 13)
    (dx, *_) = gradient(call, program.constant(g), None)
    assert dx is not None
    feeds = {data: x} if is_constant else {data: x, ratio: RATIO, live: np.asarray(is_live)}
    y, found = interpret(program, feeds, [node.y, dx.variable])
    np.testing.assert_allclose(found, y * 2, rtol=1e-6)
    assert (y == 0).any() == is_live


def test_training_without_a_mask_has_no_gradient() -> None:
    program = Program()
    data, live = (
        Variable("x", np.dtype(np.float32), (3,)),
        Variable("live", np.dtype(bool), (), constant=np.asarray(True)),
    )
    node = program.append("Dropout", [data, None, live], {}, version=13)
    call = Call(
        [program.expression(data), None, program.expression(live)], [program.expression(node.y)], {}, [True], 13
    )
    gradient = record().gradient
    assert not isinstance(gradient, NotDifferentiable)
    with pytest.raises(NotDifferentiableError, match="without its mask: connect its second output"):
        gradient(call, program.expression(node.y))
