"""Values and gradients of operators that PyTorch has, too: the same numbers from the same inputs.

A row names the operator and the function of PyTorch, which takes the same inputs in the same order. Where the two
libraries keep weights in another order, the function turns them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.support.interpret import interpret
from toolkit.autodiff import differentiate
from toolkit.compiler.program import Program, Variable

torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs PyTorch")
functional = torch.nn.functional

TOLERANCE = {"float64": 1e-9, "float32": 2e-4}
SINGLE_CONSTANTS = 1e-6  # in float64, where one of the two keeps constants or coordinates in float32
TIED = np.array([[1.0, 2.0, 2.0, -1.0], [0.0, 0.0, 0.0, 0.0], [3.0, -3.0, 1.0, 3.0]])


def values(*shape: int, low: float = -2.0, high: float = 2.0, seed: int = 0) -> np.ndarray:
    """Evenly distributed; other shapes give other numbers."""
    return np.random.default_rng([seed, *shape]).uniform(low, high, shape)


@dataclass(frozen=True)
class Row:
    """Floating-point ``inputs`` are differentiated, all others and those in ``fixed`` are constants.

    ``tolerance`` is that of float64, where it is not the usual one.
    """

    operator: str
    inputs: Sequence[np.ndarray | None]
    function: Callable[..., Any]
    attributes: dict[str, Any] = field(default_factory=dict)
    version: int = 23
    outputs: int = 1
    fixed: Sequence[int] = ()
    tolerance: float = TOLERANCE["float64"]
    note: str = ""

    @property
    def id(self) -> str:
        return f"{self.operator} {self.note}".strip().replace(" ", "_")


def row(operator: str, inputs: Sequence[Any], function: Callable[..., Any], **given: Any) -> Row:
    own = {name: given.pop(name) for name in ("version", "outputs", "fixed", "tolerance", "note") if name in given}
    arrays = [None if item is None else np.asarray(item) for item in inputs]
    return Row(operator, arrays, function, given, **own)


def unary(operator: str, function: Callable[..., Any], low: float = -2.0, high: float = 2.0, **given: Any) -> Row:
    """A function of one tensor, at random places and, where it is defined there, at 0."""
    x = values(3, 5, low=low, high=high)
    return row(operator, [np.append(x, 0.0) if low < 0 < high else x], function, **given)


ELEMENTWISE = [
    unary("Relu", torch.relu),
    unary("LeakyRelu", lambda x: functional.leaky_relu(x, 0.2), alpha=0.2),
    unary("Selu", torch.selu, tolerance=SINGLE_CONSTANTS),
    unary("Celu", lambda x: torch.celu(x, 0.7), alpha=0.7, tolerance=SINGLE_CONSTANTS),
    unary("Gelu", functional.gelu),
    unary("Gelu", lambda x: functional.gelu(x, approximate="tanh"), approximate="tanh", note="tanh"),
    unary("Swish", functional.silu, version=24),
    unary("Mish", functional.mish),
    unary("HardSwish", functional.hardswish, low=-4, high=4),
    unary("HardSigmoid", functional.hardsigmoid, low=-4, high=4, alpha=1 / 6, beta=0.5, tolerance=SINGLE_CONSTANTS),
    unary("Softplus", functional.softplus, low=-9, high=9),
    unary("Softsign", functional.softsign),
    unary("Sigmoid", torch.sigmoid),
    unary("Tanh", torch.tanh),
    unary("Erf", torch.erf),
    unary("Abs", torch.abs),
    unary("ThresholdedRelu", lambda x: functional.threshold(x, 0.5, 0.0), alpha=0.5),
    unary("Shrink", lambda x: functional.hardshrink(x, 0.5), lambd=0.5, note="hard"),
    unary("Shrink", lambda x: functional.softshrink(x, 0.5), lambd=0.5, bias=0.5, note="soft"),
    unary("Reciprocal", torch.reciprocal, low=0.5),
    unary("Sqrt", torch.sqrt, low=0.1),
    unary("Log", torch.log, low=0.1),
    unary("Tan", torch.tan, low=-1, high=1),
    unary("Asin", torch.asin, low=-0.9, high=0.9),
    unary("Acos", torch.acos, low=-0.9, high=0.9),
    unary("Atan", torch.atan),
    unary("Asinh", torch.asinh),
    unary("Acosh", torch.acosh, low=1.2, high=3),
    unary("Atanh", torch.atanh, low=-0.9, high=0.9),
    unary("Cosh", torch.cosh),
    unary("Elu", lambda x: functional.elu(x, 0.7), alpha=0.7),
    row("PRelu", [values(2, 3, 4), values(3, 1)], lambda x, slope: functional.prelu(x, slope[:, 0])),
    row("Pow", [values(3, 4, low=0.2), values(4)], torch.pow),
    row("Pow", [values(3, 4), 3.0], lambda x, n: x**3, fixed=[1], note="cube"),
    row("Div", [values(2, 1, 4), values(3, 1, low=0.5)], torch.div),
    row("Mod", [values(3, 4, high=9), values(4, low=0.7)], torch.fmod, fixed=[1], fmod=1),
    row("Max", [TIED, TIED[::-1].copy()], torch.maximum, note="ties"),
    row("Min", [TIED, np.zeros((1, 4))], torch.minimum, note="ties"),
    row("Clip", [values(9), -0.5, 0.7], lambda x, low, high: torch.clamp(x, -0.5, 0.7), fixed=[1, 2]),
    row("Where", [TIED > 0, values(3, 4), values(4)], torch.where),
]
REDUCTIONS = [
    row("ReduceMax", [TIED, [1]], lambda x, axes: torch.amax(x, 1, keepdim=True), note="ties"),
    row("ReduceMin", [TIED, [0]], lambda x, axes: torch.amin(x, 0), keepdims=0, note="ties"),
    row("ReduceProd", [TIED, [-1]], lambda x, axes: torch.prod(x, -1, keepdim=True), note="zeros"),
    row("ReduceMean", [values(2, 3, 4), [0, 2]], lambda x, axes: x.mean((0, 2)), keepdims=0),
    row("ReduceL2", [TIED, [1]], lambda x, axes: torch.linalg.vector_norm(x, dim=1, keepdim=True), note="zeros"),
    row("ReduceL1", [TIED, [1]], lambda x, axes: torch.linalg.vector_norm(x, 1, dim=1, keepdim=True), note="zeros"),
    row("ReduceLogSumExp", [values(3, 4) * 100, [1]], lambda x, axes: torch.logsumexp(x, 1, keepdim=True)),
    row("Softmax", [values(2, 3, 4)], lambda x: torch.softmax(x, 1), axis=1),
    row("LogSoftmax", [values(2, 3, 4) * 100], lambda x: torch.log_softmax(x, 1), axis=1),
    row("CumSum", [values(3, 4), 1], lambda x, axis: torch.cumsum(x, 1)),
    row("CumProd", [TIED, 1], lambda x, axis: torch.cumprod(x, 1), version=26, note="zeros"),
    row("TopK", [values(3, 6), [2]], lambda x, k: torch.topk(x, 2)[0], outputs=2),
]
LINEAR = [
    row("MatMul", [values(2, 1, 3, 4), values(5, 4, 2)], torch.matmul),
    row("MatMul", [values(4), values(3, 4, 2)], torch.matmul, note="vector"),
    row("Gemm", [values(4, 3), values(2, 4), values(3, 1)], lambda a, b, c: 0.5 * a.T @ b.T + 2 * c,
        alpha=0.5, beta=2.0, transA=1, transB=1),
    row("Einsum", [values(2, 3, 4), values(4, 5)], lambda a, b: torch.einsum("bij,jk->bik", a, b),
        equation="bij,jk->bik"),
    row("Einsum", [values(3, 3), values(3)], lambda a, b: torch.einsum("ii,i->i", a, b), equation="ii,i->i",
        note="diagonal"),
    row("Einsum", [values(2, 3, 4), values(2, 3, 5), values(5)],
        lambda a, b, c: torch.einsum("...i,...j,j->i...", a, b, c), equation="...i,...j,j->i...", note="three"),
    row("Det", [values(2, 4, 4)], torch.linalg.det),
]  # fmt: skip
CONVOLUTION = [
    row("Conv", [values(2, 4, 9, 8), values(6, 2, 3, 2), values(6)],
        lambda x, w, b: functional.conv2d(x, w, b, stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2),
        strides=[2, 1], pads=[1, 0, 1, 0], dilations=[1, 2], group=2),
    row("Conv", [values(2, 3, 9), values(3, 1, 4)], lambda x, w: functional.conv1d(x, w, groups=3), group=3,
        note="depthwise"),
    row("Conv", [values(1, 2, 4, 5, 4), values(3, 2, 2, 2, 2)], functional.conv3d, note="3d"),
    row("ConvTranspose", [values(2, 4, 3, 4), values(4, 3, 3, 2), values(6)],
        lambda x, w, b: functional.conv_transpose2d(x, w, b, (2, 3), (1, 0), (1, 2), 2, (1, 1)),
        strides=[2, 3], pads=[1, 0, 1, 0], output_padding=[1, 2], group=2, dilations=[1, 1]),
    row("MaxPool", [np.round(values(2, 2, 7, 8))],
        lambda x: functional.max_pool2d(x, (3, 2), (2, 2), (1, 1), ceil_mode=True), kernel_shape=[3, 2],
        strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1, note="ties"),
    row("MaxPool", [values(2, 2, 9)], lambda x: functional.max_pool1d(x, 3, 1, 0, 2), kernel_shape=[3], dilations=[2],
        note="dilated"),
    row("AveragePool", [values(2, 2, 7, 8)], lambda x: functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    row("AveragePool", [values(2, 2, 7)], lambda x: functional.avg_pool1d(x, 3, 2, 1), kernel_shape=[3], strides=[2],
        pads=[1, 1], count_include_pad=1, note="padding counts"),
    row("LpPool", [values(2, 2, 6, 6)], lambda x: functional.lp_pool2d(x, 2, 3, 2), p=2, kernel_shape=[3, 3],
        strides=[2, 2]),
    row("GlobalAveragePool", [values(2, 3, 4, 5)], lambda x: functional.adaptive_avg_pool2d(x, 1)),
    row("GlobalMaxPool", [values(2, 3, 4, 5)], lambda x: functional.adaptive_max_pool2d(x, 1)),
    row("Col2Im", [values(2, 12, 12), [4, 5], [2, 2]],
        lambda x, size, block: functional.fold(x, (4, 5), (2, 2))),
    row("MaxUnpool", [values(1, 1, 2, 2), np.array([[[[0, 3], [10, 13]]]])],
        lambda x, at: functional.max_unpool2d(x, at, 2, 2), kernel_shape=[2, 2], strides=[2, 2]),
]  # fmt: skip
CHANNELS = [values(3, low=0.5), values(3), values(3), values(3, low=0.5)]
NORMALIZATION = [
    row("BatchNormalization", [values(4, 3, 5), *CHANNELS],
        lambda x, scale, bias, mean, var: functional.batch_norm(x, mean, var, scale, bias, eps=1e-3),
        epsilon=1e-3, fixed=[3, 4], note="frozen"),
    row("BatchNormalization", [values(4, 3, 5), *CHANNELS],
        lambda x, scale, bias, mean, var: functional.batch_norm(x, None, None, scale, bias, True, eps=1e-3),
        epsilon=1e-3, training_mode=1, outputs=3, fixed=[3, 4], note="training"),
    row("LayerNormalization", [values(4, 3, 5), values(3, 5), values(3, 5)],
        lambda x, scale, bias: functional.layer_norm(x, (3, 5), scale, bias), axis=1),
    row("InstanceNormalization", [values(4, 3, 5), values(3), values(3)],
        lambda x, scale, bias: functional.instance_norm(x, weight=scale, bias=bias)),
    row("GroupNormalization", [values(4, 6, 5), values(6), values(6)],
        lambda x, scale, bias: functional.group_norm(x, 2, scale, bias), num_groups=2),
    row("RMSNormalization", [values(4, 3, 5), values(5)],
        lambda x, scale: functional.rms_norm(x, (5,), scale, 1e-5)),
    row("LRN", [values(2, 6, 3, 3)], lambda x: functional.local_response_norm(x, 3, 0.2, 0.6, 1.5),
        size=3, alpha=0.2, beta=0.6, bias=1.5),
    row("LpNormalization", [values(3, 4)], lambda x: functional.normalize(x, 2, 1), axis=1),
]  # fmt: skip
LABELS, WEIGHT = np.array([[0, 3], [2, 1], [1, 1]]), values(4, low=0.5)
LOSSES = [
    row("SoftmaxCrossEntropyLoss", [values(3, 4, 2), LABELS, WEIGHT],
        lambda x, labels, weight: functional.cross_entropy(x, labels, weight, ignore_index=1), ignore_index=1,
        fixed=[2], note="weighted mean"),
    row("SoftmaxCrossEntropyLoss", [values(3, 4, 2), LABELS],
        lambda x, labels: functional.cross_entropy(x, labels, reduction="none"), reduction="none", note="each"),
    row("NegativeLogLikelihoodLoss", [values(3, 4, 2), LABELS, WEIGHT],
        lambda x, labels, weight: functional.nll_loss(x, labels, weight, reduction="sum"), reduction="sum", fixed=[2]),
]  # fmt: skip


def gates(w: Any, order: Sequence[int]) -> Any:
    """Rows of a recurrent weight in another order of the gates."""
    parts = w.chunk(len(order))
    return torch.cat([parts[place] for place in order])


def recurrent(kind: Any, order: Sequence[int], **given: Any) -> Callable[..., Any]:
    """A recurrent layer of PyTorch on ONNX's tensors: Y as (length, directions, batch, hidden)."""

    def function(x: Any, w: Any, r: Any, b: Any, lengths: Any, h: Any, c: Any = None) -> Any:
        directions, hidden = r.shape[0], r.shape[2]
        layer = kind(x.shape[2], hidden, bidirectional=directions == 2, dtype=x.dtype, **given)
        weights = {}
        for number in range(directions):
            end = "_l0_reverse" if number else "_l0"
            half = b.shape[1] // 2
            weights[f"weight_ih{end}"], weights[f"weight_hh{end}"] = gates(w[number], order), gates(r[number], order)
            weights[f"bias_ih{end}"] = gates(b[number, :half], order)
            weights[f"bias_hh{end}"] = gates(b[number, half:], order)
        state = h if c is None else (h, c)
        y, _ = torch.func.functional_call(layer, weights, (x, state))
        return y.reshape(*y.shape[:2], directions, hidden).transpose(1, 2)

    return function


