"""RNN, GRU and LSTM in every version: their records, shape rules and gradients.

Versions differ in what may be written, not in what it means: GRU-1 spells its default direction ``foward`` and has no
``linear_before_reset``, ``output_sequence`` ends with version 7, ``layout`` begins with 14, bfloat16 with 22. The
output sequence is computed in all of them: ``output_sequence=0`` only allows leaving it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, Gradient, Inference, TensorType, operator
from toolkit.operators.standard.recurrent_cell import DIRECTIONS, Cell, SimpleCell
from toolkit.operators.standard.recurrent_gru import GatedCell
from toolkit.operators.standard.recurrent_lstm import LongShortTermCell

Array = np.ndarray
CELLS: dict[str, type[Cell]] = {"RNN": SimpleCell, "GRU": GatedCell, "LSTM": LongShortTermCell}
INPUTS = {
    "RNN": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "GRU": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "LSTM": ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"),
}
STATES = {"RNN": 1, "GRU": 1, "LSTM": 2}


@in_float32
def rnn(
    x: Array,
    w: Array,
    r: Array,
    b: Array | None = None,
    sequence_lens: Array | None = None,
    initial_h: Array | None = None,
    **attributes: Any,
) -> tuple[Array, ...]:
    """Y and Y_h of a simple recurrent layer; ``Cell`` names the attributes and their defaults."""
    return SimpleCell(x, w, r, b, sequence_lens, initial_h, **attributes).run()


@in_float32
def gru(
    x: Array,
    w: Array,
    r: Array,
    b: Array | None = None,
    sequence_lens: Array | None = None,
    initial_h: Array | None = None,
    **attributes: Any,
) -> tuple[Array, ...]:
    """Y and Y_h of a layer of gated recurrent units."""
    return GatedCell(x, w, r, b, sequence_lens, initial_h, **attributes).run()


@in_float32
def lstm(
    x: Array,
    w: Array,
    r: Array,
    b: Array | None = None,
    sequence_lens: Array | None = None,
    initial_h: Array | None = None,
    initial_c: Array | None = None,
    p: Array | None = None,
    **attributes: Any,
) -> tuple[Array, ...]:
    """Y, Y_h and Y_c of a layer with long short-term memory."""
    return LongShortTermCell(x, w, r, b, sequence_lens, initial_h, initial_c, p, **attributes).run()


def expected_shapes(
    name: str, types: Sequence[TensorType | None], attributes: dict[str, Any]
) -> tuple[dict[str, tuple[int, ...]], tuple[int, ...]]:
    """The shape that each input of RNN, GRU or LSTM must have, and that of the output sequence.

    Raises ``ValueError`` when X, R and the attributes do not tell them, or contradict each other.
    """
    x, r = types[0], types[2]
    assert x is not None and r is not None
    if len(x[1]) != 3 or len(r[1]) != 3:
        raise ValueError("X and R must have 3 axes")
    direction, layout = attributes.get("direction", "forward"), int(attributes.get("layout", 0))
    if direction not in DIRECTIONS:
        raise ValueError(f"direction must be forward, reverse or bidirectional, got {direction!r}")
    if layout not in (0, 1):
        raise ValueError(f"layout must be 0 or 1, got {layout}")
    if not attributes.get("clip", 1.0) > 0:
        raise ValueError(f"clip must be positive, got {attributes['clip']}")
    directions, hidden, gates = len(DIRECTIONS[direction]), r[1][2], CELLS[name].gate_count
    if attributes.get("hidden_size", hidden) != hidden:
        raise ValueError(f"hidden_size must be the last size of R, {hidden}")
    steps, batch = x[1][:2] if layout == 0 else x[1][1::-1]
    state = (batch, directions, hidden) if layout else (directions, batch, hidden)
    expected = {
        "X": x[1],
        "W": (directions, gates * hidden, x[1][2]),
        "R": (directions, gates * hidden, hidden),
        "B": (directions, 2 * gates * hidden),
        "sequence_lens": (batch,),
        "initial_h": state,
        "initial_c": state,
        "P": (directions, 3 * hidden),
    }
    return expected, (batch, steps, directions, hidden) if layout else (steps, directions, batch, hidden)


def _infer(name: str) -> Inference:
    """The output sequence, then one last state for each that the cell carries."""

    def infer(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
        expected, sequence = expected_shapes(name, types, attributes)
        for title, item in zip(INPUTS[name], types, strict=False):
            if item is not None and item[1] != expected[title]:
                raise ValueError(f"{title} must be {expected[title]}, got {item[1]}")
        assert types[0] is not None
        dtype = types[0][0]
        return [(dtype, sequence)] + [(dtype, expected["initial_h"])] * STATES[name]

    return infer


def _gradient(name: str) -> Gradient:
    """One fused operator for all gradients that are wanted; it runs the cell again, keeping every step."""

    def gradient(call: Call, *output_grads: Expression | None) -> list[Expression | None]:
        count = len(INPUTS[name])
        inputs = [*call.inputs, *[None] * (count - len(call.inputs))]
        grads = [*output_grads, *[None] * (1 + STATES[name] - len(output_grads))]
        differentiable = (index for index in range(len(call.inputs)) if INPUTS[name][index] != "sequence_lens")
        wrt = [index for index in differentiable if call.wants[index] and call.inputs[index] is not None]
        result: list[Expression | None] = [None] * len(call.inputs)
        if not wrt:
            return result
        found = emit(
            f"{name}Gradient",
            *inputs,
            *grads,
            domain=TOOLKIT_DOMAIN,
            outputs=len(wrt),
            wrt=wrt,
            **call.attributes,
        )
        for index, grad in zip(wrt, [found] if len(wrt) == 1 else found, strict=True):
            result[index] = grad
        return result

    return gradient


for _name, _reference in (("RNN", rnn), ("GRU", gru), ("LSTM", lstm)):
    operator(_name, reference=_reference, gradient=_gradient(_name), infer=_infer(_name))
