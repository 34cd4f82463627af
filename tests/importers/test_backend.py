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


@pytest.mark.parametrize(("device", "kind"), [("CPU", "cpu"), ("cpu:0", "cpu"), ("CUDA", "cuda"), ("cuda:0", "cuda")])
def test_a_device_is_a_backend(device: str, kind: str, monkeypatch):
    monkeypatch.setattr(backend, "unavailable_reason", lambda: None)
    assert backend.supports_device(device)
    assert backend.prepare(MODEL, device).backend == kind


@pytest.mark.parametrize(
    ("device", "why"),
    [("CUDA", "no driver here"), ("CUDA:1", "CUDA_VISIBLE_DEVICES"), ("TPU", "'CPU' and 'CUDA' are the devices")],
)
def test_a_device_that_is_not_there_is_refused(device: str, why: str, monkeypatch):
    monkeypatch.setattr(backend, "unavailable_reason", lambda: "no driver here.")
    assert not backend.supports_device(device)
    with pytest.raises(BackendError, match=f"Device '{device}' is not available: .*{why}"):
        backend.prepare(MODEL, device)


def test_too_many_arrays_are_refused():
    with pytest.raises(InputError, match=r"the 2 inputs \['a', 'b'\], got 3 arrays"):
        backend.prepare(MODEL).run([A, B, A])
