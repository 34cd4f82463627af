"""``Recurrent``: RNN, GRU and LSTM with their weights turned the way in which kernels multiply by them.

Inputs are X (steps, batch, size), W (directions, size, gates, hidden), R (directions, hidden, gates, hidden), one bias
(directions, biases, hidden) or none, and the states before the first step (directions, batch, hidden) or none. Outputs
are Y (steps, batch, directions * hidden) and the last states. ``kind`` names the cell, with its usual activations; the
gates stand in the order of ``GATE_ORDER``, written as positions among ONNX's. A cell with its reset after the product
(``LinearGRU``) has the bias of that product as a fourth one; in all others the biases beside W and R are one.
``lengths`` says how long each sequence is, where some are shorter than X has steps.

The output behind the states, ``kept``, is asked for by training alone: what a backend keeps for its own kernel of the
gradient, as many bytes as it likes. The reference keeps what the gates gave, and needs none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from toolkit.operators.composed import gradient_through
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, reshape, split, transpose, zeros_like
from toolkit.operators.record import Call, TensorType, operator
from toolkit.operators.standard.recurrent import CELLS
from toolkit.operators.standard.recurrent_cell import DIRECTIONS, Cell

Array = np.ndarray
GATE_ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (0, 1, 2), "LinearGRU": (0, 1, 2), "Tanh": (0,), "Relu": (0,)}
OPERATORS = {"LSTM": "LSTM", "GRU": "GRU", "LinearGRU": "GRU", "Tanh": "RNN", "Relu": "RNN"}
STATES = {"LSTM": 2, "GRU": 1, "LinearGRU": 1, "Tanh": 1, "Relu": 1}
INPUTS = 6  # X, W, R, bias, first state, first cell


def onnx_attributes(kind: str, direction: str) -> dict[str, Any]:
    """The attributes of the ONNX node of that kind."""
    found: dict[str, Any] = {"direction": direction}
    if kind == "Relu":
        found["activations"] = ["Relu"] * len(DIRECTIONS[direction])
    if kind == "LinearGRU":
        found["linear_before_reset"] = 1
    return found


def turned_weight(weight: Expression, kind: str) -> Expression:
    """W or R of ONNX, (directions, gates * hidden, size), as (directions, size, gates, hidden)."""
    gates = len(GATE_ORDER[kind])
    directions, rows, size = weight.shape
    parts = reshape(weight, (directions, gates, rows // gates, size))
    return transpose(_ordered(parts, GATE_ORDER[kind]), [0, 3, 1, 2])


def joined_bias(bias: Expression, kind: str) -> Expression:
    """B of ONNX, (directions, 2 * gates * hidden), as (directions, biases, hidden)."""
    gates = len(GATE_ORDER[kind])
    directions, size = bias.shape
    parts = reshape(bias, (directions, 2 * gates, size // (2 * gates)))
    if kind == "LinearGRU":
        update, reset, new, *more = split(parts, 2 * gates, 1)
        return emit("Concat", update + more[0], reset + more[1], new, more[2], axis=1)
    beside_input, beside_state = split(parts, 2, 1)
    return _ordered(beside_input, GATE_ORDER[kind]) + _ordered(beside_state, GATE_ORDER[kind])


def _ordered(parts: Expression, order: Sequence[int]) -> Expression:
    """The parts along the axis 1 in another order."""
    if list(order) == sorted(order):
        return parts
    pieces = split(parts, len(order), 1)
    found: Expression = emit("Concat", *[pieces[index] for index in order], axis=1)
    return found


def _onnx_weight(weight: Expression, kind: str) -> Expression:
    directions, size, gates, hidden = weight.shape
    parts = _ordered(transpose(weight, [0, 2, 3, 1]), _inverse(kind))
    return reshape(parts, (directions, gates * hidden, size))


def _onnx_bias(bias: Expression, kind: str) -> Expression:
    directions, _, hidden = bias.shape
    if kind == "LinearGRU":
        first, last = emit("Split", bias, np.array([3, 1]), outputs=2, axis=1)
        nothing = zeros_like(emit("Concat", last, last, axis=1))
        parts = emit("Concat", first, nothing, last, axis=1)
    else:
        ordered = _ordered(bias, _inverse(kind))
        parts = emit("Concat", ordered, zeros_like(ordered), axis=1)
    return reshape(parts, (directions, 2 * len(GATE_ORDER[kind]) * hidden))


def _inverse(kind: str) -> list[int]:
    return [int(index) for index in np.argsort(GATE_ORDER[kind])]


def _cell(
    x: Array,
    w: Array,
    r: Array,
    bias: Array | None,
    *initial: Array | None,
    kind: str,
    direction: str,
    lengths: Sequence[int] | None,
    keep: bool,
) -> Cell:
    """The cell of the numpy reference on these arrays; views of the weights where their gates are in ONNX's order."""
    turned = []
    for weight in (w, r):
        parts = weight.transpose(0, 2, 3, 1)
        if kind == "LSTM":
            parts = parts[:, _inverse(kind)]
        turned.append(parts.reshape(len(w), -1, weight.shape[1]))
    if bias is not None:
        nothing = np.zeros_like(bias[:, :3] if kind == "LinearGRU" else bias)
        if kind == "LinearGRU":
            nothing[:, 2] = bias[:, 3]
        bias = np.concatenate([bias[:, _inverse(kind)], nothing], axis=1).reshape(len(w), -1)
    states = list(initial[: STATES[kind]])
    states += [None] * (STATES[kind] - len(states))
    if kind == "LSTM":
        states.append(None)  # no peepholes
    make: Any = CELLS[OPERATORS[kind]]
    own = None if lengths is None else np.array(lengths, like=x)
    found: Cell = make(x, *turned, bias, own, *states, keep=keep, **onnx_attributes(kind, direction))
    return found


