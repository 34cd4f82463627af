"""The cell of GRU: update gate z, reset gate r, hidden gate; the reset before or after the recurrent product."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.operators.standard.recurrent_cell import Array, Cell, outer


class GatedCell(Cell):
    """GRU: ``z, r = f(x W + h R + b)``, then ``n = g(...)`` of the reset state, and ``h' = (1 - z) n + z h``.

    The hidden gate sees ``(r h) R``, or with ``linear_before_reset`` ``r (h R + b)``, which needs one product less.
    """

    gate_count = 3
    default_activations = ("Sigmoid", "Tanh")

    def __init__(self, *arrays: Array | None, linear_before_reset: int = 0, **attributes: Any) -> None:
        super().__init__(*arrays, **attributes)  # type: ignore[arg-type]
        self.is_linear_first = bool(linear_before_reset)
        self._hidden_bias = None if self.b is None else self.part(self.b, 5, 6)[:, None]
        if self.keep and self.is_linear_first:
            self._linear = np.empty_like(self.states[:, 1:])

    def projected_bias(self, b: Array) -> Array:
        """The recurrent bias of the hidden gate waits for the reset where that comes later."""
        if not self.is_linear_first:
            return super().projected_bias(b)
        bias = b[:, : 3 * self.hidden].copy()
        bias[:, : 2 * self.hidden] += self.part(b, 3, 5)
        return bias

    def advance(self, step: int) -> None:
        h, after = self.states[:, step], self.states[:, step + 1]
        pre, gates = self.pre[:, step], self.gates[:, step]
        hidden = self.part(pre, 2, 3)
        gating = self.part(pre, 0, 2)
        if self.is_linear_first:
            recurrent = self.advanced(step)
            gating += self.part(recurrent, 0, 2)
            self.activate(step, 0, 2, self.roles[0])
            linear = self.part(recurrent, 2, 3)
            if self._hidden_bias is not None:
                linear += self._hidden_bias
            if self.keep:
                self._linear[:, step] = linear
            linear *= self.part(gates, 1, 2)
            hidden += linear
        else:
            gating += h @ self.r[:, : 2 * self.hidden].swapaxes(1, 2)
            self.activate(step, 0, 2, self.roles[0])
            hidden += (self.part(gates, 1, 2) * h) @ self.r[:, 2 * self.hidden :].swapaxes(1, 2)
        self.activate(step, 2, 3, self.roles[1])
        new = self.part(gates, 2, 3)
        np.subtract(h, new, out=after)
        after *= self.part(gates, 0, 1)
        after += new

    def prepare_back(self) -> None:
        h = self.states[:, :-1]
        update, reset, new = (self.part(self.gates, gate, gate + 1) for gate in range(3))
        gating = self.slope(self.roles[0], self.part(self.pre, 0, 2), self.part(self.gates, 0, 2))
        self._update, self._reset = update, reset
        self._to_update = (h - new) * self.part(gating, 0, 1)
        self._to_reset = (self._linear if self.is_linear_first else h) * self.part(gating, 1, 2)
        self._to_new = (1 - update) * self.slope(self.roles[1], self.part(self.pre, 2, 3), new)

    def retreat(self, step: int, *grads: Array) -> tuple[Array, ...]:
        dh, dpre, reset = grads[0], self.dpre[:, step], self._reset[:, step]
        np.multiply(dh, self._to_update[:, step], out=self.part(dpre, 0, 1))
        dnew = np.multiply(dh, self._to_new[:, step], out=self.part(dpre, 2, 3))
        earlier = dh * self._update[:, step]
        if self.is_linear_first:
            np.multiply(dnew, self._to_reset[:, step], out=self.part(dpre, 1, 2))
            flow = dpre.copy()
            dlinear = self.part(flow, 2, 3)
            dlinear *= reset
            return (earlier + flow @ self.r,)
        dproduct = dnew @ self.r[:, 2 * self.hidden :]
        np.multiply(dproduct, self._to_reset[:, step], out=self.part(dpre, 1, 2))
        earlier += dproduct * reset
        return (earlier + self.part(dpre, 0, 2) @ self.r[:, : 2 * self.hidden],)

    def recurrent_grad(self) -> Array:
        h = self.states[:, :-1]
        if self.is_linear_first:
            return outer(self._flow(), h)
        parts = [outer(self.part(self.dpre, 0, 2), h), outer(self.part(self.dpre, 2, 3), self._reset * h)]
        return np.concatenate(parts, axis=1)

    def bias_grad(self) -> Array:
        flow = self._flow() if self.is_linear_first else self.dpre
        return np.concatenate([self.dpre.sum((1, 2)), flow.sum((1, 2))], axis=-1)

    def _flow(self) -> Array:
        """The gradient of ``h R + b`` where the reset comes after it."""
        flow = self.dpre.copy()
        linear = self.part(flow, 2, 3)
        linear *= self._reset
        return flow
