"""Convolutions by minimal filtering, in layouts of oneDNN, against the reference."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest

from tests.backends.native.checked import check_node, execute, planned
from tests.support.interpret import apply
from toolkit.backends import onednn
from toolkit.backends.native.backend import NativeBackend
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.winograd.convolution import is_convolution
from toolkit.backends.native.winograd.images import Images
from toolkit.backends.onednn.backend import OneDNNBackend
from toolkit.backends.onednn.library import load
from toolkit.backends.protocol import Resources
from toolkit.backends.registry import numpy_backend
from toolkit.compiler.placement import place
from toolkit.compiler.program import Program, Variable
from toolkit.runtime.plan import Plan

pytestmark = pytest.mark.skipif(not onednn.available(), reason=f"oneDNN: {onednn.unavailable_reason()}")

USUAL: dict[str, Any] = {"strides": [1, 1], "pads": [1, 1, 1, 1], "dilations": [1, 1], "group": 1}


def _arrays(x: tuple[int, ...], outputs: int, taps: int = 3) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    weight = random.standard_normal((outputs, x[1], taps, taps)) / np.sqrt(taps**2 * x[1])
    return [array.astype(np.float32) for array in (random.standard_normal(x), weight, random.standard_normal(outputs))]


def _grad(x: tuple[int, ...], outputs: int, pads: list[int], taps: int = 3) -> np.ndarray:
    size = (x[2] + pads[0] + pads[2] - taps + 1, x[3] + pads[1] + pads[3] - taps + 1)
    return np.random.default_rng(1).standard_normal((x[0], outputs, *size)).astype(np.float32)


SHAPES = [
    ((3, 32, 26, 28), 40, [0, 0, 0, 0], 3),  # a panel that is not full
    ((2, 24, 41, 30), 40, [2, 0, 1, 1], 3),
    ((1, 128, 14, 14), 128, [1, 1, 1, 1], 3),  # threads share outputs
    ((2, 264, 6, 6), 80, [1, 1, 1, 1], 3),  # channels in two parts
    ((6, 20, 12, 13), 51, [0, 1, 0, 1], 5),  # vectors that are not full
    ((4, 40, 16, 16), 29, [1, 1, 1, 1], 3),  # results alone do not fill vectors
    ((2, 312, 6, 6), 80, [1, 1, 1, 1], 3),  # few tiles, channels in two parts of which the last is not full
    ((9, 96, 14, 14), 96, [1, 1, 1, 1], 3),  # threads share outputs, and there are many tiles
    ((5, 96, 11, 9), 96, [1, 1, 1, 1], 3),  # some tiles have one result less
    ((3, 56, 45, 47), 72, [1, 1, 1, 1], 3),  # too large for near caches
]
shapes = pytest.mark.parametrize(("x", "outputs", "pads", "taps"), SHAPES)
several = pytest.mark.parametrize("threads", [1, 2])


@several
@shapes
def test_convolution(x: tuple[int, ...], outputs: int, pads: list[int], taps: int, threads: int) -> None:
    arrays, others = _arrays(x, outputs, taps), [OneDNNBackend()]
    check_node("FusedConv", arrays, {**USUAL, "pads": pads}, threads=threads, others=others)


@several
@shapes
def test_gradient_by_the_input(x: tuple[int, ...], outputs: int, pads: list[int], taps: int, threads: int) -> None:
    _, weight, _ = _arrays(x, outputs, taps)
    attributes, others = {**USUAL, "pads": pads, "input_shape": list(x)}, [OneDNNBackend()]
    grad = _grad(x, outputs, pads, taps)
    check_node("ConvInputGradient", [grad, weight], attributes, threads=threads, others=others)


@several
@shapes
def test_gradient_by_the_weight(x: tuple[int, ...], outputs: int, pads: list[int], taps: int, threads: int) -> None:
    image, weight, _ = _arrays(x, outputs, taps)
    grad = _grad(x, outputs, pads, taps)
    options: dict[str, Any] = {"known": (), "threads": threads, "others": [OneDNNBackend()], "tolerance": 2e-5}
    attributes = {**USUAL, "pads": pads, "weight_shape": list(weight.shape)}
    check_node("ConvWeightGradient", [image, grad], {**attributes, "has_bias": 0}, **options)
    check_node("ConvWeightGradient", [image, grad], {**attributes, "has_bias": 1}, outputs=2, **options)


STRIDED: dict[str, Any] = {**USUAL, "strides": [2, 2]}
STRIDED_SHAPES = [
    ((3, 91, 62, 64), 109, [1, 1, 1, 1]),  # panels, vectors and tiles that are not full
    ((2, 56, 65, 64), 96, [0, 0, 1, 1]),
    ((1, 128, 56, 56), 128, [1, 1, 1, 1]),  # threads share outputs
    ((6, 264, 15, 16), 136, [1, 1, 1, 1]),  # channels in two parts
]
strided_shapes = pytest.mark.parametrize(("x", "outputs", "pads"), STRIDED_SHAPES)


def _strided_grad(x: tuple[int, ...], outputs: int, pads: list[int]) -> np.ndarray:
    return np.ascontiguousarray(_grad(x, outputs, pads)[..., ::2, ::2])


@several
@strided_shapes
def test_convolution_two_positions_apart(x: tuple[int, ...], outputs: int, pads: list[int], threads: int) -> None:
    options: dict[str, Any] = {"threads": threads, "others": [OneDNNBackend()]}
    residual = _strided_grad(x, outputs, pads)
    check_node(
        "FusedConv", [*_arrays(x, outputs), residual], {**STRIDED, "pads": pads, "activation": "Relu"}, **options
    )


@several
@strided_shapes
def test_gradient_two_positions_apart(x: tuple[int, ...], outputs: int, pads: list[int], threads: int) -> None:
    given = [_strided_grad(x, outputs, pads), _arrays(x, outputs)[1]]
    attributes, others = {**STRIDED, "pads": pads, "input_shape": list(x)}, [OneDNNBackend()]
    if pads[:2] == [1, 1]:
        check_node("ConvInputGradient", given, attributes, threads=threads, others=others)
    else:
        with pytest.raises(AssertionError):
            planned("ConvInputGradient", given, attributes, threads=threads, others=others)


STRIDED_WEIGHTS = [
    ((3, 91, 62, 64), 109, [1, 1, 1, 1]),  # each thread has sums of its own
    ((5, 80, 56, 56), 128, [1, 1, 1, 1]),  # they have so where sums are large, for windows are larger
    ((3, 152, 31, 32), 120, [0, 0, 1, 1]),  # threads share outputs
    ((6, 256, 14, 14), 136, [1, 1, 1, 1]),  # all the way, some tiles have fewer results
]


@several
@pytest.mark.parametrize(("x", "outputs", "pads"), STRIDED_WEIGHTS)
def test_gradient_by_the_weight_two_positions_apart(
    x: tuple[int, ...], outputs: int, pads: list[int], threads: int
) -> None:
    image, weight, _ = _arrays(x, outputs)
    options: dict[str, Any] = {"known": (), "threads": threads, "others": [OneDNNBackend()], "tolerance": 2e-5}
    attributes = {**STRIDED, "pads": pads, "weight_shape": list(weight.shape), "has_bias": 1}
    check_node("ConvWeightGradient", [image, _strided_grad(x, outputs, pads)], attributes, outputs=2, **options)


@pytest.fixture
def in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images lie in blocks of channels, as those do that a library's convolution has made for a training step."""
    lanes = compiler().lanes(np.dtype(np.float32))
    monkeypatch.setattr(Images, "of", lambda shape, layout, dtype=None: Images((shape[2], shape[3]), shape[1], lanes))


