"""What the gradient is where there is no derivative: at ties, kinks and zeros it is defined, and finite.

Equal extremes share evenly where they are inputs or reduced elements (Max, Min, ReduceMax, ReduceMin); where one of
them is chosen, the first takes all (pooling, TopK). At a kink one of the two slopes holds; on a bound Clip's gradient
belongs to the bound.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from tests.support.interpret import interpret
from toolkit.autodiff import differentiate
from toolkit.compiler.program import Program, Variable


@dataclass(frozen=True)
class Tie:
    """An operator, its inputs, and the gradients of those that have one when every element of its result gets 1."""

    operator: str
    inputs: tuple[Any, ...]
    expected: tuple[Any, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    version: int = 23
    outputs: int = 1


def tie(operator: str, *inputs: Any, to: tuple[Any, ...], version: int = 23, outputs: int = 1, **given: Any) -> Tie:
    return Tie(operator, inputs, to, given, version, outputs)


def gradients(row: Tie) -> list[np.ndarray]:
    """The gradients of all floating-point inputs."""
    program, feeds = Program(layer="tie"), {}
    variables: list[Variable | None] = []
    for index, item in enumerate(row.inputs):
        array = np.asarray(item)
        known = None if array.dtype == np.float64 else array
        made = Variable(f"input {index}", array.dtype, array.shape, constant=known)
        variables.append(made)
        if known is None:
            program.inputs[made.name] = made
            feeds[made] = array
    node = program.append(row.operator, variables, row.attributes, version=row.version, outputs=row.outputs)
    seed = program.constant(np.ones(node.y.shape)).variable
    found = differentiate(program, {node.y: seed}, list(feeds))
    missing = {item: lack for item, lack in found.shortfalls().items() if not lack.is_exact}
    assert not missing
    return interpret(program, feeds, [found[item] for item in feeds if item in found])


KINKS = [
    *(
        tie(operator, [-1.0, 0.0, -0.0, 1.0], to=([below, at, at, 1.0],), **attributes)
        for operator, below, at, attributes in (
            ("Relu", 0.0, 0.0, {}),
            ("LeakyRelu", 0.25, 0.25, {"alpha": 0.25}),
            ("Elu", np.exp(-1.0), 1.0, {}),
            ("Celu", np.exp(-1.0), 1.0, {}),
            ("Abs", -1.0, 0.0, {}),
        )
    ),
    tie("PRelu", [-1.0, 0.0], [0.5, 0.5], to=([0.5, 1.0], [-1.0, 0.0])),
    tie("ThresholdedRelu", [1.0, 2.0], to=([0.0, 1.0],)),
    tie("Shrink", [-0.5, 0.5, 2.0], to=([0.0, 0.0, 1.0],)),
    tie("HardSigmoid", [-2.5, 0.0, 2.5], to=([0.0, 0.2, 0.0],)),
    tie("Sqrt", [4.0, 0.0], to=([0.25, np.inf],)),
    tie("Clip", [-1.0, 0.0, 1.0], -1.0, 1.0, to=([0.0, 1.0, 0.0], 1.0, 1.0)),
    tie("Pow", [0.0, 0.0, 0.0, 2.0], [1.0, 2.0, 0.0, 0.0], to=([1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, np.log(2.0)])),
]
EXTREMES = [
    tie("Max", [1.0, 2.0], [1.0, 0.0], to=([0.5, 1.0], [0.5, 0.0])),
    tie("Min", [1.0, 2.0], [1.0, 0.0], [1.0, 0.0], to=([1 / 3, 0.0], [1 / 3, 0.5], [1 / 3, 0.5])),
    tie("Max", [1.0, 1.0], 1.0, to=([0.5, 0.5], 1.0)),
    tie("ReduceMax", [[2.0, 2.0, 1.0]], np.array([1]), to=([[0.5, 0.5, 0.0]],)),
    tie("ReduceMin", [[2.0, 1.0, 1.0, 1.0]], np.array([-1]), to=([[0.0, 1 / 3, 1 / 3, 1 / 3]],)),
    tie("MaxPool", [[[3.0, 3.0, 3.0, 1.0]]], to=([[[1.0, 1.0, 0.0, 0.0]]],), kernel_shape=[3]),
    tie("GlobalMaxPool", [[[0.0, 3.0, 3.0]]], to=([[[0.0, 1.0, 0.0]]],)),
    tie("TopK", [5.0, 7.0, 5.0, 5.0], np.array([2]), to=([1.0, 1.0, 0.0, 0.0],), outputs=2),
    tie("TopK", [5.0, 7.0, 5.0], np.array([1]), to=([1.0, 0.0, 0.0],), outputs=2, largest=0),
    tie("MaxRoiPool", [[[[2.0, 2.0]]]], [[0.0, 0.0, 0.0, 1.0, 0.0]],
        to=([[[[1.0, 0.0]]]],), pooled_shape=[1, 1]),
]  # fmt: skip
ZEROS = [
    tie("ReduceL1", [0.0, -2.0], to=([0.0, -1.0],)),
    tie("ReduceL2", [0.0, 0.0], to=([0.0, 0.0],)),
    tie("ReduceProd", [0.0, 2.0, 3.0], to=([6.0, 0.0, 0.0],)),
    tie("ReduceProd", [0.0, 0.0, 3.0], to=([0.0, 0.0, 0.0],)),
    tie("CumProd", [2.0, 0.0, 3.0], np.array(0), to=([1.0, 8.0, 0.0],), version=26),
    tie("LpNormalization", [0.0, 0.0], to=([1.0, 1.0],)),
    tie("LpPool", [[[0.0, 0.0]]], to=([[[0.0, 0.0]]],), kernel_shape=[2]),
    tie("GlobalLpPool", [[[0.0, 0.0]]], to=([[[0.0, 0.0]]],)),
    tie("MeanVarianceNormalization", [[2.0, 2.0]], to=([[0.0, 0.0]],), axes=[0, 1]),
    tie("InstanceNormalization", [[[2.0, 2.0]]], [3.0], [0.0], to=([[[0.0, 0.0]]], [0.0], [2.0])),
    tie("LayerNormalization", [[2.0, 2.0]], [1.0, 1.0], to=([[0.0, 0.0]], [0.0, 0.0])),
    tie("RMSNormalization", [[0.0, 0.0]], [1.0, 1.0], to=([[1e5**0.5, 1e5**0.5]], [0.0, 0.0])),
    tie("Det", [[0.0, 0.0], [0.0, 0.0]], to=([[0.0, 0.0], [0.0, 0.0]],)),
    tie("Det", [[1.0, 2.0], [2.0, 4.0]], to=([[4.0, -2.0], [-2.0, 1.0]],), version=22),
    tie("Softmax", [-np.inf, 1.0], to=([0.0, 0.0],)),
    tie("LogSoftmax", [1000.0, 0.0], to=([-1.0, 1.0],)),
    tie("Softplus", [-800.0, 800.0], to=([0.0, 1.0],)),
    tie("Sigmoid", [-800.0, 800.0], to=([0.0, 0.0],)),
]
ROWS = [*KINKS, *EXTREMES, *ZEROS]


@pytest.mark.parametrize("row", ROWS, ids=[row.operator for row in ROWS])
def test_gradient_is_what_is_defined(row: Tie) -> None:
    with np.errstate(all="ignore"):
        found = gradients(row)
    for grad, expected in zip(found, row.expected, strict=False):
        np.testing.assert_allclose(grad, np.asarray(expected, np.float64), rtol=1e-9, atol=1e-12)


def test_a_scattered_maximum_shares_with_what_it_meets() -> None:
    given = ([1.0, 2.0], np.array([0, 0]), [1.0, 0.5])
    data, updates = gradients(tie("ScatterElements", *given, to=(), version=18, reduction="max"))
    assert np.isfinite(data).all()
    np.testing.assert_allclose(data.sum() + updates.sum(), 2.0)
