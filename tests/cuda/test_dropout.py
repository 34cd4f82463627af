"""Dropout on the device: masks of the right share that repeat with the seed and change from run to run."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cuda.host import COMPILER, HostKernels
from toolkit.backends.cuda.dropout import lower_dropout
from toolkit.backends.cuda.launch import SourceKernel
from toolkit.backends.cuda.layouts import on_device
from toolkit.backends.cuda.registry import KERNELS
from toolkit.backends.protocol import Resources
from toolkit.compiler.program import Node, Program, Variable

SHAPE = (37, 111)
FLOAT32 = np.dtype(np.float32)


def node_of(share: float | None, *, version: int = 13, live: bool = True, **attributes: object) -> Node:
    inputs: list[Variable | None] = [Variable("x", FLOAT32, SHAPE)]
    ratio = None if share is None else np.float32(share)
    for name, content in (("ratio", ratio), ("live", np.bool_(live))):
        array = None if content is None else np.asarray(content)
        inputs.append(None if array is None else Variable(name, array.dtype, (), constant=array))
    return Program().append("Dropout", inputs, dict(attributes), version=version, outputs=2)


def accepts(node: Node) -> bool:
    return KERNELS.entry_of(node) is not None


def test_what_is_refused():
    assert accepts(node_of(0.3)) and accepts(node_of(None))
    assert not accepts(node_of(0.3, seed=3))
    assert not accepts(node_of(0.3, live=False))


@pytest.mark.skipif(COMPILER is None, reason="needs g++ to compile the kernels for the host")
def test_masks(tmp_path):
    node, layout = node_of(0.3), on_device(FLOAT32, SHAPE)
    kernels = [lower_dropout(node, [layout, None, None], Resources(1, seed=seed)) for seed in (5, 5, 6)]
    assert all(isinstance(kernel, SourceKernel) for kernel in kernels)
    functions = [launch.function for kernel in kernels for launch in kernel.launches]  # type: ignore[attr-defined]
    compiled = HostKernels(functions, tmp_path)
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    counters = [np.zeros(8, np.uint8) for _ in kernels]
    drawn = []
    for _ in range(2):
        for kernel, counter in zip(kernels, counters, strict=True):
            y, mask = compiled.run(kernel, [x, None, None], counter)
            np.testing.assert_allclose(y, np.where(mask, x / np.float32(0.7), 0), rtol=1e-6)
            assert abs(mask.mean() - 0.7) < 0.03
            drawn.append(mask)
    first, same, other, later, later_same, _ = drawn
    assert np.array_equal(first, same) and np.array_equal(later, later_same)
    assert (first == other).mean() < 0.7 and (first == later).mean() < 0.7
