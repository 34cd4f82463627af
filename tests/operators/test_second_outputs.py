"""Gradients where an operator has outputs besides the one that is usually judged."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.compiler.program import Node, Program, Variable
from toolkit.operators.expression import Expression
from toolkit.operators.record import Call, NotDifferentiable


def apply_gradient(program: Program, node: Node, *grads: Expression | None) -> list[Expression | None]:
    """What the node's record makes of these output gradients, everything wanted."""
    record = node.record
    assert record is not None
    assert not isinstance(record.gradient, NotDifferentiable)
    assert record.gradient is not None
    inputs = [None if item is None else program.expression(item) for item in node.inputs]
    outputs = [None if item is None else program.expression(item) for item in node.outputs]
    call = Call(inputs, outputs, node.attributes, [True] * len(inputs), node.version)
    return list(record.gradient(call, *grads))


def floats(*shape: int) -> Variable:
    return Variable("x", np.dtype(np.float32), shape)


def test_statistics_of_layer_normalization_lead_to_the_input_alone() -> None:
    program = Program()
    node = program.append("LayerNormalization", [floats(2, 3), floats(3)], {}, version=17, outputs=3)
    mean = program.expression(node.outputs[1]) if node.outputs[1] is not None else None
    grads = apply_gradient(program, node, None, mean, None)
    assert [item is None for item in grads] == [False, True]


@pytest.mark.parametrize("training_mode", [0, 1])
def test_moved_statistics_alone_send_nothing_back(training_mode: int) -> None:
    program = Program()
    attributes = {"training_mode": training_mode}
    inputs = [floats(2, 3), *(floats(3) for _ in range(4))]
    node = program.append("BatchNormalization", inputs, attributes, version=15, outputs=3 if training_mode else 1)
    assert apply_gradient(program, node, None) == [None] * 5


def test_frozen_statistics_send_nothing_back_even_when_asked() -> None:
    program = Program()
    node = program.append("BatchNormalization", [floats(2, 3), *(floats(3) for _ in range(4))], {}, version=15)
    grads = apply_gradient(program, node, program.expression(node.y))
    assert [item is None for item in grads] == [False, False, False, True, True]


def test_a_pooling_that_was_not_prepared_for_training_chooses_again() -> None:
    program = Program()
    node = program.append("MaxPool", [floats(1, 2, 6)], {"kernel_shape": [2], "strides": [2]}, version=12)
    (dx,) = apply_gradient(program, node, program.expression(node.y))
    assert dx is not None
    assert dx.shape == (1, 2, 6)
    assert [made.op_type for made in program.nodes] == ["MaxPool", "MaxPoolTraining", "MaxPoolGradient"]


def test_nothing_is_computed_for_frozen_inputs_of_a_convolution() -> None:
    program = Program()
    node = program.append("Conv", [floats(1, 2, 6), floats(3, 2, 3), floats(3)], {}, version=11)
    record = node.record
    assert record is not None
    assert record.gradient is not None
    assert not isinstance(record.gradient, NotDifferentiable)
    inputs = [None if item is None else program.expression(item) for item in node.inputs]
    call = Call(inputs, [program.expression(node.y)], {}, [False, True, True], 11)
    dx, dw, db = record.gradient(call, program.expression(node.y))
    assert dx is None
    assert dw is not None and db is not None
    assert [made.op_type for made in program.nodes] == ["Conv", "ConvWeightGradient"]
