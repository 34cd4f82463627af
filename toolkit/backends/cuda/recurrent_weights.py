"""The weights of recurrent layers as cuDNN wants them: one space, in which it says where each gate's matrices begin.

``RecurrentWeights`` is a node of this backend alone. It packs W, R and bias of ``Recurrent``, of all layers where some
stand on each other, for them and their gradient: in every run where they learn, once where they do not. Gradients come
back the other way. A weight is told by its place among a layer's inputs, that of each layer above by ``INPUTS`` more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.backends.cuda.cudnn.legacy_constants import RecurrentMode
from toolkit.backends.cuda.cudnn.recurrent import Cell, Layer, layers_of
from toolkit.backends.cuda.launch import Input, Launch, Output, SourceKernel, in_one_row
from toolkit.backends.cuda.layouts import DEVICE, on_device
from toolkit.backends.cuda.registry import kernel
from toolkit.backends.cuda.source import Function
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node, Program, Variable
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.recurrent_layer import INPUTS

WEIGHTS = "RecurrentWeights"
FLOAT32 = np.dtype(np.float32)
MODES = {
    "LSTM": RecurrentMode.LSTM,
    "LinearGRU": RecurrentMode.GRU,
    "Tanh": RecurrentMode.RNN_TANH,
    "Relu": RecurrentMode.RNN_RELU,
}
NUMBERS = {
    "LSTM": (0, 1, 2, 3),
    "LinearGRU": (1, 0, 2),
    "Tanh": (0,),
    "Relu": (0,),
}  # cuDNN's, by gate of ``Recurrent``
W, R, BIAS = 1, 2, 3  # inputs of ``Recurrent``
WEIGHT_COUNT = 3
NEW = 2  # the gate of GRU whose product with the state has a bias of its own
TILE = 32
NOWHERE = (1 << 64) - 1  # the place of a bias that there is none of


@dataclass(frozen=True, slots=True)
class WeightSpace:
    """How it lies what cuDNN reads a layer's weights from."""

    cell: Cell


@dataclass(frozen=True, slots=True)
class Move:
    """A part of a weight: where it begins in the tensor of ``Recurrent``, and where in the weight space."""

    plain: int
    packed: int


def cell_of(packing: Node, strict: bool) -> Cell:
    """The cell whose weights a node packs."""
    directions, size, _, hidden = packing.x.shape
    has_bias, depth = packing.inputs[2] is not None, len(packing.inputs) // WEIGHT_COUNT
    return Cell(MODES[packing.attributes["kind"]], directions, size, hidden, has_bias, strict, depth)


def space_layout(layer: Layer, elements: int) -> Layout:
    """The layout of packed weights."""
    return Layout(FLOAT32, (elements,), layer.weight_nbytes, WeightSpace(layer.cell), DEVICE)


# the node -----------------------------------------------------------------------------------------------------------


def pack_weights(program: Program, backend: str, serves: Callable[[Node], bool]) -> None:
    """Let all nodes of the backend that ``serves`` accepts read packed weights, as a further input, the last one.

    Nodes with the same weights share them. W, R and bias stay among the inputs, for their shapes. A program may come
    more than once, some nodes left out or added since: what was packed for it before is forgotten.
    """
    made: dict[tuple[Any, ...], Variable] = {}
    nodes: list[Node] = []
    for node in program.nodes:
        if node.op_type == WEIGHTS:
            continue
        if node.backend == backend and node.op_type in ("Recurrent", "RecurrentGradient") and serves(node):
            own = [item for item in node.inputs if item is None or not _is_packed(item)]
            own += [None] * (INPUTS - len(own))
            key = node.attributes["kind"], *weights_of(node)
            if key not in made:
                node_before = packing_of(program, node, weights_of(node))
                made[key] = node_before.y
                nodes.append(node_before)
            node.inputs = [*own, made[key]]
        nodes.append(node)
    program.nodes = nodes


def _is_packed(item: Variable) -> bool:
    return item.producer is not None and item.producer.op_type == WEIGHTS


def weights_of(node: Node) -> list[Variable | None]:
    """W, R, and bias or nothing, of each layer that a node stands for."""
    packed = next((item for item in node.inputs if item is not None and _is_packed(item)), None)
    if packed is None or packed.producer is None:
        return [*node.inputs[W : BIAS + 1], None][:WEIGHT_COUNT]
    return list(packed.producer.inputs)


def packing_of(program: Program, reader: Node, weights: Sequence[Variable | None]) -> Node:
    """A node that packs weights for a reader."""
    attributes = {"kind": reader.attributes["kind"]}
    node = Node(WEIGHTS, TOOLKIT_DOMAIN, 1, list(weights), [], attributes, reader.layer)
    node.role, node.backend, node.is_recomputed = reader.role, reader.backend, reader.is_recomputed
    count = sum(item.size for item in weights if item is not None)
    node.outputs = [Variable(program.fresh(f"{reader.layer}/{WEIGHTS}"), FLOAT32, (count,), node)]
    return node


