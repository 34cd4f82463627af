"""Gradients of means are computed by a kernel that was written for it, whatever the processor and the channels."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.backends.onednn.backend import OneDNNBackend
from toolkit.backends.protocol import Resources, plain
from toolkit.compiler.program import Program, Variable

FLOAT32 = np.dtype(np.float32)


@pytest.mark.parametrize("channels", [3, 8, 24, 96])
@pytest.mark.parametrize("size", [7, 14])
def test_the_gradient_of_a_mean_has_a_fast_kernel(channels: int, size: int) -> None:
    grad = Variable("grad", FLOAT32, (2, channels, 14 // size, 14 // size))
    attributes = {
        "kernel_shape": [size, size],
        "strides": [size, size],
        "pads": [0] * 4,
        "shape": [2, channels, 14, 14],
    }
    program = Program()
    types = [(FLOAT32, (2, channels, 14, 14))]
    node = program.append("AveragePoolGradient", [grad], attributes, domain="toolkit", types=types)
    backend = OneDNNBackend()
    assert backend.supports(node)
    made = backend.lower(node, [plain(FLOAT32, grad.shape)], Resources(1, training=True))
    assert not made.name.startswith("ref")