def recurrent_inputs(count: int, directions: int, states: int = 1) -> list[np.ndarray | None]:
    """Five steps of three sequences of two features, to four hidden units."""
    small = {"low": -0.7, "high": 0.7}
    w, r = values(directions, count * 4, 2, **small), values(directions, count * 4, 4, **small)
    b = values(directions, count * 8, **small)
    return [values(5, 3, 2), w, r, b, None, *(values(directions, 3, 4, seed=number) for number in range(states))]


RECURRENT = [
    row("RNN", recurrent_inputs(1, 1), recurrent(torch.nn.RNN, [0]), hidden_size=4, outputs=2),
    row("RNN", recurrent_inputs(1, 2), recurrent(torch.nn.RNN, [0], nonlinearity="relu"), hidden_size=4, outputs=2,
        direction="bidirectional", activations=["Relu", "Relu"], note="Relu both ways"),
    row("GRU", recurrent_inputs(3, 2), recurrent(torch.nn.GRU, [1, 0, 2]), hidden_size=4, outputs=2,
        direction="bidirectional", linear_before_reset=1),
    row("LSTM", recurrent_inputs(4, 1, 2), recurrent(torch.nn.LSTM, [0, 2, 3, 1]), hidden_size=4, outputs=3),
    row("LSTM", recurrent_inputs(4, 2, 2), recurrent(torch.nn.LSTM, [0, 2, 3, 1]), hidden_size=4, outputs=3,
        direction="bidirectional", note="both ways"),
]  # fmt: skip


