"""Recurrent layers and their gradients: cuDNN's functions for RNN, GRU and LSTM.

One call multiplies the inputs of all steps at once and then walks through the steps, gates included; where layers stand
on each other, the upper ones follow while the lower ones go on. In training it keeps its own memory for the gradient,
which spends it. No layer walks backwards alone: one in reverse is a forward
one between two kernels that turn the sequences around. Refused: a GRU whose reset comes before the product with the
state, which cuDNN has no cell for, sequences of no steps, a gradient whose forward node kept nothing, or ran elsewhere,
and everything but float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from toolkit.backends.cuda.cudnn.legacy import call
from toolkit.backends.cuda.cudnn.legacy_constants import ForwardMode, WeightGradientMode
from toolkit.backends.cuda.cudnn.recurrent import ELEMENT_BYTES, Batch, Cell, Sequences, layers_of
from toolkit.backends.cuda.images import FLOAT32, LARGEST
from toolkit.backends.cuda.launch import Argument, Input, Launch, Output, in_one_row
from toolkit.backends.cuda.layouts import DEVICE, on_device
from toolkit.backends.cuda.parts import (
    Addresses,
    CallPart,
    LaunchPart,
    Part,
    PartsKernel,
    Place,
    Scratch,
    reads,
    writes,
)
from toolkit.backends.cuda.recurrent_stacks import stack_layers
from toolkit.backends.cuda.recurrent_weights import BIAS, MODES, W, cell_of, pack_weights, space_layout, unpacking
from toolkit.backends.cuda.registry import kernel
from toolkit.backends.cuda.source import Function
from toolkit.backends.protocol import Kernel, Layout, Resources, Step
from toolkit.compiler.program import Node, Program, Variable
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.recurrent_layer import INPUTS, STATES

LIBRARY = "cuDNN"

X, FIRST_STATE = 0, 4  # inputs of ``Recurrent``; behind the first state comes the first cell


@dataclass(frozen=True, slots=True)
class Kept:
    """How it lies what a forward pass keeps for its gradient: as cuDNN likes."""

    cell: Cell
    sequences: Sequences


def serves(node: Node) -> bool:
    """Whether there is a kernel for a ``Recurrent`` node, or for its gradient."""
    present = [item for item in (*node.inputs, *node.outputs) if item is not None]
    known = node.attributes["kind"] in MODES and all(item.dtype == FLOAT32 for item in present)
    if not known or any(not 0 < item.size <= LARGEST for item in present) or 0 in node.attributes.get("lengths", ()):
        return False
    if node.op_type == "Recurrent":
        return True
    kept = node.inputs[INPUTS + 1 + STATES[node.attributes["kind"]]]
    made = None if kept is None else kept.producer
    return made is not None and made.op_type == "Recurrent" and serves(made)


def share_weights(program: Program, backend: str) -> None:
    """Join layers that stand on each other, and let all read packed weights, packed once for all that read them."""
    stack_layers(program, backend, serves)
    pack_weights(program, backend, serves)


@dataclass(frozen=True, slots=True)
class _Reading:
    """A node's layer on its batch, and what both of its kernels have in common."""

    node: Node
    batch: Batch
    resources: Resources

    @classmethod
    def of(cls, node: Node, resources: Resources) -> _Reading:
        """Of a node that reads packed weights, see ``share_weights``."""
        packed = node.inputs[-1]
        assert packed is not None and packed.producer is not None
        cell = cell_of(packed.producer, resources.strict)
        steps, batch = node.x.shape[:2]
        lengths = tuple(node.attributes.get("lengths", (steps,) * batch))
        return cls(node, layers_of(resources).batch(cell, Sequences(steps, lengths)), resources)

    @property
    def is_reverse(self) -> bool:
        return self.node.attributes.get("direction", "forward") == "reverse"

    @property
    def packed(self) -> int:
        """The place of the packed weights among the inputs."""
        return len(self.node.inputs) - 1

    @property
    def packed_layout(self) -> Layout:
        variable = self.node.inputs[self.packed]
        assert variable is not None
        return space_layout(self.batch.layer, variable.size)

    def kept_layout(self, kept: Variable) -> Layout:
        """Never plain: only the gradient can read it."""
        nbytes = self.batch.scratch(ForwardMode.TRAINING)[1]
        return Layout(FLOAT32, kept.shape, nbytes, Kept(self.batch.layer.cell, self.batch.sequences), DEVICE)

    def turned(self, variable: Variable, source: Place, target: Place) -> Part:
        """The sequences of a tensor (steps, batch, size) from their ends to their beginnings; 0 behind short ones."""
        launch = self._launch(
            "turn_sequences",
            variable,
            "y[at] = step < length ? x[(length - 1 - step) * width + column] : 0.0f;",
            Input(0),
            Output(0),
        )
        return LaunchPart(launch, {Input(0): source, Output(0): target}, self.resources)

    def cut(self, variable: Variable, place: Place) -> list[Part]:
        """0 behind short sequences, where there are such."""
        if "lengths" not in self.node.attributes:
            return []
        launch = self._launch("cut_sequences", variable, "if (step >= length) y[at] = 0.0f;", Output(0))
        return [LaunchPart(launch, {Output(0): place}, self.resources)]

    def _launch(self, name: str, variable: Variable, line: str, *roles: Input | Output) -> Launch:
        """``line`` for every number of a tensor (steps, batch, size)."""
        steps, batch, size = variable.shape
        lengths = self.node.attributes.get("lengths")
        length, before = f"{steps}u", ""
        if lengths is not None:
            table = f"static const uint32 all[] = {{{', '.join(f'{item}u' for item in lengths)}}};"
            before = f"static uint32 length_of(uint32 item) {{ {table} return all[item]; }}"
            length = f"length_of(column / {size}u)"
        lines = (
            "const uint32 at = blockIdx.x * 256u + threadIdx.x;",
            f"if (at >= {variable.size}u) return;",
            f"const uint32 width = {batch * size}u, step = at / width, column = at % width, length = {length};",
            line,
        )
        parameters = ("const float32* x", "float32* y")[-len(roles) :]
        function = Function(name, parameters, "\n    ".join(["", *lines]), (), before)
        return in_one_row(function, variable.size, roles)


