"""Recurrent layers: RNN, GRU and LSTM become ``Recurrent``, whose weights are turned once instead of in every run.

Cases: float32, the activations that the operators have by default (or Relu in RNN). Lengths of sequences that are known
become an attribute. Where the data tells them, and only for inference, a layer goes over whole sequences in each
direction, turned around before and behind for the reverse one, and ``CutSequences`` takes what counts; not where the
last cells of an LSTM are read, which no output of a step tells. Peepholes, coupled gates, clipping and other
activations stay as they are.

Where the last step of all that a layer gives is picked out, it is the last state that is read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from toolkit.compiler.passes.dead_code import remove_dead_code
from toolkit.compiler.passes.statistics import unviewed
from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.rewrite import Replacement, rewrite, use_counts
from toolkit.operators.expression import (
    TOOLKIT_DOMAIN,
    Expression,
    emit,
    reshape,
    split,
    transpose,
    where,
    zeros_like,
)
from toolkit.operators.standard.recurrent import CELLS
from toolkit.operators.standard.recurrent_cell import DIRECTIONS
from toolkit.operators.standard.recurrent_layer import STATES, joined_bias, turned_weight

USUAL = {("sigmoid", "tanh", "tanh"): "LSTM", ("sigmoid", "tanh"): "GRU", ("tanh",): "Tanh", ("relu",): "Relu"}


def use_recurrent_layers(program: Program, *, training: bool) -> None:
    """Apply the replacement; ``training`` asks the new nodes to keep what their gradient needs."""
    uses = use_counts(program)

    def rule(node: Node) -> Replacement | None:
        kind = None if node.domain or node.op_type not in CELLS else _kind(node)
        if kind is None:
            return None
        lengths = node.inputs[4] if len(node.inputs) > 4 else None
        if lengths is None or lengths.constant is not None:
            return _replaced(program, node, kind, training)
        reads_cells = len(node.outputs) > 2 and node.outputs[2] is not None and uses[node.outputs[2]] > 0
        return None if training or reads_cells else _cut(program, node, kind, lengths)

    rewrite(program, rule)
    if rewrite(program, lambda node: _last_state(program, node)):
        remove_dead_code(program)


def _last_state(program: Program, node: Node) -> Replacement | None:
    """The last state in the place of the last step of one direction that goes forward, over whole sequences."""
    index = node.inputs[1] if not node.domain and node.op_type == "Gather" else None
    if index is None or index.constant is None or index.shape or node.attributes.get("axis", 0) % len(node.x.shape):
        return None
    y, steps = unviewed(node.x), node.x.shape[0]
    layer = y.producer
    if layer is None or layer.op_type != "Recurrent" or y is not layer.outputs[0] or "lengths" in layer.attributes:
        return None
    last, is_last = layer.outputs[1], steps == y.shape[0] and int(index.constant) in (-1, steps - 1)
    if last is None or last.shape[0] > 1 or not is_last or layer.attributes.get("direction", "forward") != "forward":
        return None
    return [reshape(program.expression(last), node.y.shape).variable]


def _kind(node: Node) -> str | None:
    """The kind of ``Recurrent`` that a node is, ``None`` where it is none."""
    given = [*node.inputs, *[None] * (8 - len(node.inputs))]
    tensors = [item for index, item in enumerate(given) if item is not None and index != 4]
    if any(item.dtype != np.float32 or not item.size for item in tensors) or given[7] is not None:
        return None
    if node.attributes.get("clip") is not None or node.attributes.get("input_forget", 0):
        return None
    lengths, steps = given[4], node.x.shape[1 if node.attributes.get("layout", 0) else 0]
    known = None if lengths is None else lengths.constant
    if known is not None and ((known < 0) | (known > steps)).any():
        return None
    kind = USUAL.get(_activations(node))
    return "LinearGRU" if kind == "GRU" and node.attributes.get("linear_before_reset", 0) else kind


def _activations(node: Node) -> tuple[str, ...]:
    """The names of one direction's activations; nothing where the other direction has others."""
    usual = CELLS[node.op_type].default_activations
    directions = len(DIRECTIONS[node.attributes.get("direction", "forward")])
    names = [name.lower() for name in node.attributes.get("activations") or usual * directions]
    first = tuple(names[: len(usual)])
    return first if tuple(names[: len(usual) * directions]) == first * directions else ()