def sampled(mode: str, padding: str, corners: int, of_torch: str) -> Row:
    inputs = [values(2, 3, 4, 5), values(2, 3, 2, 2, low=-1.3, high=1.3)]
    return row(
        "GridSample",
        inputs,
        lambda x, grid: functional.grid_sample(x, grid, of_torch, padding, bool(corners)),
        mode=mode,
        padding_mode=padding,
        align_corners=corners,
        note=f"{mode} {padding} {corners}",
    )


def resized(mode: str, transformation: str, of_torch: str, corners: bool | None, to: tuple[int, int]) -> Row:
    extra = {"nearest_mode": "floor"} if mode == "nearest" else {"cubic_coeff_a": -0.75} if mode == "cubic" else {}
    return row(
        "Resize",
        [values(2, 3, 4, 5), None, None, [2, 3, *to]],
        lambda x, a, b, size: functional.interpolate(x, to, mode=of_torch, align_corners=corners),
        mode=mode,
        coordinate_transformation_mode=transformation,
        tolerance=10 * SINGLE_CONSTANTS,
        note=f"{mode} {transformation}",
        **extra,
    )


HEADS = [values(2, 4, 3, 5), values(2, 2, 6, 5), values(2, 2, 6, 4)]
attend = functional.scaled_dot_product_attention
SAMPLING = [
    *(sampled("linear", padding, corners, "bilinear") for padding in ("zeros", "border") for corners in (0, 1)),
    sampled("linear", "reflection", 1, "bilinear"),
    sampled("cubic", "zeros", 0, "bicubic"),
    sampled("cubic", "border", 1, "bicubic"),
    resized("linear", "half_pixel", "bilinear", False, (7, 9)),
    resized("linear", "align_corners", "bilinear", True, (3, 9)),
    resized("cubic", "half_pixel", "bicubic", False, (7, 9)),
    resized("cubic", "align_corners", "bicubic", True, (6, 3)),
    resized("nearest", "asymmetric", "nearest", None, (7, 9)),
    row("AffineGrid", [values(2, 2, 3), [2, 3, 4, 5]],
        lambda theta, size: functional.affine_grid(theta, (2, 3, 4, 5), align_corners=True), align_corners=1),
    row("Attention", [values(2, 2, 3, 5), *(values(2, 2, 6, 5, seed=seed) for seed in (1, 2))],
        lambda q, k, v: attend(q, k, v)),
    row("Attention", HEADS, lambda q, k, v: attend(q, k, v, scale=0.3, enable_gqa=True), scale=0.3, note="grouped"),
    row("Attention", [values(2, 2, 4, 5), *(values(2, 2, 4, 5, seed=seed) for seed in (1, 2))],
        lambda q, k, v: attend(q, k, v, is_causal=True), is_causal=1, note="causal"),
    row("Attention", [values(2, 2, 3, 5), *(values(2, 2, 6, 5, seed=seed) for seed in (1, 2)), values(3, 6)],
        lambda q, k, v, bias: attend(q, k, v, bias), note="bias"),
]  # fmt: skip
INDICES = np.array([[2, 0], [1, 1], [0, 2]])


