"""Recurrent layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.autodiff.against_torch.row import row, torch, values


def gates(w: Any, order: Sequence[int]) -> Any:
    """Rows of a recurrent weight in another order of the gates."""
    parts = w.chunk(len(order))
    return torch.cat([parts[place] for place in order])


def recurrent(kind: Any, order: Sequence[int], **given: Any) -> Callable[..., Any]:
    """A recurrent layer of PyTorch on ONNX's tensors: all outputs, Y as (length, directions, batch, hidden)."""

    def function(x: Any, w: Any, r: Any, b: Any, lengths: Any, h: Any, c: Any = None) -> Any:
        directions, hidden = r.shape[0], r.shape[2]
        layer = kind(x.shape[2], hidden, bidirectional=directions == 2, dtype=x.dtype, **given)
        weights = {}
        for number in range(directions):
            end = "_l0_reverse" if number else "_l0"
            half = b.shape[1] // 2
            weights[f"weight_ih{end}"], weights[f"weight_hh{end}"] = gates(w[number], order), gates(r[number], order)
            weights[f"bias_ih{end}"] = gates(b[number, :half], order)
            weights[f"bias_hh{end}"] = gates(b[number, half:], order)
        state = h if c is None else (h, c)
        y, last = torch.func.functional_call(layer, weights, (x, state))
        return y.reshape(*y.shape[:2], directions, hidden).transpose(1, 2), *([last] if c is None else last)

    return function


def recurrent_inputs(count: int, directions: int, states: int = 1) -> list[np.ndarray | None]:
    """Five steps of three sequences of two features, to four hidden units."""
    small = {"low": -0.7, "high": 0.7}
    w, r = values(directions, count * 4, 2, **small), values(directions, count * 4, 4, **small)
    b = values(directions, count * 8, **small)
    return [values(5, 3, 2), w, r, b, None, *(values(directions, 3, 4, seed=number) for number in range(states))]


RECURRENT = [
    row("RNN", recurrent_inputs(1, 1), recurrent(torch.nn.RNN, [0]), hidden_size=4, outputs=2),
    row("RNN", recurrent_inputs(1, 2), recurrent(torch.nn.RNN, [0], nonlinearity="relu"), hidden_size=4, outputs=2,
        direction="bidirectional", activations=["Relu", "Relu"], note="Relu both ways"),
    row("GRU", recurrent_inputs(3, 2), recurrent(torch.nn.GRU, [1, 0, 2]), hidden_size=4, outputs=2,
        direction="bidirectional", linear_before_reset=1),
    row("LSTM", recurrent_inputs(4, 1, 2), recurrent(torch.nn.LSTM, [0, 2, 3, 1]), hidden_size=4, outputs=3),
    row("LSTM", recurrent_inputs(4, 2, 2), recurrent(torch.nn.LSTM, [0, 2, 3, 1]), hidden_size=4, outputs=3,
        direction="bidirectional", note="both ways"),
]  # fmt: skip
