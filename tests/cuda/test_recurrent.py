"""Recurrent layers on cuDNN: recorded calls, executed on the host with our own kernels, against the references."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.cases import all_cases
from tests.cuda.host import COMPILER, HostKernels, garbage
from tests.cuda.nodes import Somewhere
from tests.cuda.recurrence import Recurrences
from tests.cuda.test_nvrtc import is_there
from tests.support.interpret import apply, build
from toolkit import layers
from toolkit.autodiff import differentiate
from toolkit.backends.cuda import launch, nvrtc, parts
from toolkit.backends.cuda.backend import CudaBackend
from toolkit.backends.cuda.launch import SourceKernel
from toolkit.backends.cuda.layouts import on_device
from toolkit.backends.cuda.parts import LaunchPart, PartsKernel
from toolkit.backends.cuda.recurrent import serves, share_weights
from toolkit.backends.cuda.registry import KERNELS
from toolkit.backends.protocol import Kernel, Resources
from toolkit.compiler.bind import bind
from toolkit.compiler.passes.recurrent_layers import use_recurrent_layers
from toolkit.compiler.pipeline import optimise_for_inference
from toolkit.compiler.placement import place
from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.training_pipeline import prepare_for_training, tidy_after_differentiation
from toolkit.graph import Network
from toolkit.runtime.arrangement import Arrangement, arrange

STEPS, BATCH, SIZE, HIDDEN = 5, 3, 6, 20
DIRECTIONS = ("forward", "reverse", "bidirectional")
GATES = {"LSTM": 4, "LinearGRU": 3, "Tanh": 1, "Relu": 1}
FEWEST_ROWS = 30  # of RNN, GRU and LSTM that cuDNN serves
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="needs g++ to compile the kernels for the host")
OURS = ("Recurrent", "RecurrentGradient", "RecurrentWeights")
Array = np.ndarray


class Lowered:
    """A program whose recurrent layers this backend computes, and references all else; ``wanted`` is what must come."""

    def __init__(
        self, name: str, program: Program, given: Mapping[Variable, Array], wanted: Mapping[Any, Array]
    ) -> None:
        self.name, self.program, self.given, self.wanted = name, program, given, wanted
        self.recorder = Recurrences()
        for node in program.nodes:
            node.backend = "cuda"
        share_weights(program, "cuda")
        resources = self.recorder.resources()
        self.kernels = [lowered(node, resources) if node.op_type in OURS else None for node in program.nodes]

    def launches(self) -> Iterator[Any]:
        """The kernels of our own."""
        for kernel in self.kernels:
            if isinstance(kernel, PartsKernel):
                yield from (part.launch for part in kernel.parts if isinstance(part, LaunchPart))
            elif isinstance(kernel, SourceKernel):
                yield from kernel.launches

    def run(self) -> dict[Variable, Array]:
        """What the nodes leave in memory that held nothing."""
        memory: dict[Variable, tuple[Array, Somewhere]] = {}
        found: dict[Variable, Array] = {}

        def at(item: Variable | None, layout: Any) -> Somewhere | None:
            if item is None or layout is None:
                return None
            if item not in memory:
                room = garbage(layout.nbytes)
                memory[item] = room, Somewhere(layout, room.ctypes.data)
                if item in found:
                    room.view(item.dtype)[:] = found[item].reshape(-1)
                elif layout.is_plain:
                    found[item] = room.view(item.dtype).reshape(item.shape)
            assert memory[item][1].layout == layout, "a tensor is wanted where its writer does not leave it"
            return memory[item][1]

        found.update(self.given)
        for node, kernel in zip(self.program.nodes, self.kernels, strict=True):
            found |= {item: item.constant for item in node.inputs if item is not None and item.constant is not None}
            if kernel is None:
                arrays = [None if item is None else found[item] for item in node.inputs]
                results = apply(node.domain, node.op_type, node.version, arrays, node.attributes)
                found |= {item: array for item, array in zip(node.outputs, results, strict=False) if item is not None}
                continue
            inputs = [at(item, layout) for item, layout in zip(node.inputs, kernel.inputs, strict=True)]
            outputs = [at(item, layout) for item, layout in zip(node.outputs, kernel.outputs, strict=True)]
            room = garbage(kernel.workspace)
            scratch = Somewhere(on_device(room.dtype, room.shape), room.ctypes.data)
            assert not kernel.bind(inputs, outputs, scratch)()
        return found


def lowered(node: Node, resources: Resources) -> Kernel:
    entry = KERNELS.entry_of(node)
    assert entry is not None
    return entry.lower(node, [None] * len(node.inputs), resources)


def drawn(kind: str, direction: str, *, bias: bool, initial: bool) -> list[Array | None]:
    """X, W, R, bias and first states."""
    random, gates = np.random.default_rng(0), GATES[kind]
    directions = 2 if direction == "bidirectional" else 1
    shapes = [(STEPS, BATCH, SIZE), (directions, SIZE, gates, HIDDEN), (directions, HIDDEN, gates, HIDDEN)]
    shapes += [(directions, gates + (kind == "LinearGRU"), HIDDEN), *[(directions, BATCH, HIDDEN)] * 2]
    present = [True, True, True, bias, initial, initial and kind == "LSTM"]
    return [
        random.uniform(-0.5, 0.5, shape).astype(np.float32) if there else None
        for shape, there in zip(shapes, present, strict=True)
    ]


def layer(
    kind: str,
    direction: str = "forward",
    *,
    bias: bool = True,
    initial: bool = True,
    kept: bool = True,
    lengths: Sequence[int] = (),
) -> Lowered:
    """A layer, and its gradient if it keeps what that needs."""
    arrays, program = drawn(kind, direction, bias=bias, initial=initial), Program(layer="recorded")
    attributes: dict[str, Any] = {"kind": kind, "direction": direction}
    if lengths:
        attributes["lengths"] = list(lengths)
    count = 2 + (kind == "LSTM")
    given: dict[Variable, Array] = {}

    def operand(array: Array) -> Variable:
        made = Variable(f"given {len(given)}", array.dtype, array.shape)
        given[made] = array
        return made

    operands = [None if item is None else operand(item) for item in arrays]
    expected = apply("toolkit", "Recurrent", 1, arrays, attributes)
    names = [*"yhc"[:count], "kept" if kept else ""]
    node = program.append("Recurrent", operands, attributes, domain="toolkit", outputs=names)
    wanted = dict(zip(node.outputs[:count], expected[:count], strict=True))
    if kept:
        random = np.random.default_rng(1)
        seeds = [random.standard_normal(item.shape).astype(np.float32) for item in expected[:count]]
        wrt = [index for index, item in enumerate(arrays) if item is not None and (index or bias)]
        backward = {**attributes, "wrt": wrt}
        slopes = apply("toolkit", "RecurrentGradient", 1, [*arrays, *expected, *seeds], backward)
        inputs = [*operands, *node.outputs, *map(operand, seeds)]
        gradient = program.append("RecurrentGradient", inputs, backward, domain="toolkit", outputs=len(wrt))
        wanted |= dict(zip(gradient.outputs, slopes, strict=True))
    name = f"{kind} {direction}{' biased' * bias}{' begun' * initial} {lengths}"
    return Lowered(name, program, given, wanted)


def every_layer() -> Iterator[Lowered]:
    """Every kind in every direction, with and without bias, first states and gradient."""
    others = ((True, True, True), (True, False, True), (False, False, True), (False, True, False))
    for kind, direction, (bias, initial, kept) in product(GATES, DIRECTIONS, others):
        yield layer(kind, direction, bias=bias, initial=initial, kept=kept)
    for kind, direction in product(("LSTM", "LinearGRU"), DIRECTIONS):
        yield layer(kind, direction, lengths=(2, STEPS, 1))


def case_rows() -> Iterator[Lowered]:
    """The rows of RNN, GRU and LSTM that become layers which are served."""
    for case in all_cases():
        if case.domain or case.operator not in ("RNN", "GRU", "LSTM"):
            continue
        arrays = case.arrays(BATCH)
        program, node = build(case, arrays, BATCH)
        program.outputs = {str(index): item for index, item in enumerate(node.outputs) if item is not None}
        use_recurrent_layers(program, training=False)
        if any(made.op_type == "Recurrent" and serves(made) for made in program.nodes):
            given = {item: arrays[int(name.removeprefix("input"))] for name, item in program.inputs.items()}
            expected = apply(case.domain, case.operator, case.version, arrays, case.bound_attributes(BATCH))
            wanted = {item: expected[int(name)] for name, item in program.outputs.items()}
            yield Lowered(case.id, program, given, wanted)


def check(rows: Sequence[Lowered], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run all of them, what our own kernels do compiled for the host, and compare."""
    compiled = HostKernels([item.function for row in rows for item in row.launches()], folder)

    def enqueuing(launches: Any, inputs: Any, outputs: Any, workspace: Any, *rest: Any) -> Any:
        read, written = ([0 if item is None else item.address for item in side] for side in (inputs, outputs))

        def step() -> None:
            for item in launches:
                compiled.launch(item, read, written, 0)

        return step

    monkeypatch.setattr(launch, "enqueuing", enqueuing)
    monkeypatch.setattr(parts, "enqueuing", enqueuing)
    for row in rows:
        found = row.run()
        for item, array in row.wanted.items():
            np.testing.assert_allclose(found[item], array, rtol=1e-4, atol=1e-5, err_msg=f"{row.name}: {item}")