def scattered(how: str, of_torch: str) -> Row:
    def function(x: Any, index: Any, updates: Any) -> Any:
        return x.scatter_reduce(1, index, updates, of_torch, include_self=True)

    return row("ScatterElements", [values(3, 4), INDICES, values(3, 2)], function, axis=1, reduction=how, note=how)


def padded(mode: str, of_torch: str) -> Row:
    def function(x: Any, pads: Any) -> Any:
        return functional.pad(x, (1, 2), mode=of_torch)

    return row("Pad", [values(2, 3, 5), [0, 0, 1, 0, 0, 2]], function, mode=mode, note=mode)


MOVEMENT = [
    row("Gather", [values(5, 3), np.array([[0, -1], [2, 2]])], lambda x, index: x[index], note="rows"),
    row("Gather", [values(2, 5), np.array([4, 0, 4])], lambda x, index: x.index_select(1, index), axis=1),
    row("GatherElements", [values(3, 4), INDICES], lambda x, index: x.gather(1, index), axis=1),
    row("GatherND", [values(3, 4), INDICES], lambda x, index: x[index[:, 0], index[:, 1]]),
    row("ScatterElements", [values(3, 4), np.array([[2, 0], [1, 3], [0, 2]]), values(3, 2)],
        lambda x, index, updates: x.scatter(1, index, updates), axis=1, note="none"),
    scattered("add", "sum"),
    scattered("mul", "prod"),
    scattered("max", "amax"),
    row("ScatterND", [values(3, 4), INDICES, values(3)],
        lambda x, index, updates: x.index_put((index[:, 0], index[:, 1]), updates, accumulate=True), reduction="add"),
    padded("constant", "constant"),
    padded("reflect", "reflect"),
    padded("edge", "replicate"),
    padded("wrap", "circular"),
    row("Trilu", [values(2, 3, 4), 1], lambda x, k: torch.triu(x, 1)),
    row("DepthToSpace", [values(2, 8, 2, 3)], lambda x: functional.pixel_shuffle(x, 2), blocksize=2, mode="CRD"),
    row("SpaceToDepth", [values(2, 1, 4, 6)], lambda x: functional.pixel_unshuffle(x, 2), blocksize=2),
    row("Tile", [values(2, 3), [2, 2]], lambda x, repeats: x.repeat(2, 2)),
    row("Expand", [values(3, 1), [2, 3, 4]], lambda x, shape: x.expand(2, 3, 4)),
]  # fmt: skip


