"""The gradients of RNN, GRU and LSTM, by back-propagation through time.

Each takes the inputs of its operator, then the gradients of its outputs (absent where nothing was propagated to one),
and gives the gradients of the inputs whose positions ``wrt`` lists, in that order. The forward pass is computed again,
so that what is kept between forward and backward are the inputs alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from toolkit.operators.composed import gradient_through
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, Inference, TensorType, operator
from toolkit.operators.standard.recurrent import CELLS, INPUTS, expected_shapes
from toolkit.operators.standard.recurrent_cell import Cell
from toolkit.operators.standard.recurrent_expansion import gradients_by_steps
from toolkit.operators.standard.recurrent_lstm import LongShortTermCell

Array = np.ndarray


def _reference(name: str) -> Callable[..., tuple[Array, ...]]:
    @in_float32
    def evaluate(*arrays: Array | None, wrt: Sequence[int], **attributes: Any) -> tuple[Array, ...]:
        count = len(INPUTS[name])
        make: Callable[..., Cell] = CELLS[name]
        cell = make(*arrays[:count], keep=True, **attributes)
        cell.run()
        cell.back(*arrays[count:])
        return tuple(_grad(cell, INPUTS[name][index]) for index in wrt)

    return evaluate


def _grad(cell: Cell, title: str) -> Array:
    """The gradient of one input of the node."""
    if title == "P":
        assert isinstance(cell, LongShortTermCell)
        return cell.peephole_grad()
    if title in ("initial_h", "initial_c"):
        return cell.dinitial[0 if title == "initial_h" else 1]
    ways = {"X": cell.input_grad, "W": cell.weight_grad, "R": cell.recurrent_grad, "B": cell.bias_grad}
    return ways[title]()


def _infer(name: str) -> Inference:
    def infer(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
        expected, sequence = expected_shapes(name, types, attributes)
        grads = types[len(INPUTS[name]) :]
        wanted = [sequence, *[expected["initial_h"]] * (len(grads) - 1)]
        for item, shape in zip(grads, wanted, strict=True):
            if item is not None and item[1] != shape:
                raise ValueError(f"the gradient of an output must be {shape}, got {item[1]}")
        found = [types[index] for index in attributes["wrt"]]
        return [item for item in found if item is not None]

    return infer


def _expansion(name: str) -> Callable[[Call], list[Expression | None]]:
    return lambda call: gradients_by_steps(CELLS[name], call, len(INPUTS[name]))


for _name in CELLS:
    operator(
        f"{_name}Gradient",
        domain=TOOLKIT_DOMAIN,
        reference=_reference(_name),
        gradient=gradient_through(_expansion(_name)),
        infer=_infer(_name),
        expansion=_expansion(_name),
    )
