"""Networks for the tests of surgery, and the judge."""

import numpy as np
import onnx
import onnxruntime

from exporters import save
from importers import load
from toolkit import layers


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def classifier(opset=21, classes=3, seed=0):
    """Two convolutions, two Gemm layers, for (4, 6, 6) images."""
    body = [layers.Convolution(8, 3, pads=1), layers.ReLU(), layers.Convolution(8, 3), layers.Flatten()]
    made = layers.Sequential([*body, layers.Linear(16), layers.Tanh(), layers.Linear(classes)])
    return made.network((4, 6, 6), input_name="x", output_name="y", opset=opset, seed=seed), random(5, 4, 6, 6)


def reloaded(network, path):
    """The network as it is after a trip to a file, with everything that a file notes."""
    save(network, path)
    return load(str(path))


def judge(network, path, feeds):
    """All outputs by onnxruntime, by name."""
    save(network, path)
    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def require_equal(network, path, feeds):
    """The network gives what onnxruntime makes of its file; returns its outputs."""
    expected = judge(network, path, feeds)
    computed = network.run(feeds)
    assert computed.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(computed[name], array, rtol=1e-4, atol=1e-5)
    return computed