@pytest.mark.usefixtures("in_blocks")
@pytest.mark.parametrize(("x", "outputs", "pads", "taps"), [SHAPES[1], SHAPES[3], SHAPES[4]])
def test_channels_in_blocks(x: tuple[int, ...], outputs: int, pads: list[int], taps: int) -> None:
    image, weight, bias = _arrays(x, outputs, taps)
    grad, options = _grad(x, outputs, pads, taps), {"threads": 2, "others": [OneDNNBackend()], "tolerance": 2e-5}
    attributes = {**USUAL, "pads": pads}
    check_node("FusedConv", [image, weight, bias, grad], {**attributes, "activation": "Relu"}, **options)
    check_node("ConvInputGradient", [grad, weight], {**attributes, "input_shape": list(x)}, **options)
    shape: dict[str, Any] = {"weight_shape": list(weight.shape), "has_bias": 1}
    check_node("ConvWeightGradient", [image, grad], {**attributes, **shape}, known=(), outputs=2, **options)


IS_NARROW = compiler().multiplies_bfloat16 and onednn.available() and load().multiplies_bytes  # it came with the former
narrow = pytest.mark.skipif(not IS_NARROW, reason="the processor has no products of bfloat16, or the library none")
HALF = np.dtype(ml_dtypes.bfloat16)
NARROW_SHAPES = [
    ((3, 128, 27, 28), 96, [1, 1, 1, 1]),
    ((2, 136, 41, 30), 120, [2, 0, 1, 1]),  # neither channels nor outputs fill vectors
    ((5, 264, 14, 14), 264, [1, 1, 1, 1]),  # channels in two parts, the second of one vector
    ((5, 160, 9, 11), 160, [1, 1, 1, 1]),  # pairs of which one tile has one result less
]
narrow_shapes = pytest.mark.parametrize(("x", "outputs", "pads"), NARROW_SHAPES)


