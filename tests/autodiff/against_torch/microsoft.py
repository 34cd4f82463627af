"""Operators of onnxruntime that PyTorch has, too."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from tests.autodiff.against_torch.row import SINGLE_CONSTANTS, functional, torch, values
from tests.autodiff.against_torch.row import row as any_row
from tests.autodiff.against_torch.signal import complex_, spectrum

row = partial(any_row, domain="com.microsoft", version=1)
WELL_CONDITIONED = values(2, 3, 3) + 4 * np.eye(3)


def first(x: Any) -> Any:
    """Channels first."""
    return x.movedim(-1, 1)


def last(x: Any) -> Any:
    """Channels last."""
    return x.movedim(1, -1)


def heads(x: Any) -> Any:
    """Two heads, before the steps."""
    return x.unflatten(-1, (2, -1)).transpose(1, 2)


def attend(q: Any, k: Any, v: Any) -> Any:
    found = functional.scaled_dot_product_attention(heads(q), heads(k), heads(v))
    return found.transpose(1, 2).flatten(2)


MICROSOFT = [
    row("Gelu", [values(3, 4)], functional.gelu),
    row("BiasGelu", [values(3, 4), values(4)], lambda x, bias: functional.gelu(x + bias)),
    row("FastGelu", [values(3, 4), values(4)], lambda x, bias: functional.gelu(x + bias, approximate="tanh"),
        tolerance=SINGLE_CONSTANTS),
    row("QuickGelu", [values(3, 4)], functional.silu, alpha=1.0),
    row("Inverse", [WELL_CONDITIONED], torch.linalg.inv),
    row("CDist", [values(4, 3), values(5, 3)], torch.cdist, metric="euclidean"),
    row("FusedMatMul", [values(2, 4, 3), values(5, 4)], lambda a, b: 0.25 * (a.mT @ b.mT), transA=1, transB=1,
        alpha=0.25),
    row("FusedGemm", [values(3, 4), values(4, 5), values(5)], lambda a, b, c: torch.relu(torch.addmm(c, a, b)),
        activation="Relu"),
    row("FusedConv", [values(2, 3, 6, 5), values(4, 3, 2, 3), values(4)],
        lambda x, w, b: torch.tanh(functional.conv2d(x, w, b, 2)), strides=[2, 2], activation="Tanh"),
    row("NhwcConv", [values(2, 5, 6, 3), values(4, 3, 2, 2), values(4)],
        lambda x, w, b: last(functional.conv2d(first(x), w, b)), strides=[1, 1]),
    row("NhwcMaxPool", [values(2, 4, 6, 3)], lambda x: last(functional.max_pool2d(first(x), 2)), kernel_shape=[2, 2],
        strides=[2, 2]),
    row("GroupNorm", [values(2, 3, 2, 6), values(6), values(6)],
        lambda x, scale, bias: last(functional.group_norm(first(x), 3, scale, bias)), groups=3, activation=0),
    row("SkipLayerNormalization", [values(2, 3, 4), values(2, 3, 4, seed=1), values(4), values(4, seed=1)],
        lambda x, skip, scale, bias: functional.layer_norm(x + skip, (4,), scale, bias, 1e-3), epsilon=1e-3,
        tolerance=SINGLE_CONSTANTS),
    row("SkipSimplifiedLayerNormalization", [values(2, 3, 4), values(2, 3, 4, seed=1), values(4)],
        lambda x, skip, scale: functional.rms_norm(x + skip, (4,), scale, 1e-3), epsilon=1e-3,
        tolerance=SINGLE_CONSTANTS),
    row("MultiHeadAttention", [values(2, 3, 8), values(2, 5, 8), values(2, 5, 8, seed=1)], attend, num_heads=2),
    row("Rfft", [values(2, 8)], lambda x: spectrum(torch.fft.rfft(x)), signal_ndim=1),
    row("Irfft", [values(2, 5, 2)], lambda x: torch.fft.irfft(complex_(x)), signal_ndim=1),
    row("ComplexMul", [values(2, 3, 2), values(2, 3, 2, seed=1)], lambda a, b: spectrum(complex_(a) * complex_(b))),
    row("TorchEmbedding", [values(5, 3), np.array([[0, 4], [4, 1]])], lambda table, index: table[index]),
    row("GridSample", [values(1, 2, 4, 4), values(1, 3, 3, 2, low=-0.9, high=0.9)],
        lambda x, grid: functional.grid_sample(x, grid, align_corners=True), align_corners=1),
    row("Trilu", [values(2, 3, 4)], torch.triu),
    row("Pad", [values(2, 4), np.array([0, 1, 0, 2])], lambda x, pads: functional.pad(x, (1, 2), "reflect"),
        mode="reflect"),
]  # fmt: skip