@kernel(TOOLKIT_DOMAIN, WEIGHTS)
def recurrent_weights(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Each matrix turned into its place, the biases copied, those that there are none of zero."""
    layer = layers_of(resources).layer(cell_of(node, resources.strict))
    launches = []
    for place, item in enumerate(node.inputs):
        level, part = divmod(place, WEIGHT_COUNT)
        if item is not None:
            launches.append(packing(layer, node.attributes["kind"], level * INPUTS + W + part, Input(place)))
    given = [None if item is None else on_device(item.dtype, item.shape) for item in node.inputs]
    return SourceKernel("pack", launches, given, [space_layout(layer, node.y.size)], resources)


# moving -------------------------------------------------------------------------------------------------------------


def packing(layer: Layer, kind: str, index: int, source: Input) -> Launch:
    """Input ``index`` of ``Recurrent`` (W, R or bias) into the weight space."""
    if index % INPUTS == BIAS:
        return _copied("pack_biases", layer, list(_biases(layer, kind, index)), source, packs=True)
    return _turned("pack_matrices", layer, kind, index, source, packs=True)


def unpacking(layer: Layer, kind: str, index: int, source: Input) -> Launch:
    """The weight space's part of input ``index`` into a tensor of its own."""
    if index % INPUTS == BIAS:
        known = [item for item in _biases(layer, kind, index) if item.plain != NOWHERE]
        return _copied("unpack_biases", layer, known, source, packs=False)
    return _turned("unpack_matrices", layer, kind, index, source, packs=False)


def _of_level(layer: Layer, places: Sequence[Sequence[int]], index: int) -> Sequence[Sequence[int]]:
    """The places of both directions of the layer that an input belongs to."""
    first = index // INPUTS * layer.cell.directions
    return places[first : first + layer.cell.directions]


def _inner(layer: Layer, index: int) -> int:
    """The size of what W or R multiplies."""
    level, part = divmod(index, INPUTS)
    return layer.cell.width(level) if part == W else layer.cell.hidden


def _matrices(layer: Layer, kind: str, index: int) -> Iterator[Move]:
    """The gates of W or R: (size, gates, hidden) of each direction, and (hidden, size) in the weight space."""
    hidden, numbers, inner = layer.cell.hidden, NUMBERS[kind], _inner(layer, index)
    for direction, places in enumerate(_of_level(layer, layer.matrices, index)):
        for gate, number in enumerate(numbers):
            plain = direction * inner * len(numbers) * hidden + gate * hidden
            yield Move(plain, places[number + (len(numbers) if index % INPUTS == R else 0)])


def _biases(layer: Layer, kind: str, index: int) -> Iterator[Move]:
    """A gate's bias stands beside the input; beside the state stands zero, but for the new gate of GRU."""
    hidden, numbers = layer.cell.hidden, NUMBERS[kind]
    count = len(numbers)
    rows = count + (kind == "LinearGRU")
    for direction, places in enumerate(_of_level(layer, layer.biases, index)):
        first = direction * rows * hidden
        for gate, number in enumerate(numbers):
            yield Move(first + gate * hidden, places[number])
            has_second = kind == "LinearGRU" and gate == NEW
            yield Move(first + count * hidden if has_second else NOWHERE, places[number + count])


def _turned(name: str, layer: Layer, kind: str, index: int, source: Input, *, packs: bool) -> Launch:
    moves, hidden = list(_matrices(layer, kind, index)), layer.cell.hidden
    inner, row = _inner(layer, index), len(NUMBERS[kind]) * hidden
    sizes = (inner, hidden) if packs else (hidden, inner)
    steps = (row, inner) if packs else (inner, row)
    numbers = f"{sizes[0]}ull, {sizes[1]}ull, {steps[0]}ull, {steps[1]}ull"
    body = f"    movement::turn<At>(x, y, {numbers});"
    parameters = ("const float32* x", "float32* y")
    function = Function(name, parameters, body, ("movement",), _places(moves, packs))
    tiles = -(-sizes[0] // TILE) * -(-sizes[1] // TILE) * len(moves)
    return Launch(function, (tiles, 1, 1), (TILE, 8, 1), (source, Output(0)))


def _copied(name: str, layer: Layer, moves: Sequence[Move], source: Input, *, packs: bool) -> Launch:
    hidden = layer.cell.hidden
    count = len(moves) * hidden
    lines = (
        "const uint32 at = blockIdx.x * 256u + threadIdx.x;",
        f"if (at >= {count}u) return;",
        f"const uint64 from = At::source(at / {hidden}u), place = at % {hidden}u;",
        f"y[At::target(at / {hidden}u) + place] = from == {NOWHERE}ull ? 0.0f : x[from + place];",
    )
    body = "\n    ".join(["", *lines])
    function = Function(name, ("const float32* x", "float32* y"), body, (), _places(moves, packs))
    return in_one_row(function, count, (source, Output(0)))


def _places(moves: Sequence[Move], packs: bool) -> str:
    """Where parts come from and go to, as functions of their number."""
    found = []
    for name, is_plain in (("source", packs), ("target", not packs)):
        listed = ", ".join(f"{item.plain if is_plain else item.packed}ull" for item in moves)
        found.append(
            f"    static uint64 {name}(uint64 at) {{ static const uint64 all[] = {{{listed}}}; return all[at]; }}"
        )
    return "\n".join(["struct At {", *found, "};"])