def _laid(variable: Variable | None) -> Layout | None:
    return None if variable is None else on_device(variable.dtype, variable.shape)


def _input(node: Node, index: int) -> Place | None:
    return None if node.inputs[index] is None else reads(index)


@kernel(TOOLKIT_DOMAIN, "Recurrent", accepts=serves)
def recurrent(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Y and the last states, and what the gradient needs where somebody asks for what is kept."""
    reading, memory = _Reading.of(node, resources), Scratch()
    count = 1 + STATES[node.attributes["kind"]]
    kept = node.outputs[count] if len(node.outputs) > count else None
    mode = ForwardMode.INFERENCE if kept is None else ForwardMode.TRAINING
    workspace, reserve = reading.batch.scratch(mode)
    x, y = reads(X), writes(0)
    parts: list[Part] = []
    if reading.is_reverse:
        x, y = memory.take(node.x.nbytes), memory.take(node.y.nbytes)
        parts.append(reading.turned(node.x, reads(X), x))
    places = {"x": x, "y": y, "weights": reads(reading.packed), "kept": None if kept is None else writes(count)}
    places |= {"h": _input(node, FIRST_STATE), "c": _input(node, FIRST_STATE + 1)}
    last = [None if item is None else writes(index) for index, item in enumerate(node.outputs[1:count], start=1)]
    places |= dict(zip(("last h", "last c"), last, strict=False))
    parts.append(CallPart("cudnnRNNForward", partial(_forward, reading, mode, places, (workspace, reserve)), workspace))
    if reading.is_reverse:
        parts.append(reading.turned(node.y, y, writes(0)))
    layouts = [None if W <= index <= BIAS else _laid(item) for index, item in enumerate(node.inputs)]
    layouts[reading.packed] = reading.packed_layout
    results = [_laid(item) for item in node.outputs[:count]]
    results += [None if item is None else reading.kept_layout(item) for item in node.outputs[count:]]
    return PartsKernel(parts, layouts, results, memory)


Places = Mapping[str, Place | None]


class _Found:
    """Addresses of places by name; nothing where there is no such place."""

    def __init__(self, places: Places, address: Addresses) -> None:
        self._places, self._address = places, address

    def __call__(self, name: str) -> int | None:
        place = self._places.get(name)
        return None if place is None else self._address(place)


def _forward(
    reading: _Reading, mode: ForwardMode, places: Places, sizes: tuple[int, int], address: Addresses, workspace: int
) -> Step:
    """The lengths lie in the descriptors; version 9 reads no copy of them on the device."""
    batch, at = reading.batch, _Found(places, address)
    session, weights = batch.layer.session, (batch.layer.weight_nbytes, at("weights"))
    return call(
        session.functions.RNNForward,
        *(session.handle, batch.layer.descriptor, mode, None),
        *(batch.x, at("x"), batch.y, at("y")),
        *(batch.state, at("h"), at("last h")),
        *(batch.state, at("c"), at("last c")),
        *weights,
        *(sizes[0], workspace, sizes[1], at("kept")),
    )


# the gradient -------------------------------------------------------------------------------------------------------


@kernel(TOOLKIT_DOMAIN, "RecurrentGradient", accepts=serves)
def recurrent_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """First the gradients of what flows through the layer, then, where somebody wants them, those of the weights."""
    reading, memory = _Reading.of(node, resources), Scratch()
    kind, wrt = node.attributes["kind"], list(node.attributes["wrt"])
    count = 1 + STATES[kind]
    sequence, kept, seeds = INPUTS, INPUTS + count, INPUTS + count + 1
    y, held = node.inputs[sequence], node.inputs[kept]
    assert y is not None and held is not None
    sizes = reading.batch.scratch(ForwardMode.TRAINING)
    names = {"x": (X, node.x), "y": (sequence, y), "dy": (seeds, y)}
    places: dict[str, Place | None] = {name: reads(index) for name, (index, _) in names.items()}
    parts: list[Part] = []
    if reading.is_reverse:
        for name, (index, variable) in names.items():
            target = memory.take(variable.nbytes)
            parts.append(reading.turned(variable, reads(index), target))
            places[name] = target
    dx = writes(wrt.index(X)) if X in wrt else None
    places["dx"] = memory.take(node.x.nbytes) if dx is None or reading.is_reverse else dx
    places |= {"h": _input(node, FIRST_STATE), "c": _input(node, FIRST_STATE + 1)}
    places |= {name: _input(node, seeds + index) for index, name in enumerate(("dh", "dc")[: count - 1], start=1)}
    for name, index in (("first dh", FIRST_STATE), ("first dc", FIRST_STATE + 1)):
        places[name] = writes(wrt.index(index)) if index in wrt else None
    places |= {"weights": reads(reading.packed), "kept": reads(kept)}
    parts.append(CallPart("cudnnRNNBackwardData", partial(_backward, reading, places, sizes), sizes[0]))
    if dx is not None:
        back = [reading.turned(node.x, _known(places["dx"]), dx)]
        parts += back if reading.is_reverse else reading.cut(node.x, dx)
    parts += _weight_gradients(reading, wrt, places, sizes, memory)
    layouts = [_laid(item) for item in node.inputs]
    layouts[W : BIAS + 1] = [None] * BIAS
    layouts[sequence + 1 : kept] = [None] * (count - 1)  # the last states
    layouts[kept], layouts[reading.packed] = reading.kept_layout(held), reading.packed_layout
    return PartsKernel(parts, layouts, [_laid(item) for item in node.outputs], memory)


def _known(place: Place | None) -> Place:
    assert place is not None
    return place


def _backward(reading: _Reading, places: Places, sizes: tuple[int, int], address: Addresses, workspace: int) -> Step:
    batch, at = reading.batch, _Found(places, address)
    session, weights = batch.layer.session, (batch.layer.weight_nbytes, at("weights"))
    return call(
        session.functions.RNNBackwardData_v8,
        *(session.handle, batch.layer.descriptor, None),
        *(batch.y, at("y"), at("dy"), batch.x, at("dx")),
        *(batch.state, at("h"), at("dh"), at("first dh")),
        *(batch.state, at("c"), at("dc"), at("first dc")),
        *weights,
        *(sizes[0], workspace, sizes[1], at("kept")),
    )


def _weight_gradients(
    reading: _Reading, wrt: Sequence[int], places: Places, sizes: tuple[int, int], memory: Scratch
) -> list[Part]:
    """cuDNN adds to what lies in the space of the gradients, which is therefore cleared before."""
    layer, wanted = reading.batch.layer, [index for index in wrt if W <= index % INPUTS <= BIAS]
    if not wanted:
        return []
    space, count = memory.take(layer.weight_nbytes), layer.weight_nbytes // ELEMENT_BYTES
    body = f"    sweep::fill(y, 0.0f, {count}ull);"
    filling = in_one_row(Function("clear", ("float32* y",), body, ("reduction", "sweep")), count, (Output(0),))
    parts: list[Part] = [LaunchPart(filling, {Output(0): space}, reading.resources)]
    make = partial(_backward_weights, reading, {**places, "weights": space}, sizes)
    parts.append(CallPart("cudnnRNNBackwardWeights", make, sizes[0]))
    for index in wanted:
        launch = unpacking(layer, reading.node.attributes["kind"], index, Input(0))
        target: dict[Argument, Place] = {Input(0): space, Output(0): writes(wrt.index(index))}
        parts.append(LaunchPart(launch, target, reading.resources))
    return parts


def _backward_weights(
    reading: _Reading, places: Places, sizes: tuple[int, int], address: Addresses, workspace: int
) -> Step:
    """Behind ``_backward``, which leaves in what is kept what this reads."""
    batch, at = reading.batch, _Found(places, address)
    session = batch.layer.session
    return call(
        session.functions.RNNBackwardWeights_v8,
        *(session.handle, batch.layer.descriptor, WeightGradientMode.ADD, None),
        *(batch.x, at("x"), batch.state, at("h"), batch.y, at("y")),
        *(batch.layer.weight_nbytes, at("weights")),
        *(sizes[0], workspace, sizes[1], at("kept")),
    )