def complex_(x: Any) -> Any:
    return torch.view_as_complex(x.contiguous())


def spectrum(x: Any) -> Any:
    return torch.view_as_real(x).contiguous()


SIGNAL = [
    row("DFT", [values(2, 6, 2), None, 1], lambda x, n, axis: spectrum(torch.fft.fft(complex_(x), dim=1)), version=20),
    row("DFT", [values(2, 6, 2), None, 1], lambda x, n, axis: spectrum(torch.fft.ifft(complex_(x), dim=1)),
        version=20, inverse=1, note="inverse"),
    row("DFT", [values(2, 6, 1), None, 1], lambda x, n, axis: spectrum(torch.fft.rfft(x[..., 0], dim=1)), version=20,
        onesided=1, note="onesided"),
    row("STFT", [values(2, 20, 1), 4, values(8)],
        lambda x, step, window: spectrum(
            torch.stft(x[..., 0], 8, 4, window=window, center=False, return_complex=True).transpose(1, 2)),
        version=17, onesided=1),
]  # fmt: skip
ROWS = [
    *ELEMENTWISE, *REDUCTIONS, *LINEAR, *CONVOLUTION, *NORMALIZATION, *LOSSES, *RECURRENT, *SAMPLING, *MOVEMENT,
    *SIGNAL,
]  # fmt: skip


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", ROWS, ids=[case.id for case in ROWS])
def test_values_and_gradients_agree(case: Row, dtype: str) -> None:
    arrays = [item.astype(dtype) if item is not None and item.dtype.kind == "f" else item for item in case.inputs]
    learnt = [
        index
        for index, item in enumerate(arrays)
        if item is not None and item.dtype.kind == "f" and index not in case.fixed
    ]
    tensors = [None if item is None else torch.from_numpy(np.array(item)) for item in arrays]
    for index in learnt:
        tensors[index].requires_grad_(True)
    expected = case.function(*tensors)
    g = np.asarray(values(*expected.shape, seed=7), dtype)
    grads = torch.autograd.grad(expected, [tensors[index] for index in learnt], torch.from_numpy(g))
    value, *found = evaluated(case, arrays, learnt, g)
    tolerance = max(case.tolerance, TOLERANCE[dtype])
    close = partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance)
    close(value, expected.detach().numpy())
    for index, ours, theirs in zip(learnt, found, grads, strict=True):
        close(ours, theirs.numpy(), err_msg=f"gradient of input {index}")


def evaluated(
    case: Row, arrays: Sequence[np.ndarray | None], learnt: Sequence[int], g: np.ndarray
) -> Sequence[np.ndarray]:
    """The first output and the gradients of the inputs in ``learnt``, by references."""
    program = Program(layer="layer")
    variables: list[Variable | None] = [
        None
        if item is None
        else Variable(f"x{index}", item.dtype, item.shape, constant=None if index in learnt else item)
        for index, item in enumerate(arrays)
    ]
    node = program.append(case.operator, variables, case.attributes, version=case.version, outputs=case.outputs)
    wrt = [item for item in variables if item is not None and item.constant is None]
    program.inputs.update((item.name, item) for item in wrt)
    found = differentiate(program, {node.y: program.constant(g).variable}, wrt)
    feeds = {item: array for item, array in zip(variables, arrays, strict=True) if item in wrt and array is not None}
    return interpret(program, feeds, [node.y, *(found[item] for item in wrt)])