@narrow
@several
@narrow_shapes
def test_convolution_of_bfloat16(x: tuple[int, ...], outputs: int, pads: list[int], threads: int) -> None:
    """Sums are float32; what is seen of images and filters is rounded once more."""
    image, weight, bias = _arrays(x, outputs)
    given: list[np.ndarray] = [image.astype(HALF), weight.astype(HALF), bias]
    residual = _grad(x, outputs, pads).astype(HALF)
    options: dict[str, Any] = {"threads": threads, "others": [OneDNNBackend()], "tolerance": 1.5e-2}
    check_node("FusedConv", given, {**USUAL, "pads": pads}, **options)
    check_node("FusedConv", [*given, residual], {**USUAL, "pads": pads, "activation": "Relu"}, **options)


NARROW_STRIDED_SHAPES = [
    ((3, 248, 62, 63), 237, [1, 1, 1, 1]),  # neither vectors nor tiles are full
    ((6, 520, 31, 32), 136, [1, 1, 1, 1]),  # channels in several parts
]
narrow_strided_shapes = pytest.mark.parametrize(("x", "outputs", "pads"), NARROW_STRIDED_SHAPES)


@narrow
@several
@narrow_strided_shapes
def test_bfloat16_two_positions_apart(x: tuple[int, ...], outputs: int, pads: list[int], threads: int) -> None:
    image, weight, bias = _arrays(x, outputs)
    grad, narrow_weight = _strided_grad(x, outputs, pads).astype(HALF), weight.astype(HALF)
    attributes: dict[str, Any] = {**STRIDED, "pads": pads}
    options: dict[str, Any] = {"threads": threads, "others": [OneDNNBackend()], "tolerance": 1.5e-2}
    given = [image.astype(HALF), narrow_weight, bias, grad]
    check_node("FusedConv", given, {**attributes, "activation": "Relu"}, **options)
    check_node("ConvInputGradient", [grad, narrow_weight], {**attributes, "input_shape": list(x)}, **options)


@narrow
def test_a_weight_that_would_be_narrowed_is_read_as_it_is() -> None:
    x, outputs, _ = NARROW_SHAPES[0]
    image, weight, _ = _arrays(x, outputs)
    program = Program(layer="checked")
    given, wide = Variable("x0", HALF, image.shape), Variable("w", weight.dtype, weight.shape, constant=weight)
    program.inputs["x0"] = given
    cast = program.append("Cast", [wide], {"to": onnx.TensorProto.BFLOAT16}, version=13, outputs=1)
    node = program.append("FusedConv", [given, cast.y], USUAL, domain="toolkit", version=1, outputs=1)
    program.outputs = {"0": node.y}
    backends = [OneDNNBackend(), NativeBackend(), numpy_backend()]
    place(program, backends)
    assert node.backend == "native" and node.inputs[1] is wide and program.nodes == [node]
    plan = Plan(program, backends, Resources(2), packed={})
    execute(plan, [image.astype(HALF)])
    exact = apply("toolkit", "FusedConv", 1, [image.astype(HALF).astype(np.float32), weight], USUAL)[0]
    error = plan.output_arrays["0"].astype(np.float32) - exact
    assert float(np.sqrt(np.mean(error**2))) < 5e-3 * exact.std()


@narrow
@several
@narrow_shapes
def test_gradient_by_the_input_of_bfloat16(x: tuple[int, ...], outputs: int, pads: list[int], threads: int) -> None:
    _, weight, _ = _arrays(x, outputs)
    given = [_grad(x, outputs, pads).astype(HALF), weight.astype(HALF)]
    attributes, others = {**USUAL, "pads": pads, "input_shape": list(x)}, [OneDNNBackend()]
    check_node("ConvInputGradient", given, attributes, threads=threads, others=others, tolerance=1.5e-2)


@narrow
@several
@narrow_shapes
def test_gradient_by_the_weight_of_bfloat16(x: tuple[int, ...], outputs: int, pads: list[int], threads: int) -> None:
    image, weight, _ = _arrays(x, outputs)
    _check_narrow_weight_gradient([image, _grad(x, outputs, pads)], weight, {**USUAL, "pads": pads}, threads)