def recurrent(
    x: Array,
    w: Array,
    r: Array,
    bias: Array | None = None,
    h: Array | None = None,
    c: Array | None = None,
    *,
    kind: str,
    direction: str = "forward",
    lengths: Sequence[int] | None = None,
) -> tuple[Array, ...]:
    """Y, the last states, and what the gates gave in every step."""
    cell = _cell(x, w, r, bias, h, c, kind=kind, direction=direction, lengths=lengths, keep=False)
    y, *states = cell.run()
    joined = np.moveaxis(y, 1, 2).reshape(*y.shape[:1], y.shape[2], -1)
    return joined, *states, cell.gates


def recurrent_gradient(
    *arrays: Array | None,
    kind: str,
    direction: str = "forward",
    lengths: Sequence[int] | None = None,
    wrt: Sequence[int],
) -> tuple[Array, ...]:
    """The gradients of the inputs that ``wrt`` lists; the inputs are those of ``_gradient``."""
    inputs, grads = arrays[:INPUTS], arrays[INPUTS + STATES[kind] + 2 :]
    x, w, r, bias, h, c = inputs
    assert x is not None and w is not None and r is not None
    cell = _cell(x, w, r, bias, h, c, kind=kind, direction=direction, lengths=lengths, keep=True)
    cell.run()
    dy = grads[0]
    assert dy is not None
    apart = dy.reshape(*dy.shape[:2], len(w), -1)
    cell.back(np.moveaxis(apart, 2, 1), *grads[1:])
    ways: dict[int, Callable[[], Array]] = {
        0: cell.input_grad,
        1: lambda: _turned(cell.weight_grad(), kind),
        2: lambda: _turned(cell.recurrent_grad(), kind),
        3: lambda: _turned_bias(cell.bias_grad(), kind),
        4: lambda: cell.dinitial[0],
        5: lambda: cell.dinitial[1],
    }
    return tuple(ways[index]() for index in wrt)


def _turned(weight: Array, kind: str) -> Array:
    parts = weight.reshape(len(weight), len(GATE_ORDER[kind]), -1, weight.shape[2])
    return parts[:, GATE_ORDER[kind]].transpose(0, 3, 1, 2)


def _turned_bias(bias: Array, kind: str) -> Array:
    gates = len(GATE_ORDER[kind])
    parts = bias.reshape(len(bias), 2 * gates, -1)
    return np.concatenate([parts[:, :3], parts[:, 5:]], axis=1) if kind == "LinearGRU" else parts[:, GATE_ORDER[kind]]


