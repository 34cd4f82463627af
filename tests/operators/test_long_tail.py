"""onnx.reference as the last resort: where it is asked, where it must not be, and with whose defaults."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from toolkit.operators.long_tail import reference_for

DATA = np.linspace(-2, 2, 24, dtype=np.float32).reshape(2, 3, 4)


@pytest.mark.parametrize(
    ("domain", "op_type", "version", "attributes"),
    [
        ("", "Softmax", 11, {}),
        ("", "Hardmax", 11, {}),
        ("", "BatchNormalization", 9, {}),
        ("", "Upsample", 9, {"mode": "nearest"}),
        ("", "DequantizeLinear", 10, {}),
        ("", "GridSample", 16, {"mode": "bicubic"}),
        ("", "MaxRoiPool", 1, {"pooled_shape": [1, 1]}),
        ("", "Scatter", 9, {}),
        ("", "Loop", 16, {}),
        ("", "If", 16, {}),
        ("", "Selu", 6, {"no_such_attribute": 1}),
        ("", "Add", 6, {"broadcast": 1}),
        ("", "NoSuchThing", 13, {}),
        ("ai.onnx.ml", "ZipMap", 1, {}),
        ("my.domain", "Relu", 1, {}),
        ("ai.onnx.preview.training", "Momentum", 1, {}),
    ],
)
def test_refuses_what_it_would_get_wrong(domain, op_type, version, attributes) -> None:
    assert reference_for(domain, op_type, version, attributes) is None


def test_runs_an_operator_of_the_default_domain() -> None:
    cut = reference_for("", "ThresholdedRelu", 10, {"alpha": 0.5})
    assert cut is not None
    (y,) = cut(DATA, alpha=0.5)
    np.testing.assert_array_equal(y, np.where(DATA > 0.5, DATA, 0))


def test_takes_the_defaults_of_the_node_s_version() -> None:
    cut = reference_for("", "ThresholdedRelu", 10, {})
    assert cut is not None
    np.testing.assert_array_equal(cut(DATA)[0], np.where(DATA > 1.0, DATA, 0))


def test_one_callable_serves_several_attributes_and_types() -> None:
    cut = reference_for("", "ThresholdedRelu", 10, {})
    assert cut is not None
    for alpha in (0.0, 1.0):
        np.testing.assert_array_equal(cut(DATA, alpha=alpha)[0], np.where(alpha < DATA, DATA, 0))
    assert cut(DATA.astype(np.float64))[0].dtype == np.float64


def test_evaluates_function_bodies() -> None:
    mish = reference_for("", "Mish", 18, {})
    assert mish is not None
    np.testing.assert_allclose(mish(DATA)[0], DATA * np.tanh(np.log1p(np.exp(DATA))), rtol=1e-5)


def test_gives_every_output_and_accepts_absent_inputs() -> None:
    lstm = reference_for("", "LSTM", 14, {"hidden_size": 2})
    assert lstm is not None
    weights = np.ones((1, 8, 4), np.float32), np.ones((1, 8, 2), np.float32)
    y, last, cell = lstm(DATA, *weights, None, None, np.zeros((1, 3, 2), np.float32), hidden_size=2)
    assert (y.shape, last.shape, cell.shape) == ((2, 1, 3, 2), (1, 3, 2), (1, 3, 2))


def test_runs_machine_learning_operators() -> None:
    scaler = reference_for("ai.onnx.ml", "Scaler", 1, {})
    assert scaler is not None
    np.testing.assert_allclose(scaler(DATA[0], offset=[1.0] * 4, scale=[2.0] * 4)[0], (DATA[0] - 1) * 2)


def test_strings_are_objects() -> None:
    join = reference_for("", "StringConcat", 20, {})
    assert join is not None
    (joined,) = join(np.array(["a", "b"], object), np.array(["c"], object))
    assert joined.dtype == object and joined.tolist() == ["ac", "bc"]


def test_keeps_narrow_types() -> None:
    mish = reference_for("", "Mish", 22, {})
    assert mish is not None
    assert mish(DATA.astype(ml_dtypes.bfloat16))[0].dtype == ml_dtypes.bfloat16
