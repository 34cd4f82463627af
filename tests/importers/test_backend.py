"""The interface of ``onnx.backend.base``."""

import numpy as np
import onnx
import pytest

from importers.onnx import backend
from toolkit.errors import BackendError, InputError

MODEL = onnx.parser.parse_model(
    """<ir_version: 10, opset_import: ["" : 21]>
    g (float[N, 3] a, float[N, 3] b) => (float[N, 3] total, float[N, 3] product) {
        total = Add(a, b)
        product = Mul(a, b)
    }"""
)
A, B = np.ones((2, 3), np.float32), np.full((2, 3), 2, np.float32)


def test_a_prepared_model_runs_by_position_and_by_name():
    prepared = backend.prepare(MODEL)
    for inputs in ([A, B], {"b": B, "a": A}):
        outputs = prepared.run(inputs)
        np.testing.assert_array_equal(outputs.total, A + B)
        np.testing.assert_array_equal(outputs[1], A * B)


def test_a_model_runs_at_once():
    np.testing.assert_array_equal(backend.run_model(MODEL, [A, B])[0], A + B)


def test_one_node_runs_alone():
    node = onnx.helper.make_node("Sub", ["x", "y"], ["z"])
    np.testing.assert_array_equal(backend.run_node(node, [A, B])[0], A - B)
    old = onnx.helper.make_node("Softmax", ["x"], ["y"])
    found = backend.run_node(old, [np.zeros((2, 2, 2), np.float32)], opset_imports=[onnx.helper.make_opsetid("", 11)])
    np.testing.assert_allclose(found[0], np.full((2, 2, 2), 0.25))


def test_devices():
    assert backend.supports_device("CPU")
    assert backend.supports_device("cpu:0")
    assert not backend.supports_device("CUDA")
    with pytest.raises(BackendError, match="Device 'CUDA' is not available"):
        backend.prepare(MODEL, "CUDA")


def test_too_many_arrays_are_refused():
    with pytest.raises(InputError, match=r"the 2 inputs \['a', 'b'\], got 3 arrays"):
        backend.prepare(MODEL).run([A, B, A])
