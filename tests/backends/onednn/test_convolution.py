"""Convolutions on oneDNN against the operators' references."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.backends.onednn.driver import BACKEND, node_of, run
from toolkit.backends.onednn.convolution_terms import IN_BLOCKS, Terms

# batch, channels, filters, spatial size, kernel, stride, pad, dilation, group, spatial axes
Sizes = int | tuple[int, ...]
SHAPES: dict[str, tuple[int, int, int, Sizes, Sizes, int, Sizes, int, int, int]] = {
    "stem": (2, 3, 64, 15, 7, 2, 3, 1, 1, 2),
    "3x3": (2, 32, 32, 7, 3, 1, 1, 1, 1, 2),
    "1x1": (2, 32, 64, 7, 1, 1, 0, 1, 1, 2),
    "depthwise": (2, 32, 32, 8, 3, 2, 1, 1, 32, 2),
    "grouped dilated": (1, 16, 32, 9, 3, 1, 1, 2, 4, 2),
    "odd channels": (3, 5, 7, 9, 3, 2, 1, 1, 1, 2),
    "wide window": (2, 3, 16, 20, 9, 1, 4, 1, 1, 2),
    "one column": (2, 16, 32, (20, 1), (5, 1), 1, (2, 0), 1, 1, 2),
    "depthwise column": (2, 24, 24, (20, 1), (3, 1), 2, (1, 0), 1, 24, 2),
    "one axis": (2, 8, 12, 20, 3, 1, 1, 1, 1, 1),
    "one axis depthwise": (2, 24, 24, 20, 3, 1, 1, 1, 24, 1),
    "two idle axes": (2, 8, 12, (9, 1, 1), (3, 1, 1), 1, (1, 0, 0), 1, 1, 3),
    "three axes": (1, 4, 6, 5, 3, 1, 1, 1, 1, 3),
    "three axes grouped": (1, 4, 6, 5, 3, 1, 1, 1, 2, 3),
}
shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())


def made(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def given(shape: tuple[Any, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
    """Input, weight, bias and attributes."""
    batch, channels, filters, size, kernel, stride, pad, dilation, group, axes = shape
    size, kernel, pad = ((item,) * axes if isinstance(item, int) else item for item in (size, kernel, pad))
    attributes = {
        "strides": [stride] * axes,
        "pads": [*pad, *pad],
        "dilations": [dilation] * axes,
        "group": group,
    }
    return made(batch, channels, *size), made(filters, channels // group, *kernel), made(filters), attributes


def check(
    op_type: str, arrays: list[Any], attributes: dict[str, Any], *, outputs: int = 1, training: bool = False
) -> Any:
    node = node_of(op_type, arrays, attributes, domain="toolkit", outputs=outputs)
    outcome = run(node, arrays, training=training)
    expected = node.record.reference(*arrays, **attributes)
    for got, wanted in zip(outcome.arrays, expected if isinstance(expected, tuple) else (expected,), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
    return outcome


@shapes
@pytest.mark.parametrize("training", [False, True])
def test_everything_is_fused(shape: tuple[Any, ...], training: bool) -> None:
    x, w, b, attributes = given(shape)
    node = node_of("FusedConv", [x, w, b], attributes, domain="toolkit")
    residual = made(*node.y.shape)
    check("FusedConv", [x, w, b, residual], {**attributes, "activation": "Relu"}, training=training)


@shapes
def test_bias_and_residual_are_optional(shape: tuple[Any, ...]) -> None:
    x, w, _, attributes = given(shape)
    outcome = check("FusedConv", [x, w], attributes)
    check("FusedConv", [x, w, None, made(*outcome.y.shape)], attributes)


def test_an_inference_residual_is_overwritten_and_a_training_one_kept() -> None:
    x, w, b, attributes = given(SHAPES["3x3"])
    arrays = [x, w, b, made(2, 32, 7, 7)]
    assert check("FusedConv", arrays, attributes).kernel.accumulates == (0, 3)
    assert check("FusedConv", arrays, attributes, training=True).kernel.accumulates is None


@pytest.mark.parametrize("name", ["3x3", "one column"])
@pytest.mark.parametrize("residual", [(1, 32, 1, 1), (32, 1, 1), (1,)])
def test_a_residual_may_broadcast(residual: tuple[int, ...], name: str) -> None:
    x, w, b, attributes = given(SHAPES[name])
    node = node_of("FusedConv", [x, w, b], attributes, domain="toolkit")
    addend = made(*residual)
    expected = node.record.reference(x, w, b, **attributes) + addend
    broadcast = np.broadcast_to(addend, node.y.shape)
    full = node_of("FusedConv", [x, w, b, np.ascontiguousarray(broadcast)], attributes, domain="toolkit")
    assert full.inputs[3] is not None
    full.inputs[3].shape = residual
    np.testing.assert_allclose(run(full, [x, w, b, addend]).y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "alpha", "beta"),
    [
        ("LeakyRelu", 0.1, 0.0),
        ("Clip", -0.5, 0.75),
        ("Sigmoid", 0.0, 0.0),
        ("Tanh", 0.0, 0.0),
        ("Elu", 0.7, 0.0),
        ("HardSigmoid", 0.2, 0.5),
        ("HardSwish", 0.0, 0.0),
        ("Gelu", 0.0, 0.0),
        ("GeluTanh", 0.0, 0.0),
        ("Silu", 0.0, 0.0),
    ],
)
def test_activations(name: str, alpha: float, beta: float) -> None:
    x, w, b, attributes = given(SHAPES["odd channels"])
    numbers = {"activation": name, "activation_alpha": alpha, "activation_beta": beta}
    check("FusedConv", [x, w, b], {**attributes, **numbers})


def test_a_tanh_behind_sums_is_as_exact_as_they_are() -> None:
    x, w, b, attributes = given(SHAPES["1x1"])
    found = check("FusedConv", [x / 16, w / 16, b], {**attributes, "activation": "Tanh"}).y
    exact = np.tanh(np.einsum("nchw,fc->nfhw", x / 16, w[:, :, 0, 0] / 16, dtype=np.float64) + b[:, None, None])
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("3x3", (0, 1)),
        ("1x1", (0, 1)),
        ("one column", (0,)),
        ("two idle axes", (0,)),
        ("depthwise column", (None, 0)),
        ("one axis depthwise", (None, 0)),
        ("one axis", (0,)),
    ],
)
def test_axes_that_the_library_hears_of(name: str, axes: tuple[int | None, ...]) -> None:
    x, w, _, attributes = given(SHAPES[name])
    y = node_of("FusedConv", [x, w], attributes, domain="toolkit").y
    assert Terms.of(x.shape, w.shape, y.shape, attributes).axes == axes


def test_padding_along_an_axis_of_one_is_told() -> None:
    attributes = {"strides": [1, 2], "pads": [0, 1, 0, 0]}
    assert Terms.of((1, 4, 8, 1), (6, 4, 3, 1), (1, 6, 6, 1), attributes).axes == (0, 1)
    check("FusedConv", [made(1, 4, 8, 1), made(6, 4, 3, 1)], {**attributes, "dilations": [1, 1], "group": 1})


@pytest.mark.parametrize("name", ["depthwise", "depthwise column", "one axis depthwise"])
def test_channels_one_by_one_have_a_kernel_of_their_own(name: str) -> None:
    x, w, b, attributes = given(SHAPES[name])
    assert "dw" in check("FusedConv", [x, w, b], {**attributes, "activation": "Relu"}).kernel.name


@pytest.mark.parametrize(("filters", "window"), [(64, 3), (48, 1)])
def test_gradients_of_strided_windows_lie_as_other_convolutions_do(filters: int, window: int) -> None:
    x, w = made(2, 32, 12, 12), made(filters, 32, window, window)
    attributes = {"strides": [2, 2], "pads": [window // 2] * 4, "dilations": [1, 1], "group": 1}
    g = made(*node_of("FusedConv", [x, w], attributes, domain="toolkit").y.shape)
    found = check("ConvInputGradient", [g, w], {**attributes, "input_shape": list(x.shape)})
    assert found.kernel.name not in IN_BLOCKS


def test_asymmetric_pads() -> None:
    check(
        "FusedConv",
        [made(1, 4, 6, 7), made(8, 4, 3, 2)],
        {"strides": [1, 2], "pads": [0, 1, 2, 0], "dilations": [1, 1], "group": 1},
    )


@shapes
def test_input_gradient(shape: tuple[Any, ...]) -> None:
    x, w, _, attributes = given(shape)
    g = made(*node_of("FusedConv", [x, w], attributes, domain="toolkit").y.shape)
    check("ConvInputGradient", [g, w], {**attributes, "input_shape": list(x.shape)}, training=True)


@shapes
@pytest.mark.parametrize("has_bias", [0, 1])
def test_weight_gradient(shape: tuple[Any, ...], has_bias: int) -> None:
    x, w, _, attributes = given(shape)
    g = made(*node_of("FusedConv", [x, w], attributes, domain="toolkit").y.shape)
    numbers = {**attributes, "weight_shape": list(w.shape), "has_bias": has_bias}
    check("ConvWeightGradient", [x, g], numbers, outputs=1 + has_bias, training=True)


def scattered(
    x: np.ndarray, w: np.ndarray, b: np.ndarray, stride: int, pads: int, extra: int, group: int
) -> np.ndarray:
    """The transposed convolution by its definition: every input element adds its scaled kernel to the output."""
    sizes, kernel = x.shape[2:], w.shape[2:]
    x = x.reshape(len(x), group, -1, *sizes)
    w = w.reshape(group, -1, *w.shape[1:])
    canvas = np.zeros(
        (len(x), group, w.shape[2], *((n - 1) * stride + k + extra for n, k in zip(sizes, kernel, strict=True)))
    )
    for offset in np.ndindex(kernel):
        reached = tuple(slice(at, at + (n - 1) * stride + 1, stride) for at, n in zip(offset, sizes, strict=True))
        canvas[:, :, :, *reached] += np.einsum("ngi...,gio->ngo...", x, w[:, :, :, *offset])
    whole = canvas.reshape(len(x), -1, *canvas.shape[3:])
    kept = tuple(slice(pads, size - pads) for size in whole.shape[2:])
    return whole[:, :, *kept] + b.reshape(-1, *[1] * len(sizes))


def by_torch(x: np.ndarray, w: np.ndarray, b: np.ndarray, stride: int, pads: int, extra: int, group: int) -> np.ndarray:
    torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs PyTorch")
    judge = getattr(torch.nn.functional, f"conv_transpose{x.ndim - 2}d")
    return judge(*map(torch.from_numpy, (x, w, b)), stride, pads, extra, group).numpy()


@pytest.mark.parametrize("judge", [scattered, by_torch])
@pytest.mark.parametrize("group", [1, 2, 8])
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(("stride", "pads", "extra"), [(1, 1, 0), (2, 1, 1), (2, 0, 0)])
def test_transposed_convolution(
    group: int, axes: int, stride: int, pads: int, extra: int, judge: Callable[..., np.ndarray]
) -> None:
    x, w, b = made(2, 8, *[5] * axes), made(8, 16 // group, *[3] * axes), made(16)
    attributes = {
        "strides": [stride] * axes,
        "pads": [pads] * 2 * axes,
        "output_padding": [extra] * axes,
        "group": group,
    }
    expected = judge(x, w, b, stride, pads, extra, group)
    got = run(node_of("ConvTranspose", [x, w, b], attributes), [x, w, b]).y
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "pads"),
    [
        ({"output_shape": [10, 10], "auto_pad": "SAME_UPPER"}, [0, 0, 1, 1]),
        ({"auto_pad": "SAME_UPPER"}, [0, 0, 1, 1]),
        ({"auto_pad": "SAME_LOWER"}, [1, 1, 0, 0]),
        ({"output_shape": [9, 9]}, [1, 1, 1, 1]),
    ],
)
def test_transposed_convolution_to_a_size(size: dict[str, Any], pads: list[int]) -> None:
    x, w = made(2, 8, 5, 5), made(8, 6, 3, 3)
    expected = run(node_of("ConvTranspose", [x, w], {"strides": [2, 2], "pads": pads}), [x, w]).y
    got = run(node_of("ConvTranspose", [x, w], {"strides": [2, 2], **size}), [x, w]).y
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("stride", "kernel", "extra"), [(2, 3, 1), (3, 3, 2), (4, 2, 3)])
def test_what_a_transposed_convolution_adds_behind_its_last_window(stride: int, kernel: int, extra: int) -> None:
    x, w, b = made(2, 8, 5, 5), made(8, 4, kernel, kernel), made(4)
    attributes = {"strides": [stride] * 2, "output_padding": [extra] * 2}
    got = run(node_of("ConvTranspose", [x, w, b], attributes), [x, w, b]).y
    np.testing.assert_allclose(got, scattered(x, w, b, stride, 0, extra, 1), rtol=1e-4, atol=1e-4)


def test_what_it_leaves_to_others() -> None:
    x, w = made(1, 3, 5, 5), made(4, 3, 3, 3)
    assert not BACKEND.supports(node_of("Conv", [x, w], {"auto_pad": "SAME_UPPER"}))
    assert not BACKEND.supports(node_of("Conv", [x.astype(np.float64), w.astype(np.float64)]))
    beyond = {"strides": [2, 2], "output_shape": [13, 13]}  # more than a stride behind the last window
    assert not BACKEND.supports(node_of("ConvTranspose", [x, made(3, 4, 3, 3)], beyond))