@needs_compiler
def test_layers_and_gradients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = list(case_rows())
    assert len(rows) >= FEWEST_ROWS
    check([*rows, *every_layer()], tmp_path, monkeypatch)


@pytest.mark.skipif(not is_there(), reason="needs NVRTC")
def test_kernels_compile() -> None:
    rows = (
        layer("LinearGRU", "reverse"),
        layer("LSTM", lengths=(2, STEPS, 1)),
        layer("Tanh", "reverse", lengths=(1, 2, 3)),
    )
    for made in {item.function for row in rows for item in row.launches()}:
        assert nvrtc.compile_source(made.source(), made.name, nvrtc.options((9, 0)))[:4] == b"\x7fELF"


def test_weights_are_packed_once_for_the_layer_and_its_gradient() -> None:
    row = layer("LSTM")
    assert [node.op_type for node in row.program.nodes] == ["RecurrentWeights", "Recurrent", "RecurrentGradient"]
    share_weights(row.program, "cuda")  # as when the memory of several schedules is measured before one is taken
    assert len(row.program.nodes) == 3
    first, *readers = row.program.nodes
    assert [len(node.inputs) for node in readers] == [7, 14]
    assert [node.inputs[-1] for node in readers] == [first.y, first.y]
    assert len(row.recorder.named("cudnnCreateRNNDescriptor")) == 1
    assert len(row.recorder.named("cudnnCreateRNNDataDescriptor")) == 2