def _replaced(program: Program, node: Node, kind: str, training: bool) -> Replacement:
    given = [None if item is None else program.expression(item) for item in node.inputs]
    given += [None] * (8 - len(given))
    x, w, r, b, lengths, *initial = given
    assert x is not None and w is not None and r is not None
    is_batch_first, count = bool(node.attributes.get("layout", 0)), STATES[kind]
    direction = node.attributes.get("direction", "forward")
    states = _states([_around(item, is_batch_first) for item in initial[:count]])
    operands = [
        _around(x, is_batch_first),
        turned_weight(w, kind),
        turned_weight(r, kind),
        None if b is None else joined_bias(b, kind),
        *states,
    ]
    variables: list[Variable | None] = [None if item is None else item.variable for item in operands]
    attributes: dict[str, Any] = {"kind": kind, "direction": "forward" if direction == "foward" else direction}
    known = None if lengths is None else lengths.variable.constant
    if known is not None and (known != x.shape[1 if is_batch_first else 0]).any():
        attributes["lengths"] = known.tolist()
    names = [program.fresh(f"{node.layer}/{title}") for title in ("Y", "Y_h", "Y_c", "kept")]
    names = [*names[: 1 + count], names[3] if training else ""]
    made = program.append("Recurrent", variables, attributes, domain=TOOLKIT_DOMAIN, outputs=names)
    y, *last = [program.expression(item) for item in made.outputs[: 1 + count] if item is not None]
    steps, batch = y.shape[:2]
    if w.shape[0] == 1 and not is_batch_first:
        y = reshape(y, (steps, 1, batch, r.shape[2]))
    else:
        apart = reshape(y, (steps, batch, w.shape[0], r.shape[2]))
        y = transpose(apart, [1, 0, 2, 3] if is_batch_first else [0, 2, 1, 3])
    outside = [y, *[_around(item, is_batch_first) for item in last]]
    return [None if item is None else item.variable for item in outside]


def _cut(program: Program, node: Node, kind: str, lengths: Variable) -> Replacement:
    """One layer for each direction, forward, over all steps; what lies behind the end of a sequence is cut off."""
    is_batch_first = bool(node.attributes.get("layout", 0))
    given: list[Expression | None] = [None if item is None else program.expression(item) for item in node.inputs]
    x, weights, initial = given[0], given[1:4], given[5 : 5 + STATES[kind]]
    states = [_around(item, is_batch_first) for item in initial]
    whole, ends = _around(x, is_batch_first), program.expression(lengths)
    counts = emit("Cast", ends, to=int(TensorProto.INT64))
    directions = DIRECTIONS[node.attributes.get("direction", "forward")]
    parts = [_parts(item, len(directions)) for item in weights]
    begun = [_parts(item, len(directions)) for item in _states(states) if item is not None]
    found, last = [], []
    for number, is_reverse in enumerate(directions):
        w, r, b = parts[0][number], parts[1][number], parts[2][number]
        assert whole is not None and w is not None and r is not None
        source = emit("ReverseSequence", whole, counts) if is_reverse else whole
        bias = None if b is None else joined_bias(b, kind)
        first = [item[number] for item in begun]
        operands = [source, turned_weight(w, kind), turned_weight(r, kind), bias, *first]
        y, *_ = emit("Recurrent", *operands, domain=TOOLKIT_DOMAIN, outputs=1 + STATES[kind], kind=kind)
        cut, end = emit("CutSequences", y, ends, domain=TOOLKIT_DOMAIN, outputs=2)
        found.append(emit("ReverseSequence", cut, counts) if is_reverse else cut)
        if first:
            is_empty = reshape(emit("Equal", ends, np.zeros(1, ends.dtype)), (ends.shape[0], 1))
            assert first[0] is not None
            end = where(is_empty, reshape(first[0], end.shape), end)
        last.append(end)
    axes, axis = (2, 1) if is_batch_first else (1, 0)
    outside = [_joined(found, axes), _joined(last, axis)]
    y = transpose(outside[0], [1, 0, 2, 3]) if is_batch_first else outside[0]
    return [item.variable for item in (y, outside[1])]


def _parts(item: Expression | None, count: int) -> list[Expression | None]:
    """A tensor by directions, each with an axis of one."""
    return [item] * count if item is None or count == 1 else list(split(item, count, 0))


def _joined(items: list[Expression], axis: int) -> Expression:
    """The tensors of all directions, which have a new axis."""
    apart = [reshape(item, (*item.shape[:axis], 1, *item.shape[axis:])) for item in items]
    joined: Expression = apart[0] if len(apart) == 1 else emit("Concat", *apart, axis=axis)
    return joined


def _states(initial: list[Expression | None]) -> list[Expression | None]:
    """The first states: all of them, or none; what is missing beside another is zero."""
    present = next((item for item in initial if item is not None), None)
    return [item if item is not None or present is None else zeros_like(present) for item in initial]


def _around(x: Expression | None, is_batch_first: bool) -> Expression | None:
    """``x`` with its first two axes changed places where the node has the batch first."""
    return transpose(x, [1, 0, 2]) if x is not None and is_batch_first else x