@narrow
@several
@narrow_strided_shapes
def test_gradient_by_the_weight_of_bfloat16_two_positions_apart(
    x: tuple[int, ...], outputs: int, pads: list[int], threads: int
) -> None:
    image, weight, _ = _arrays(x, outputs)
    _check_narrow_weight_gradient([image, _strided_grad(x, outputs, pads)], weight, {**STRIDED, "pads": pads}, threads)


def _check_narrow_weight_gradient(
    arrays: list[np.ndarray], weight: np.ndarray, usual: dict[str, Any], threads: int
) -> None:
    given = [item.astype(HALF) for item in arrays]
    exact = [item.astype(np.float32) for item in given]
    attributes = {**usual, "weight_shape": list(weight.shape), "has_bias": 1}
    options: dict[str, Any] = {"known": (), "outputs": 2, "threads": threads, "others": [OneDNNBackend()]}
    plan = planned("ConvWeightGradient", given, attributes, result=np.dtype(np.float32), **options)
    for _ in range(2):
        execute(plan, given)
        for name, wanted in enumerate(apply("toolkit", "ConvWeightGradient", 1, exact, attributes)):
            found = plan.output_arrays[str(name)]
            assert found.dtype == np.float32
            assert np.abs(found - wanted).max() < 3e-2 * wanted.std()


@narrow
def test_narrow_images_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Images, "of", lambda shape, layout, dtype: Images(shape[2:], shape[1], 16, dtype))
    x, outputs, pads = NARROW_SHAPES[1]
    image, weight, bias = _arrays(x, outputs)
    options: dict[str, Any] = {"threads": 2, "others": [OneDNNBackend()], "tolerance": 1.5e-2}
    check_node("FusedConv", [image.astype(HALF), weight.astype(HALF), bias], {**USUAL, "pads": pads}, **options)


def test_bfloat16_is_left_where_the_processor_does_not_multiply_it(monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program(layer="checked")
    x, weight = Variable("x", HALF, (8, 256, 14, 14)), Variable("w", np.dtype(np.float32), (256, 256, 3, 3))
    weight.constant = np.zeros(weight.shape, np.float32)
    node = program.append("FusedConv", [x, weight], USUAL, domain="toolkit", version=1, outputs=1)
    for has_products in (True, False):
        monkeypatch.setattr(compiler(), "multiplies_bfloat16", has_products)
        assert is_convolution(node) == has_products


@pytest.mark.parametrize(("activation", "outputs"), [("Relu", 32), ("Clip", 32), ("Sigmoid", 27)])
def test_what_is_fused_comes_behind(activation: str, outputs: int) -> None:
    x, weight, bias = _arrays((2, 16, 33, 33), outputs)
    residual = np.random.default_rng(1).standard_normal((2, outputs, 33, 33)).astype(np.float32)
    attributes = {**USUAL, "activation": activation, "activation_alpha": 0.0, "activation_beta": 6.0}
    options = {"others": [OneDNNBackend()], "threads": 2}
    check_node("FusedConv", [x, weight, bias, residual], attributes, **options)
    check_node("FusedConv", [x, weight, None, residual], attributes, **options)
    check_node("FusedConv", [x, weight], attributes, **options)


def test_the_weight_is_packed_once_and_takes_four_times_its_memory() -> None:
    x, weight, bias = _arrays((1, 16, 64, 64), 32)
    plan = planned("FusedConv", [x, weight, bias], USUAL, others=[OneDNNBackend()])
    sizes = [layout.nbytes for task in plan.tasks for layout in task.kernel.inputs if layout is not None]
    assert 4 * weight.nbytes <= max(size for size in sizes if size < x.nbytes) < 5 * weight.nbytes


@pytest.mark.parametrize(
    "changes",
    [{"strides": [2, 1]}, {"strides": [3, 3]}, {"dilations": [2, 2]}, {"group": 2}],
    ids=str,
)
def test_leaves_what_is_no_dense_window(changes: dict[str, Any]) -> None:
    def node_of(attributes: dict[str, Any], channels: int) -> bool:
        program = Program(layer="checked")
        x, weight = (
            Variable(name, np.dtype(np.float32), shape)
            for name, shape in (("x", (1, 32, 64, 64)), ("w", (32, channels, 3, 3)))
        )
        weight.constant = np.zeros(weight.shape, np.float32)
        return is_convolution(
            program.append("FusedConv", [x, weight], attributes, domain="toolkit", version=1, outputs=1)
        )

    assert node_of(USUAL, 32)
    assert not node_of({**USUAL, **changes}, 32 // changes.get("group", 1))
