"""RNN, GRU and LSTM step by step in standard operators, and their gradients as the gradients of these steps.

It is what the fused gradients mean to whoever lacks them: long sequences become many nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from toolkit.operators.composed import pull_back
from toolkit.operators.expression import Expression, emit, reshape, split, transpose, where, zeros_like
from toolkit.operators.record import Call
from toolkit.operators.standard.recurrent_activations import ACTIVATIONS, chosen
from toolkit.operators.standard.recurrent_cell import DIRECTIONS, Cell

Activation = Callable[[Expression], Expression]
FORMULAS: dict[str, Callable[[Expression, float, float], Expression]] = {
    "relu": lambda x, a, b: emit("Relu", x),
    "tanh": lambda x, a, b: emit("Tanh", x),
    "sigmoid": lambda x, a, b: emit("Sigmoid", x),
    "affine": lambda x, a, b: x * a + b,
    "leakyrelu": lambda x, a, b: emit("LeakyRelu", x, alpha=a),
    "thresholdedrelu": lambda x, a, b: where(emit("GreaterOrEqual", x, a), x, 0.0),
    "scaledtanh": lambda x, a, b: emit("Tanh", x * b) * a,
    "hardsigmoid": lambda x, a, b: emit("HardSigmoid", x, alpha=a, beta=b),
    "elu": lambda x, a, b: emit("Elu", x, alpha=a),
    "softsign": lambda x, a, b: emit("Softsign", x),
    "softplus": lambda x, a, b: emit("Softplus", x),
}
States = list[Expression]


def gradients_by_steps(kind: type[Cell], call: Call, count: int) -> list[Expression | None]:
    """The expansion of a fused gradient: ``call`` has the ``count`` inputs of the operator, then output gradients."""
    wrt = call.attributes["wrt"]
    attributes = {name: value for name, value in call.attributes.items() if name != "wrt"}
    wants = [index in wrt for index in range(count)]
    forward = Call(call.inputs[:count], [], attributes, wants, call.version)
    pairs = zip(_Steps(kind, forward).outputs(), call.inputs[count:], strict=False)
    found = pull_back(forward, [(output, g) for output, g in pairs if g is not None])
    inputs = forward.inputs
    return [found[index] or _zero(inputs[index]) for index in wrt]


class _Steps:
    """One recurrent node as expressions."""

    def __init__(self, kind: type[Cell], call: Call) -> None:
        self.kind, self.call = kind, call
        self.layout, self.clip = call.attribute("layout", 0), call.attribute("clip")
        self.is_reverse = DIRECTIONS[call.attribute("direction", "forward")]
        given = [*call.inputs, *[None] * (8 - len(call.inputs))]
        (x, w, r, self.b, lengths), self.initial = given[:5], given[5:]
        assert x is not None and w is not None and r is not None
        self.w, self.r, self.hidden = w, r, r.shape[2]
        self.x = transpose(x, [1, 0, 2]) if self.layout else x
        self.count, self.batch = self.x.shape[:2]
        self.over: list[Expression | None] = [None] * self.count
        if lengths is not None:
            over = emit("LessOrEqual", reshape(lengths, (1, self.batch, 1)), _numbers(self.count, lengths.dtype))
            self.x = where(over, 0.0, self.x)
            self.over = [reshape(item, (self.batch, 1)) for item in split(over, self.count, 0)]

    def outputs(self) -> list[Expression]:
        """The output sequence and the last states."""
        directions = [self._direction(number) for number in range(len(self.is_reverse))]
        y = _joined([sequence for sequence, _ in directions], 1)
        last = [states for _, states in directions]
        states = [_joined([item[which] for item in last], 0) for which in range(len(last[0]))]
        if not self.layout:
            return [y, *states]
        return [transpose(y, [2, 0, 1, 3]), *(transpose(item, [1, 0, 2]) for item in states)]

    def _direction(self, number: int) -> tuple[Expression, States]:
        """The output sequence (steps, 1, batch, hidden) of one direction, and its last states (1, batch, hidden)."""
        w, r = self._of(self.w, number), self._of(self.r, number)
        bias = None if self.b is None else self._of(self.b, number)
        rows = reshape(self.x, (self.count * self.batch, self.x.shape[2])) @ transpose(w, [1, 0])
        step = self._cell(number, r, bias)
        seen = split(reshape(rows, (self.count, self.batch, w.shape[0])), self.count, 0)
        states = [self._begun(item, number) for item in self.initial[: 2 if self._has_cell else 1]]
        found: dict[int, Expression] = {}
        for at in reversed(range(self.count)) if self.is_reverse[number] else range(self.count):
            after, over = step(reshape(seen[at], (self.batch, w.shape[0])), states), self.over[at]
            if over is None:
                states = after
                found[at] = states[0]
            else:
                states = [where(over, old, new) for old, new in zip(states, after, strict=True)]
                found[at] = where(over, 0.0, states[0])
        sequence = [reshape(found[at], (1, 1, self.batch, self.hidden)) for at in range(self.count)]
        return _joined(sequence, 0), [reshape(item, (1, self.batch, self.hidden)) for item in states]

    @property
    def _has_cell(self) -> bool:
        return self.kind.gate_count == 4

    def _of(self, x: Expression, number: int) -> Expression:
        """What of a tensor belongs to one direction, which its first axis counts."""
        parts = split(x, len(self.is_reverse), 0)
        return reshape(parts[number], x.shape[1:])

    def _begun(self, initial: Expression | None, number: int) -> Expression:
        if initial is None:
            zero = np.zeros((self.batch, self.hidden), self.x.dtype)
            return self.x.emitter.constant(zero)
        return self._of(transpose(initial, [1, 0, 2]) if self.layout else initial, number)

    def _roles(self, number: int) -> list[Activation]:
        """The activations of one direction, behind the clip."""
        attributes, directions = self.call.attributes, len(self.is_reverse)
        roles = chosen(
            tuple(attributes.get("activations") or self.kind.default_activations * directions),
            tuple(attributes.get("activation_alpha") or ()),
            tuple(attributes.get("activation_beta") or ()),
            directions,
            len(self.kind.default_activations),
        )
        names = {id(item): name for name, item in ACTIVATIONS.items()}

        def activation(bound: Any) -> Activation:
            item, alpha, beta = bound
            return lambda x: FORMULAS[names[id(item)]](x, float(alpha), float(beta))

        return [activation(role.bound[number]) for role in roles]

    def _clipped(self, x: Expression) -> Expression:
        return x if self.clip is None else emit("Clip", x, -float(self.clip), float(self.clip))

    def _cell(self, number: int, r: Expression, bias: Expression | None) -> Callable[[Expression, States], States]:
        """What advances the states of one direction by a step, from the input times W."""
        gates, roles = self.kind.gate_count, self._roles(number)
        recurrent = [transpose(item, [1, 0]) for item in split(r, gates, 0)]
        parts: list[Any] = [0.0] * (2 * gates) if bias is None else split(bias, 2 * gates, 0)
        if gates == 1:
            return self._simple(recurrent, parts, roles)
        return self._gated(recurrent, parts, roles) if gates == 3 else self._long(number, recurrent, parts, roles)

    def _simple(self, r: States, bias: list[Any], roles: list[Activation]) -> Callable[[Expression, States], States]:
        return lambda seen, states: [roles[0](self._clipped(seen + states[0] @ r[0] + bias[0] + bias[1]))]

    def _gated(self, r: States, bias: list[Any], roles: list[Activation]) -> Callable[[Expression, States], States]:
        def step(seen: Expression, states: States) -> States:
            (h,), (z, q, n) = states, split(seen, 3, 1)
            update = roles[0](self._clipped(z + h @ r[0] + bias[0] + bias[3]))
            reset = roles[0](self._clipped(q + h @ r[1] + bias[1] + bias[4]))
            if self.call.attribute("linear_before_reset", 0):
                product = reset * (h @ r[2] + bias[5])
            else:
                product = (reset * h) @ r[2] + bias[5]
            new = roles[1](self._clipped(n + product + bias[2]))
            return [new + update * (h - new)]

        return step

    def _long(
        self, number: int, r: States, bias: list[Any], roles: list[Activation]
    ) -> Callable[[Expression, States], States]:
        p = self.initial[2]
        holes: list[Any] = [0.0] * 3 if p is None else split(self._of(p, number), 3, 0)

        def gate(which: int, seen: States, h: Expression, c: Expression) -> Expression:
            made = seen[which] + h @ r[which] + bias[which] + bias[4 + which]
            return self._clipped(made if p is None or which == 3 else made + holes[which] * c)

        def step(seen: Expression, states: States) -> States:
            (h, c), parts = states, split(seen, 4, 1)
            admit = roles[0](gate(0, parts, h, c))
            is_coupled = self.call.attribute("input_forget", 0)
            forget = 1.0 - admit if is_coupled else roles[0](gate(2, parts, h, c))
            after = forget * c + admit * roles[1](gate(3, parts, h, c))
            return [roles[0](gate(1, parts, h, after)) * roles[2](after), after]

        return step


def _zero(x: Expression | None) -> Expression | None:
    return None if x is None else zeros_like(x)


def _numbers(count: int, dtype: np.dtype) -> np.ndarray:
    return np.arange(count, dtype=dtype).reshape(-1, 1, 1)


def _joined(parts: Sequence[Expression], axis: int) -> Expression:
    found: Expression = parts[0] if len(parts) == 1 else emit("Concat", *parts, axis=axis)
    return found
