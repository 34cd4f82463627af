"""com.microsoft DynamicQuantizeLSTM: an LSTM with 8-bit weights, whose inputs and states are quantised as they come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.microsoft.quantization import MICROSOFT
from toolkit.operators.microsoft.quantized_linear import dynamic_quantize_matmul
from toolkit.operators.record import TensorType, operator
from toolkit.operators.standard.quantization import ROUNDS
from toolkit.operators.standard.recurrent_cell import DIRECTIONS
from toolkit.operators.standard.recurrent_lstm import LongShortTermCell

Array = np.ndarray
Grid = tuple[Array, Array]  # scale and zero point, of each direction or of each of its columns


class QuantizedCell(LongShortTermCell):
    """An LSTM cell whose weights are integers of (directions, inputs, gates), on the grids of both."""

    def __init__(self, x: Array, w: Array, r: Array, grids: tuple[Grid, Grid], *rest: Array | None, **how: Any) -> None:
        super().__init__(x, w.swapaxes(1, 2), r.swapaxes(1, 2), *rest, **how)
        self._weights = ((w, *grids[0]), (r, *grids[1]))

    def _projected(self) -> Array:
        """The input times W plus bias, for all steps at once."""
        rows = self.x.reshape(len(self.x), self.count * self.batch, self.x.shape[-1])
        pre = self._product(rows, 0)
        if self.b is not None:
            pre += self.projected_bias(self.b)[:, None]
        return pre.reshape(len(pre), self.count, self.batch, -1)

    def advanced(self, step: int) -> Array:
        """The state before a step times R."""
        return self._product(self.states[:, step], 1)

    def _product(self, rows: Array, number: int) -> Array:
        """Rows of each direction times its W (0) or R (1)."""
        parts = zip(rows, *self._weights[number], strict=True)
        return np.stack([dynamic_quantize_matmul(each, weight, scale, zero) for each, weight, scale, zero in parts])


def dynamic_quantize_lstm(
    x: Array,
    w: Array,
    r: Array,
    b: Array | None,
    sequence_lens: Array | None,
    initial_h: Array | None,
    initial_c: Array | None,
    p: Array | None,
    w_scale: Array,
    w_zero_point: Array,
    r_scale: Array,
    r_zero_point: Array,
    **attributes: Any,
) -> tuple[Array, ...]:
    """All hidden states, and the last hidden state and cell of each direction."""
    grids = (w_scale, w_zero_point), (r_scale, r_zero_point)
    cell = QuantizedCell(x, w, r, grids, b, sequence_lens, initial_h, initial_c, p, **attributes)
    return cell.run()


def _infer(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    x, w, r = types[0], types[1], types[2]
    assert x is not None and w is not None and r is not None
    count = len(DIRECTIONS[attributes.get("direction", "forward")])
    hidden = r[1][1] if len(r[1]) == 3 else 0
    if len(x[1]) != 3 or w[1] != (count, x[1][2], 4 * hidden) or r[1] != (count, hidden, 4 * hidden):
        raise ValueError(
            f"X, W and R must be (steps, batch, size), ({count}, size, 4 * hidden) and ({count}, hidden, 4 * hidden), "
            f"got {x[1]}, {w[1]} and {r[1]}"
        )
    steps, batch, _size = x[1]
    last = (count, batch, hidden)
    return [(x[0], (steps, count, batch, hidden)), (x[0], last), (x[0], last)]


operator("DynamicQuantizeLSTM", domain=MICROSOFT, reference=dynamic_quantize_lstm, gradient=ROUNDS, infer=_infer)
