"""What RNN, GRU and LSTM share: sequences in the order of their steps, the loop over them, and the loop back.

Arrays have the axes (directions, steps, batch, size). A reverse direction meets its sequence from the end, so steps are
turned around on the way in and out, and both directions advance in one loop. A sequence shorter than the others is
over after its own length (in reverse: not begun before it): there it keeps its state and its output is zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from toolkit.operators.standard.recurrent_activations import Role, chosen

Array = np.ndarray
DIRECTIONS = {  # whether each of them is reverse
    "forward": (False,),
    "foward": (False,),  # the default of GRU-1, as its schema spells it
    "reverse": (True,),
    "bidirectional": (False, True),
}


class Cell:
    """One recurrent node on its arrays: ``run`` computes its outputs; ``back``, after it, what gradients need.

    A kind of cell says how one step advances the states (``advance``) and how gradients come back through it
    (``prepare_back``, ``retreat``). ``pre`` holds the inputs of the gates' activations and ``gates`` what these gave,
    in the same memory unless ``keep`` is set, as it must be for ``back``. ``carried`` are the states, with room for
    one more step: the one before a step stands at its number.
    """

    gate_count: ClassVar[int]
    default_activations: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        x: Array,
        w: Array,
        r: Array,
        b: Array | None,
        sequence_lens: Array | None,
        *initial: Array | None,
        keep: bool = False,
        activations: Sequence[str] | None = None,
        activation_alpha: Sequence[float] | None = None,
        activation_beta: Sequence[float] | None = None,
        clip: float | None = None,
        direction: str = "forward",
        hidden_size: int | None = None,
        layout: int = 0,
        output_sequence: int = 0,
    ) -> None:
        self.is_reverse, self.layout, self.clip, self.keep = DIRECTIONS[direction], layout, clip, keep
        self.w, self.r, self.b, self.hidden = w, r, b, r.shape[-1]
        directions = len(self.is_reverse)
        self.roles = chosen(
            tuple(activations or self.default_activations * directions),
            tuple(activation_alpha or ()),
            tuple(activation_beta or ()),
            directions,
            len(self.default_activations),
        )
        if layout:
            x = x.swapaxes(0, 1)
        self.count, self.batch = x.shape[:2]
        self.over = self._over(sequence_lens)
        self.x = self._in_steps([x] * directions)
        if self.over is not None:  # what pads a short sequence may be anything, even not a number
            self.x = np.where(self.over, x.dtype.type(0), self.x)
        self.carried = [self._begun(item) for item in initial]
        self.states = self.carried[0]

    def run(self) -> tuple[Array, ...]:
        """The output sequence and the last states."""
        self.pre = self._projected()
        self.gates = np.empty_like(self.pre) if self.keep else self.pre
        self.recurrent = np.empty_like(self.pre[:, 0]) if self.count else self.pre
        for step in range(self.count):
            self.advance(step)
            if self.over is not None:
                for item in self.carried:
                    np.copyto(item[:, step + 1], item[:, step], where=self.over[:, step])
        y = self.states[:, 1:]
        if self.over is not None:
            y = np.where(self.over, y.dtype.type(0), y)
        parts = self._in_time(y)
        y = parts[0][:, None] if len(parts) == 1 else np.stack(parts, axis=1)
        if self.layout:
            y = np.moveaxis(y, 2, 0)
        return np.ascontiguousarray(y, like=y), *(self._outside(item[:, -1].copy()) for item in self.carried)

    def back(self, dy: Array | None, *last: Array | None) -> None:
        """Take the gradients of the outputs back through all steps, into ``dpre`` and ``dinitial``."""
        grads = tuple(np.zeros_like(self.states[:, 0]) if item is None else self._outside(item) for item in last)
        dys = None
        if dy is not None:
            parts = [dy[:, :, number].swapaxes(0, 1) if self.layout else dy[:, number] for number in self._numbers()]
            dys = self._in_steps(parts)
        self.prepare_back()
        self.dpre = np.empty_like(self.pre)
        for step in reversed(range(self.count)):
            earlier = self.retreat(step, grads[0] if dys is None else grads[0] + dys[:, step], *grads[1:])
            if self.over is not None:
                over = self.over[:, step]
                earlier = tuple(np.where(over, after, before) for after, before in zip(grads, earlier, strict=True))
            grads = earlier
        if self.over is not None:
            np.copyto(self.dpre, 0, where=self.over)
        self.dinitial = tuple(self._outside(item) for item in grads)

    def advance(self, step: int) -> None:
        """Compute the states after ``step`` from those before it."""
        raise NotImplementedError

    def prepare_back(self) -> None:
        """Compute, for all steps at once, whatever of the way back does not depend on gradients."""
        raise NotImplementedError

    def retreat(self, step: int, *grads: Array) -> tuple[Array, ...]:
        """Write ``dpre`` of a step; return the gradients of the states before it, given those of the states after."""
        raise NotImplementedError

    def input_grad(self) -> Array:
        """The gradient of X."""
        flat = self.dpre.reshape(len(self.dpre), -1, self.dpre.shape[-1]) @ self.w
        parts = self._in_time(flat.reshape(self.x.shape))
        dx = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        return dx.swapaxes(0, 1) if self.layout else dx

    def weight_grad(self) -> Array:
        """The gradient of W."""
        return outer(self.dpre, self.x)

    def recurrent_grad(self) -> Array:
        """The gradient of R."""
        return outer(self.dpre, self.states[:, :-1])

    def bias_grad(self) -> Array:
        """The gradient of B: that of its half beside W, then that of its half beside R."""
        return np.concatenate([self.dpre.sum((1, 2))] * 2, axis=-1)

    def projected_bias(self, b: Array) -> Array:
        """What of the bias is added to the inputs of all gates at once."""
        half = b.shape[-1] // 2
        return b[:, :half] + b[:, half:]

    def part(self, array: Array, first: int, last: int) -> Array:
        """The gates from ``first`` up to ``last`` of an array that has all of them in its last axis."""
        return array[..., first * self.hidden : last * self.hidden]

    def activate(self, step: int, first: int, last: int, role: Role) -> None:
        """Turn ``pre`` into ``gates`` for the gates from ``first`` up to ``last``."""
        pre = self.part(self.pre[:, step], first, last)
        if self.clip is not None:
            np.clip(pre, -self.clip, self.clip, out=pre)
        role.apply(pre, self.part(self.gates[:, step], first, last))

    def slope(self, role: Role, x: Array, y: Array) -> Array:
        """The slope of a role's activation at its clipped inputs ``x``; zero where these were clipped."""
        found = role.slope(x, y)
        return found if self.clip is None else np.where(np.abs(x) < self.clip, found, found.dtype.type(0))

    def advanced(self, step: int) -> Array:
        """The state before ``step`` times R, for all gates."""
        return np.matmul(self.states[:, step], self.r.swapaxes(1, 2), out=self.recurrent)

    def _projected(self) -> Array:
        """The input times W plus bias, for all steps at once."""
        directions, gates = self.w.shape[:2]
        pre = self.x.reshape(directions, self.count * self.batch, self.x.shape[-1]) @ self.w.swapaxes(1, 2)
        if self.b is not None:
            pre += self.projected_bias(self.b)[:, None]
        return pre.reshape(directions, self.count, self.batch, gates)

    def _over(self, sequence_lens: Array | None) -> Array | None:
        """Where a sequence is over, (directions, steps, batch, 1); ``None`` when that is nowhere."""
        if sequence_lens is None or (sequence_lens == self.count).all():
            return None
        if sequence_lens.min() < 0 or sequence_lens.max() > self.count:
            raise ValueError(f"sequence_lens must lie in [0, {self.count}], got {sequence_lens.tolist()}")
        over = np.arange(self.count, like=sequence_lens)[:, None, None] >= sequence_lens[:, None]
        return self._in_steps([over] * len(self.is_reverse))

    def _begun(self, initial: Array | None) -> Array:
        """Room for a state before the first step and after every step; the first is filled."""
        states = np.empty((len(self.is_reverse), self.count + 1, self.batch, self.hidden), self.x.dtype, like=self.x)
        states[:, 0] = 0 if initial is None else self._outside(initial)
        return states

    def _outside(self, state: Array) -> Array:
        """A state from (directions, batch, size) to the layout of the node, or back."""
        return np.ascontiguousarray(state.swapaxes(0, 1), like=state) if self.layout else state

    def _numbers(self) -> range:
        return range(len(self.is_reverse))

    def _in_steps(self, parts: Sequence[Array]) -> Array:
        """One array (time, ...) per direction, in the order of its steps, on a new first axis."""
        turned = [part[::-1] if reverse else part for part, reverse in zip(parts, self.is_reverse, strict=True)]
        return turned[0][None] if len(turned) == 1 else np.stack(turned)

    def _in_time(self, steps: Array) -> list[Array]:
        """The inverse of ``_in_steps``."""
        return [part[::-1] if reverse else part for part, reverse in zip(steps, self.is_reverse, strict=True)]


def outer(grads: Array, values: Array) -> Array:
    """The gradient of a weight: (directions, size of ``grads``, size of ``values``), summed over steps and batch."""
    rows = [item.reshape(len(item), -1, item.shape[-1]) for item in (grads, values)]
    return rows[0].swapaxes(1, 2) @ rows[1]


class SimpleCell(Cell):
    """RNN: ``h' = f(x W + h R + b)``."""

    gate_count = 1
    default_activations = ("Tanh",)

    def advance(self, step: int) -> None:
        pre = self.pre[:, step]
        pre += self.advanced(step)
        if self.clip is not None:
            np.clip(pre, -self.clip, self.clip, out=pre)
        self.roles[0].apply(pre, self.states[:, step + 1])

    def prepare_back(self) -> None:
        self._slope = self.slope(self.roles[0], self.pre, self.states[:, 1:])

    def retreat(self, step: int, *grads: Array) -> tuple[Array, ...]:
        dpre = np.multiply(grads[0], self._slope[:, step], out=self.dpre[:, step])
        return (dpre @ self.r,)
