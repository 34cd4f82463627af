"""Recurrent layers and their gradients: oneDNN's primitives for RNN, GRU and LSTM.

One primitive multiplies the inputs of all steps at once and then walks through the steps, gates included. The weights
lie as it asks for. In training it keeps its own workspace for the primitive of the gradient, so that nothing is
computed twice. Refused: sequences shorter than others, which it knows nothing of, and a gradient whose forward node
kept nothing, or ran elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from toolkit.backends.onednn.activation import RELU, TANH
from toolkit.backends.onednn.memory import Descriptor, any_format, dense, layout_of
from toolkit.backends.onednn.primitive import (
    BACKWARD,
    BIAS,
    DIFF_BIAS,
    DIFF_DST,
    DIFF_SRC,
    DIFF_WEIGHTS,
    DST,
    FORWARD_INFERENCE,
    FORWARD_TRAINING,
    SRC,
    WEIGHTS,
    WORKSPACE,
    Operand,
    PrimitiveDescriptor,
    PrimitiveKernel,
    describe,
    reads,
    writes,
)
from toolkit.backends.onednn.registry import FLOAT32, is_float32, kernel
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node, Variable
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.recurrent_layer import INPUTS, STATES

DIRECTIONS = {"forward": 1, "reverse": 2, "bidirectional": 3}
PRIMITIVES = {"LSTM": "lstm", "GRU": "gru", "LinearGRU": "lbr_gru", "Tanh": "vanilla_rnn", "Relu": "vanilla_rnn"}
OVERWRITE = 1  # the gradients of weights replace what lies there instead of being added to it
_SOURCES = (SRC, WEIGHTS, WEIGHTS + 1, BIAS, SRC + 1, SRC + 2)  # by input of the node
_GRADS = (DIFF_SRC, DIFF_WEIGHTS, DIFF_WEIGHTS + 1, DIFF_BIAS, DIFF_SRC + 1, DIFF_SRC + 2)


@dataclass(frozen=True)
class _Layer:
    """A node's tensors as oneDNN is told of them; states and weights have an axis of layers, of which there is one."""

    kind: str
    direction: int
    inputs: Sequence[Variable | None]  # X, W, R, bias, first state, first cell
    sequence: Variable  # Y

    @classmethod
    def of(cls, node: Node) -> _Layer:
        """From a ``Recurrent`` node, or its gradient."""
        kind = node.attributes["kind"]
        inputs = [*node.inputs[:INPUTS], *[None] * (INPUTS - len(node.inputs))]
        sequence = node.y if node.op_type == "Recurrent" else node.inputs[INPUTS]
        assert sequence is not None
        return cls(kind, DIRECTIONS[node.attributes.get("direction", "forward")], inputs, sequence)

    def _tensor(self, index: int) -> Descriptor | None:
        """The descriptor of an input: X, bias and states as they are, weights in whatever layout is best."""
        variable = self.inputs[index]
        if variable is None:
            return None
        if index == 0:
            return dense(FLOAT32, variable.shape)
        make = any_format if index in (1, 2) else dense
        return make(FLOAT32, (1, *variable.shape))

    @property
    def has_cell(self) -> bool:
        return STATES[self.kind] == 2

    @cached_property
    def state(self) -> Descriptor:
        r = self.inputs[2]
        assert r is not None
        directions, hidden = r.shape[:2]
        return dense(FLOAT32, (1, directions, self.sequence.shape[1], hidden))

    @cached_property
    def bias(self) -> Descriptor:
        r = self.inputs[2]
        assert r is not None
        directions, hidden, gates, _ = r.shape
        return dense(FLOAT32, (1, directions, gates + (self.kind == "LinearGRU"), hidden))

    def missing(self, training: bool) -> dict[int, tuple[Descriptor, Any]]:
        """Zeros for what the node leaves out and oneDNN has no loops without: a bias, and in training first states."""
        wanted = {3: self.bias, **dict.fromkeys(range(4, 4 + STATES[self.kind]) if training else (), self.state)}
        return {
            _SOURCES[index]: (descriptor, np.zeros(descriptor.shape, FLOAT32))
            for index, descriptor in wanted.items()
            if self.inputs[index] is None
        }

    def _tensors(self, training: bool) -> list[Any]:
        """What both primitives are told in the order of the C interface; the gradients' tensors look the same."""
        x, w, r, _, h, c = (self._tensor(index) for index in range(INPUTS))
        bias, last = self.bias, [self.state] * STATES[self.kind]
        if training:
            h, c = self.state, self.state
        sequence = dense(FLOAT32, self.sequence.shape)
        if self.has_cell:
            return [x, h, c, w, r, None, None, bias, sequence, *last]
        return [x, h, w, r, bias, sequence, *last]

    def _describe(self, way: str, kind: int, tensors: list[Any], flags: int, *hints: Any) -> PrimitiveDescriptor:
        name = PRIMITIVES[self.kind]
        activation = [RELU if self.kind == "Relu" else TANH] if name == "vanilla_rnn" else []
        numbers = [0.0, 0.0] if activation else []
        return describe(f"{name}_{way}", kind, *activation, self.direction, *tensors, flags, *numbers, *hints)

    def forward(self, training: bool) -> PrimitiveDescriptor:
        return self._describe(
            "forward", FORWARD_TRAINING if training else FORWARD_INFERENCE, self._tensors(training), 0
        )

    def backward(self) -> PrimitiveDescriptor:
        return self._describe("backward", BACKWARD, self._tensors(True) * 2, OVERWRITE, self.forward(True))


