"""Recurrent operators: sequences of different lengths, what is refused, and learning through time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import toolkit as tk
from tests.cases.recurrent import GATES, HIDDEN, STEPS, WIDTH
from tests.support.models import network
from toolkit.compiler.program import Program, Variable
from toolkit.errors import ShapeError
from toolkit.operators import lookup
from toolkit.operators.standard.cut_sequences import cut_sequences
from toolkit.operators.standard.recurrent import gru, lstm, rnn

BATCH = 3
OPERATORS = {"RNN": rnn, "GRU": gru, "LSTM": lstm}
EVERY = pytest.mark.parametrize("name", OPERATORS)
LENGTHS = np.array([2, 4, 1], np.int32)


def inputs(name: str, directions: int = 1) -> list[np.ndarray]:
    """X, W, R and B."""
    random, gates = np.random.default_rng(0), GATES[name] * HIDDEN
    shapes = [(STEPS, BATCH, WIDTH), (directions, gates, WIDTH), (directions, gates, HIDDEN), (directions, 2 * gates)]
    return [random.standard_normal(shape).astype(np.float32) for shape in shapes]


@EVERY
def test_output_is_zero_beyond_a_sequence_and_the_last_state_is_that_of_its_end(name: str) -> None:
    y, last, *_ = OPERATORS[name](*inputs(name), LENGTHS)
    for number, length in enumerate(LENGTHS):
        assert not y[length:, :, number].any()
        np.testing.assert_array_equal(last[:, number], y[length - 1, :, number])


@EVERY
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_a_short_sequence_is_what_it_is_alone(name: str, direction: str) -> None:
    x, *weights = inputs(name, 2 if direction == "bidirectional" else 1)
    outputs = OPERATORS[name](x, *weights, LENGTHS, direction=direction)
    for number, length in enumerate(LENGTHS):
        alone = OPERATORS[name](x[:length, number : number + 1], *weights, direction=direction)
        np.testing.assert_allclose(outputs[0][:length, :, number], alone[0][:, :, 0], rtol=1e-6, atol=1e-6)
        for together, state in zip(outputs[1:], alone[1:], strict=True):
            np.testing.assert_allclose(together[:, number], state[:, 0], rtol=1e-6, atol=1e-6)


@EVERY
def test_reverse_starts_at_the_end_of_each_sequence(name: str) -> None:
    x, *weights = inputs(name)
    y, last, *_ = OPERATORS[name](x, *weights, LENGTHS, direction="reverse")
    turned = x.copy()
    for number, length in enumerate(LENGTHS):
        turned[:length, number] = x[:length, number][::-1]
    forward, forward_last, *_ = OPERATORS[name](turned, *weights, LENGTHS)
    np.testing.assert_allclose(last, forward_last, rtol=1e-6, atol=1e-6)
    for number, length in enumerate(LENGTHS):
        np.testing.assert_allclose(y[:length, :, number], forward[:length, :, number][::-1], rtol=1e-6, atol=1e-6)


@EVERY
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_what_pads_a_sequence_reaches_neither_values_nor_gradients(name: str, direction: str) -> None:
    x, *weights = inputs(name)
    padded = x.copy()
    for number, length in enumerate(LENGTHS):
        padded[length:, number] = np.nan
    absent = [None] * (3 if name == "LSTM" else 1)
    seeds = [np.ones((STEPS, 1, BATCH, HIDDEN), np.float32), *[None] * (2 if name == "LSTM" else 1)]
    record = lookup("toolkit", f"{name}Gradient", 1)
    assert record is not None and record.reference is not None
    found = []
    for given in (x, padded):
        outputs = OPERATORS[name](given, *weights, LENGTHS, direction=direction)
        grads = record.reference(given, *weights, LENGTHS, *absent, *seeds, wrt=[0, 1, 2, 3], direction=direction)
        found.append([*outputs, *grads])
    for clean, dirty in zip(*found, strict=True):
        np.testing.assert_array_equal(clean, dirty)


@EVERY
def test_no_step_leaves_the_initial_state(name: str) -> None:
    x, *weights = inputs(name)
    initial = np.ones((1, BATCH, HIDDEN), np.float32)
    y, last, *_ = OPERATORS[name](x[:0], *weights, None, initial)
    assert y.shape == (0, 1, BATCH, HIDDEN)
    np.testing.assert_array_equal(last, initial)


def test_the_default_direction_of_the_first_gru_is_understood() -> None:
    arrays = inputs("GRU")
    np.testing.assert_array_equal(gru(*arrays, direction="foward")[0], gru(*arrays, direction="forward")[0])


def test_lengths_must_lie_within_the_sequence() -> None:
    with pytest.raises(ValueError, match=r"sequence_lens must lie in \[0, 4\], got \[2, 5, 1\]"):
        rnn(*inputs("RNN"), np.array([2, 5, 1], np.int32))
    with pytest.raises(ValueError, match=r"sequence_lens must lie in \[0, 4\], got \[2, 5, 1\]"):
        cut_sequences(np.zeros((4, BATCH, HIDDEN), np.float32), np.array([2, 5, 1], np.int32))


def test_there_is_a_length_for_each_sequence() -> None:
    y, lengths = Variable("y", np.dtype(np.float32), (4, 3, 2)), Variable("lengths", np.dtype(np.int32), (2,))
    with pytest.raises(ShapeError, match=r"lengths must be \(3,\), got \(2,\)"):
        Program().append("CutSequences", [y, lengths], {}, domain="toolkit", outputs=2)


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(ValueError, match="activation 'Swish' must be one of relu, tanh"):
        rnn(*inputs("RNN"), activations=["Swish"])


def test_both_directions_need_activations() -> None:
    with pytest.raises(ValueError, match="activations must name 3 for each of 2 directions, got"):
        lstm(*inputs("LSTM", 2), direction="bidirectional", activations=["Sigmoid", "Tanh", "Tanh"])


def test_activations_are_named_in_any_case() -> None:
    arrays = inputs("GRU")
    np.testing.assert_array_equal(gru(*arrays, activations=["sigmoid", "TANH"])[0], gru(*arrays)[0])


@pytest.mark.parametrize(
    ("attributes", "changed", "message"),
    [
        ({}, {0: (4, 3)}, "X and R must have 3 axes"),
        ({}, {1: (1, 8, 4)}, r"W must be \(1, 8, 3\), got \(1, 8, 4\)"),
        ({}, {2: (1, 6, 2)}, r"R must be \(1, 8, 2\), got \(1, 6, 2\)"),
        ({}, {3: (1, 8)}, r"B must be \(1, 16\), got \(1, 8\)"),
        ({"direction": "bidirectional"}, {}, r"W must be \(2, 8, 3\), got \(1, 8, 3\)"),
        ({"direction": "backward"}, {}, "direction must be forward, reverse or bidirectional, got 'backward'"),
        ({"layout": 2}, {}, "layout must be 0 or 1, got 2"),
        ({"clip": 0.0}, {}, "clip must be positive, got 0.0"),
        ({"hidden_size": 5}, {}, "hidden_size must be the last size of R, 2"),
    ],
)
def test_what_does_not_fit_is_refused(
    attributes: dict[str, Any], changed: dict[int, tuple[int, ...]], message: str
) -> None:
    shapes = [changed.get(index, array.shape) for index, array in enumerate(inputs("LSTM"))]
    variables = [Variable(f"x{index}", np.dtype(np.float32), shape) for index, shape in enumerate(shapes)]
    with pytest.raises(ShapeError, match=message):
        Program(layer="case").append("LSTM", variables, attributes, version=14, outputs=3)


def test_a_gradient_has_the_shape_of_its_output() -> None:
    arrays = [*inputs("RNN"), None, None, np.ones((STEPS, 1, BATCH, HIDDEN + 1), np.float32), None]
    variables = [
        None if item is None else Variable(f"x{index}", item.dtype, item.shape) for index, item in enumerate(arrays)
    ]
    with pytest.raises(ShapeError, match=r"gradient of an output must be \(4, 1, 3, 2\), got \(4, 1, 3, 3\)"):
        Program(layer="case").append("RNNGradient", variables, {"wrt": [0]}, domain="toolkit", version=1)


@pytest.mark.parametrize(("name", "gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
def test_a_recurrent_network_learns_what_its_sequences_began_with(name: str, gates: int) -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((96, 5, 2)).astype(np.float32)
    labels = (x[:, 0, 0] > 0).astype(np.int64)
    made = network(
        f"""remembering (float[N, 5, 2] x) => (float[N, 2] y) {{
            sequence = Transpose <perm = [1, 0, 2]> (x)
            steps, last = {name} <hidden_size = 6> (sequence, w, r, b)
            axes = Constant <value_ints = [0]> ()
            state = Squeeze (last, axes)
            y = Gemm (state, w2, b2)
        }}""",
        w=(1, gates * 6, 2),
        r=(1, gates * 6, 6),
        b=(1, 2 * gates * 6),
        w2=(6, 2),
        b2=(2,),
    )
    trainer = tk.Trainer(
        made, loss=tk.losses.SoftmaxCrossEntropy(), optimizer=tk.optimizers.Adam(0.05), backend="numpy"
    )
    trainer.fit((x, labels), epochs=25, batch_size=32)
    assert trainer.evaluate((x, labels))["accuracy"] > 0.95


@pytest.mark.parametrize("lengths", [[2, 4], [2, 5, 1], [-1, 4, 1]], ids=["too few", "too long", "negative"])
def test_lengths_of_a_layer_are_checked(lengths: list[int]) -> None:
    shapes = [(STEPS, BATCH, WIDTH), (1, WIDTH, 1, HIDDEN), (1, HIDDEN, 1, HIDDEN)]
    operands = [Variable(f"x{index}", np.dtype(np.float32), shape) for index, shape in enumerate(shapes)]
    with pytest.raises(ShapeError, match=r"lengths must be 3 numbers in \[0, 4\], got \["):
        Program().append("Recurrent", operands, {"kind": "Tanh", "lengths": lengths}, domain="toolkit", outputs=3)