@pytest.mark.parametrize(("strict", "math"), [(True, 3), (False, 0)], ids=["exact", "TF32"])
def test_exact_products_are_asked_for(strict: bool, math: int) -> None:
    node, recorder = layer("LinearGRU").program.nodes[0], Recurrences()
    resources = recorder.resources(strict=strict)
    lowered(node, resources)
    told: list[Any] = [item.attributes for item in recorder.made.values() if item.kind == "cudnnCreateRNNDescriptor"]
    assert [item["math"] for item in told] == [math]


def arranged(program: Program) -> Arrangement:
    """The program as a plan would execute it here."""
    backend, resources = CudaBackend(), Recurrences().resources()
    resources.own("cuda", lambda: SimpleNamespace(enter=lambda: None))
    place(program, [backend])
    return arrange(program, [backend], resources)


def learning(network: Network) -> Program:
    """The network with the gradients of its parameters, given that of its output."""
    program = prepare_for_training(bind(network, BATCH))
    (y,) = program.outputs.values()
    seed = program.inputs["seed"] = Variable("seed", y.dtype, y.shape)
    wrt = program.trainable()
    grads = differentiate(program, {y: seed}, wrt)
    program.outputs.update((item.name, grads[item]) for item in wrt)
    return tidy_after_differentiation(program)


def test_weights_that_stay_are_packed_before_the_first_run() -> None:
    network = layers.Sequential([layers.LSTM(HIDDEN)]).network((STEPS, SIZE))
    found = arranged(optimise_for_inference(bind(network, BATCH)))
    assert "pack" in [task.kernel.name for task in found.lowering.static]
    names = [task.kernel.name for task in found.tasks]
    assert "cudnnRNNForward" in names and "pack" not in names


def test_a_layer_learns_by_what_its_forward_pass_has_kept() -> None:
    network = layers.Sequential([layers.GRU(HIDDEN, bidirectional=True)]).network((STEPS, SIZE))
    names = [task.kernel.name for task in arranged(learning(network)).tasks]
    forward, backward = (next(name for name in names if word in name) for word in ("Forward", "Backward"))
    assert forward == "cudnnRNNForward"
    assert backward == (
        "cudnnRNNBackwardData + clear + cudnnRNNBackwardWeights + unpack_matrices + unpack_matrices + unpack_biases"
    )


def node_of(kind: str, dtype: str = "float32", *, kept: bool = True) -> tuple[Node, Node]:
    """A layer without bias, and its gradient before X."""
    shapes = [(STEPS, BATCH, SIZE), (1, SIZE, 3, HIDDEN), (1, HIDDEN, 3, HIDDEN)]
    operands = [Variable(f"x{index}", np.dtype(dtype), shape) for index, shape in enumerate(shapes)]
    program, attributes = Program(), {"kind": kind}
    names = ["y", "h", "kept" * kept]
    made = program.append("Recurrent", operands, attributes, domain="toolkit", outputs=names)
    given = [*operands, *[None] * 3, *made.outputs, *made.outputs[:2]]
    return made, program.append("RecurrentGradient", given, {**attributes, "wrt": [0]}, domain="toolkit")


def test_what_is_left_to_others() -> None:
    assert [serves(node) for node in node_of("LinearGRU")] == [True, True]
    assert [serves(node) for node in node_of("LinearGRU", kept=False)] == [True, False]
    assert [serves(node) for node in node_of("LinearGRU", "float64")] == [False, False]
    assert [serves(node) for node in node_of("GRU")] == [False, False]  # its reset comes before the product
    short = layer("Tanh", kept=False, lengths=(STEPS, 1, 2)).program.nodes[1]
    assert serves(short)
    short.attributes["lengths"] = [STEPS, 1, 0]
    assert not serves(short)