def _accepts(node: Node) -> bool:
    return is_float32(node) and "lengths" not in node.attributes


@kernel(TOOLKIT_DOMAIN, "Recurrent", accepts=_accepts)
def recurrent(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Y and the last states, and the workspace where somebody asks for what is kept."""
    layer, kept = _Layer.of(node), _kept(node)
    described = layer.forward(training=kept is not None)
    operands: list[Operand] = []
    layouts = [_operand(operands, described, reads, _SOURCES[i], i, item) for i, item in enumerate(node.inputs)]
    count = 1 + STATES[layer.kind]
    results = [
        _operand(operands, described, writes, DST + i, i, item) if item is not None else None
        for i, item in enumerate(node.outputs[:count])
    ]
    results += [None] * (len(node.outputs) - count)
    if kept is not None:
        results[count] = _workspace_layout(described, kept)
        workspace = described.workspace
        assert workspace is not None
        operands.append(writes(WORKSPACE, count, workspace))
    fixed = layer.missing(training=kept is not None)
    return PrimitiveKernel(described, layouts, results, operands, fixed=fixed)


def _kept(node: Node) -> Variable | None:
    place = 1 + STATES[node.attributes["kind"]]
    return node.outputs[place] if len(node.outputs) > place else None


def _operand(
    operands: list[Operand],
    described: PrimitiveDescriptor,
    way: Any,
    argument: int,
    index: int,
    variable: Variable | None,
) -> Layout | None:
    """Add a tensor to the operands, as the primitive wants it; returns its layout."""
    if variable is None:
        return None
    descriptor = described.argument(argument)
    operands.append(way(argument, index, descriptor))
    return layout_of(descriptor, variable.shape)


def _workspace_layout(forward: PrimitiveDescriptor, kept: Variable) -> Layout:
    """Never plain: only the primitive of the gradient can read it."""
    workspace = forward.workspace
    assert workspace is not None
    return Layout(FLOAT32, kept.shape, workspace.nbytes, workspace)


def _accepts_gradient(node: Node) -> bool:
    kept = node.inputs[INPUTS + 1 + STATES[node.attributes["kind"]]]
    return _accepts(node) and kept is not None and kept.producer is not None and is_float32(kept.producer)


@kernel(TOOLKIT_DOMAIN, "RecurrentGradient", accepts=_accepts_gradient)
def recurrent_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """All gradients at once; those that nobody asked for are written to the workspace and forgotten."""
    layer = _Layer.of(node)
    count = STATES[layer.kind]
    described, forward = layer.backward(), layer.forward(training=True)
    kept = node.inputs[INPUTS + 1 + count]
    workspace = forward.workspace
    assert kept is not None and workspace is not None
    operands: list[Operand] = []
    layouts = [
        _operand(operands, described, reads, _SOURCES[i], i, item) for i, item in enumerate(node.inputs[:INPUTS])
    ]
    for base in (DST, DIFF_DST):
        for place in range(1 + count):
            layouts.append(_operand(operands, described, reads, base + place, len(layouts), node.inputs[len(layouts)]))
        if base == DST:
            operands.append(reads(WORKSPACE, len(layouts), workspace))
            layouts.append(_workspace_layout(forward, kept))
    results = [
        _operand(operands, described, writes, _GRADS[source], place, item)
        for place, (source, item) in enumerate(zip(node.attributes["wrt"], node.outputs, strict=True))
    ]
    written = {_GRADS[source] for source in node.attributes["wrt"]}
    made = _GRADS[: 4 + count]
    unread = {argument: described.argument(argument) for argument in made if argument not in written}
    return PrimitiveKernel(described, layouts, results, operands, fixed=layer.missing(training=True), unread=unread)
