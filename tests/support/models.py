"""Small models for tests, written in ONNX's textual syntax, with reproducible weights."""

from __future__ import annotations

import numpy as np
import onnx.parser

from importers import load
from toolkit.graph import Network

HEADER = '<ir_version: 10, opset_import: ["" : 21]>\n'


def network(text: str, *, header: str = HEADER, **weights: tuple[int, ...]) -> Network:
    """Parse ``text`` (a graph without header) and fill its ``weights`` {name: shape} with reproducible numbers."""
    model = onnx.parser.parse_model(header + text)
    random = np.random.default_rng(0)
    for name, shape in weights.items():
        array = (random.standard_normal(shape) * 0.3).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return load(model)


def mlp() -> Network:
    """Two linear layers with a Relu between them: x (N, 8) to y (N, 4)."""
    return network(
        """mlp (float[N, 8] x) => (float[N, 4] y) {
            h1 = Gemm(x, w1, b1)
            h2 = Relu(h1)
            y = Gemm(h2, w2, b2)
        }""",
        w1=(8, 16),
        b1=(16,),
        w2=(16, 4),
        b2=(4,),
    )


def cnn() -> Network:
    """Convolution, normalisation, pooling, a residual branch and a classifier: x (N, 3, 8, 8) to y (N, 5)."""
    made = network(
        """cnn (float[N, 3, 8, 8] x) => (float[N, 5] y) {
            c1 = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
            n1 = BatchNormalization (c1, scale, shift, mean, variance)
            r1 = Relu (n1)
            c2 = Conv <pads = [1, 1, 1, 1]> (r1, w2)
            s = Add (c2, r1)
            r2 = Relu (s)
            p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r2)
            f = Flatten (p)
            y = Gemm <transB = 1> (f, w3, b3)
        }""",
        w1=(6, 3, 3, 3),
        b1=(6,),
        scale=(6,),
        shift=(6,),
        mean=(6,),
        variance=(6,),
        w2=(6, 6, 3, 3),
        w3=(5, 96),
        b3=(5,),
    )
    made.parameters["variance"].assign(np.abs(made.parameters["variance"].array) + 0.5)
    return made


def feed(network: Network, batch: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Normal random arrays for every input at a batch size."""
    random = np.random.default_rng(seed)
    return {
        name: random.standard_normal(
            [batch if axis == 0 else int(dim) for axis, dim in enumerate(value.shape or ())]
        ).astype(np.float32)
        for name, value in network.inputs.items()
    }
