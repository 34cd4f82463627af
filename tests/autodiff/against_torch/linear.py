"""Products, convolutions and poolings."""

from __future__ import annotations

import numpy as np

from tests.autodiff.against_torch.row import functional, row, torch, values

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
    row("GlobalLpPool", [values(2, 3, 4, 5)], lambda x: functional.lp_pool2d(x, 2, (4, 5))),
    row("Col2Im", [values(2, 12, 12), [4, 5], [2, 2]],
        lambda x, size, block: functional.fold(x, (4, 5), (2, 2))),
    row("MaxUnpool", [values(1, 1, 2, 2), np.array([[[[0, 3], [10, 13]]]])],
        lambda x, at: functional.max_unpool2d(x, at, 2, 2), kernel_shape=[2, 2], strides=[2, 2]),
]  # fmt: skip