def _infer(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    """Y, the last states, and what is kept."""
    x, r, kind = types[0], types[2], attributes["kind"]
    assert x is not None and r is not None
    (dtype, (steps, batch, size)), (directions, hidden, gates, _) = x, r[1]
    state = (directions, batch, hidden)
    biases = gates + (kind == "LinearGRU")
    wanted = [x[1], (directions, size, gates, hidden), (directions, hidden, gates, hidden)]
    wanted += [(directions, biases, hidden), state, state]
    for title, item, shape in zip("XWRBHC", types, wanted, strict=False):
        if item is not None and item[1] != shape:
            raise ValueError(f"{title} must be {shape}, got {item[1]}")
    lengths = attributes.get("lengths")
    if lengths is not None and not (len(lengths) == batch and all(0 <= item <= steps for item in lengths)):
        raise ValueError(f"lengths must be {batch} numbers in [0, {steps}], got {lengths}")
    found = [(dtype, (steps, batch, directions * hidden))] + [(dtype, state)] * STATES[kind]
    return [*found, (dtype, (directions, steps, batch, gates * hidden))]


def _infer_gradient(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    found = [types[index] for index in attributes["wrt"]]
    return [item for item in found if item is not None]


def _gradient(call: Call, *grads: Expression | None) -> list[Expression | None]:
    """One node for all that are wanted, given all inputs, all outputs, and the gradients of Y and the states."""
    count = STATES[call.attributes["kind"]]
    inputs = [*call.inputs, *[None] * (INPUTS - len(call.inputs))]
    outputs = [*call.outputs, *[None] * (count + 2 - len(call.outputs))]
    given = [*grads, *[None] * (count + 1 - len(grads))][: count + 1]
    seeds = [
        zeros_like(output) if g is None and output is not None else g for g, output in zip(given, outputs, strict=False)
    ]
    wrt = [index for index, wants in enumerate(call.wants) if wants and call.inputs[index] is not None]
    result: list[Expression | None] = [None] * len(call.inputs)
    if wrt:
        operands = (*inputs, *outputs, *seeds)
        name, domain = "RecurrentGradient", TOOLKIT_DOMAIN
        found = emit(name, *operands, domain=domain, outputs=len(wrt), wrt=wrt, **call.attributes)
        for index, grad in zip(wrt, [found] if len(wrt) == 1 else found, strict=True):
            result[index] = grad
    return result


def _expansion(call: Call) -> list[Expression | None]:
    """The node of ONNX; nothing stands for what is kept, which only ``RecurrentGradient`` reads."""
    kind, direction, own = (
        call.attributes["kind"],
        call.attribute("direction", "forward"),
        call.attribute("lengths", None),
    )
    given: list[Expression | None] = [*call.inputs, *[None] * (INPUTS - len(call.inputs))]
    x, w, r, bias, *states = given
    assert x is not None and w is not None and r is not None
    b = None if bias is None else _onnx_bias(bias, kind)
    lengths = None if own is None else np.array(own, np.int32)
    operands = [x, _onnx_weight(w, kind), _onnx_weight(r, kind), b, lengths, *states[: STATES[kind]]]
    count, hidden = 1 + STATES[kind], r.shape[1]
    attributes = {**onnx_attributes(kind, direction), "hidden_size": hidden}
    y, *last = emit(OPERATORS[kind], *operands, outputs=count, version=14, **attributes)
    steps, directions, batch, _ = y.shape
    return [reshape(transpose(y, [0, 2, 1, 3]), (steps, batch, directions * hidden)), *last]


def _gradient_expansion(call: Call) -> list[Expression | None]:
    """The gradient of what ``Recurrent`` expands into."""
    wrt, count = call.attributes["wrt"], STATES[call.attributes["kind"]]
    attributes = {name: value for name, value in call.attributes.items() if name != "wrt"}
    wants = [index in wrt for index in range(INPUTS)]
    forward = Call(call.inputs[:INPUTS], [], attributes, wants, call.version)
    found = gradient_through(_expansion)(forward, *call.inputs[INPUTS + count + 2 :])
    results = [item if isinstance(item, Expression) else None for item in found]
    zeros = [None if item is None else zeros_like(item) for item in call.inputs[:INPUTS]]
    return [results[index] or zeros[index] for index in wrt]


operator(
    "Recurrent",
    domain=TOOLKIT_DOMAIN,
    reference=recurrent,
    gradient=_gradient,
    infer=_infer,
    expansion=_expansion,
)
operator(
    "RecurrentGradient",
    domain=TOOLKIT_DOMAIN,
    reference=recurrent_gradient,
    gradient=gradient_through(_gradient_expansion),
    infer=_infer_gradient,
    expansion=_gradient_expansion,
)
