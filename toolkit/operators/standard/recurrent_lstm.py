"""The cell of LSTM: input, output and forget gate and cell gate; peepholes, coupled gates."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.operators.standard.recurrent_cell import Array, Cell

INPUT, OUTPUT, FORGET, CELL = range(4)  # the order of the gates in W, R and B; that of the first three in P too


class LongShortTermCell(Cell):
    """LSTM: ``c' = f c + i g`` and ``h' = o h(c')``, where the gates see the input, the state and through P the cell.

    With ``input_forget`` the forget gate is ``1 - i``. ``clip`` bounds what the gates' activations see; ``h`` sees the
    cell as it is, as in onnxruntime (the specification leaves it open).
    """

    gate_count = 4
    default_activations = ("Sigmoid", "Tanh", "Tanh")

    def __init__(
        self,
        x: Array,
        w: Array,
        r: Array,
        b: Array | None,
        sequence_lens: Array | None,
        initial_h: Array | None,
        initial_c: Array | None,
        p: Array | None,
        *,
        input_forget: int = 0,
        **attributes: Any,
    ) -> None:
        super().__init__(x, w, r, b, sequence_lens, initial_h, initial_c, **attributes)
        self.cells, self.is_coupled = self.carried[1], bool(input_forget)
        self.peepholes = None if p is None else [self.part(p, gate, gate + 1)[:, None] for gate in range(3)]

    def advance(self, step: int) -> None:
        c, after, h_after = self.cells[:, step], self.cells[:, step + 1], self.states[:, step + 1]
        pre, gates = self.pre[:, step], self.gates[:, step]
        gate_role, cell_role, _ = self.roles
        pre += self.advanced(step)
        if self.peepholes is None:
            self.activate(step, INPUT, FORGET + 1, gate_role)
        else:
            for gate in (INPUT, FORGET):
                seen = self.part(pre, gate, gate + 1)
                seen += self.peepholes[gate] * c
                self.activate(step, gate, gate + 1, gate_role)
        self.activate(step, CELL, CELL + 1, cell_role)
        admit, output, forget, new = (self.part(gates, gate, gate + 1) for gate in range(4))
        if self.is_coupled:
            np.subtract(1, admit, out=forget)
        np.multiply(forget, c, out=after)
        after += admit * new
        if self.peepholes is not None:
            seen = self.part(pre, OUTPUT, OUTPUT + 1)
            seen += self.peepholes[OUTPUT] * after
            self.activate(step, OUTPUT, OUTPUT + 1, gate_role)
        self.roles[2].apply(after, h_after)
        h_after *= output

    def prepare_back(self) -> None:
        before, after = self.cells[:, :-1], self.cells[:, 1:]
        admit, output, forget, new = (self.part(self.gates, gate, gate + 1) for gate in range(4))
        shown = np.empty_like(after)
        self.roles[2].apply(after, shown)
        self._forget = forget
        self._to_cell = output * self.roles[2].slope(after, shown)
        gating = self.slope(self.roles[0], self.part(self.pre, INPUT, CELL), self.part(self.gates, INPUT, CELL))
        ways = np.empty(
            (*self.pre.shape[:3], 4, self.hidden), self.pre.dtype, like=self.pre
        )  # of each gate, to its product's grad
        ways[..., INPUT, :] = new - before if self.is_coupled else new
        ways[..., OUTPUT, :] = shown
        ways[..., FORGET, :] = 0 if self.is_coupled else before
        ways[..., :CELL, :] *= gating.reshape(*gating.shape[:3], 3, self.hidden)
        ways[..., CELL, :] = admit * self.slope(self.roles[1], self.part(self.pre, CELL, CELL + 1), new)
        self._ways = ways

    def retreat(self, step: int, *grads: Array) -> tuple[Array, ...]:
        dh, dc = grads
        ways, dpre = self._ways[:, step], self.dpre[:, step]
        dc = dc + dh * self._to_cell[:, step]
        doutput = dh * ways[..., OUTPUT, :]
        if self.peepholes is not None:
            dc += doutput * self.peepholes[OUTPUT]
        np.multiply(dc[..., None, :], ways, out=dpre.reshape(ways.shape))
        self.part(dpre, OUTPUT, OUTPUT + 1)[...] = doutput
        earlier = dc * self._forget[:, step]
        if self.peepholes is not None:
            for gate in (INPUT, FORGET):
                earlier += self.part(dpre, gate, gate + 1) * self.peepholes[gate]
        return dpre @ self.r, earlier

    def peephole_grad(self) -> Array:
        """The gradient of P."""
        before, after = self.cells[:, :-1], self.cells[:, 1:]
        seen = ((INPUT, before), (OUTPUT, after), (FORGET, before))
        return np.concatenate([(self.part(self.dpre, gate, gate + 1) * c).sum((1, 2)) for gate, c in seen], axis=-1)
