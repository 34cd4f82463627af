"""What the operators of ``ai.onnx.ml`` refuse, beside trees, and the shape rules that refuse it before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.cases.ml_linear import THREE
from tests.cases.ml_support_vectors import REGRESSOR, machine
from toolkit.operators import lookup
from toolkit.operators.ml import encoders, linear, maps, scaling, support_vectors

FLOATS, WORDS = np.zeros((2, 3), np.float32), np.array([["a", "b"]], dtype=object)


@pytest.mark.parametrize(
    ("reference", "x", "attributes", "message"),
    [
        (linear.linear_regressor, FLOATS, {"coefficients": [1.0]}, "1 x 3 coefficients are required, got 1"),
        (linear.linear_regressor, FLOATS, {}, "1 x 3 coefficients are required, got 0"),
        (
            linear.linear_classifier,
            FLOATS,
            {**THREE, "classlabels_ints": [1]},
            "3 rows of weights need 3 labels, got 1",
        ),
        (support_vectors.svm_regressor, FLOATS, {}, "coefficients and rho must not be empty"),
        (support_vectors.svm_regressor, FLOATS, {**REGRESSOR, "n_supports": 3}, "3 support vectors need as many coeff"),
        (support_vectors.svm_regressor, FLOATS, {**REGRESSOR, "support_vectors": [1.0]}, "a multiple of 4 elements"),
        (support_vectors.svm_regressor, FLOATS[:, :2], REGRESSOR, "the input must have 3 features, got 2"),
        (support_vectors.svm_regressor, FLOATS, {**REGRESSOR, "kernel_type": "COSINE"}, "kernel_type must be one of"),
        (
            support_vectors.svm_regressor,
            FLOATS,
            {**REGRESSOR, "kernel_params": [1.0]},
            "gamma, coef0 and degree, got 1",
        ),
        (support_vectors.svm_classifier, FLOATS, {**machine(3), "rho": [1.0]}, "3 classes of 6 support vectors need"),
        (
            support_vectors.svm_classifier,
            FLOATS,
            {"classlabels_ints": [1, 2]},
            "a linear machine needs rho and weights",
        ),
        (
            support_vectors.svm_classifier,
            FLOATS,
            {**machine(3, probabilities=True), "prob_b": [1.0]},
            "prob_a and prob_b need 3 elements, got 3 and 1",
        ),
        (scaling.scaler, FLOATS, {"offset": [1.0], "scale": [1.0, 2.0]}, "scale must have one element or one per feat"),
        (scaling.scaler, FLOATS, {"offset": [1.0]}, "scale must have one element or one per feature of .*, got 0"),
        (scaling.normalizer, FLOATS, {"norm": "L3"}, "norm must be one of MAX, L1, L2, got 'L3'"),
        (scaling.imputer, FLOATS, {"imputed_value_int64s": [1]}, "the imputed value of the input's kind must have"),
        (scaling.feature_vectorizer, FLOATS, {"inputdimensions": [1, 2]}, "a width for each of the 1 inputs"),
        (encoders.label_encoder, WORDS, {"keys_strings": ["a"]}, "exactly one of the values_\\* attributes"),
        (
            encoders.label_encoder,
            WORDS,
            {"keys_strings": ["a"], "values_int64s": [1, 2]},
            "1 keys need as many values, got 2",
        ),
        (
            encoders.label_encoder,
            WORDS,
            {"keys_int64s": [1], "values_int64s": [1]},
            "keys must be of the input's type object, got int64",
        ),
        (encoders.category_mapper, WORDS, {"cats_strings": ["a"]}, "0 integers need as many strings, got 1"),
        (encoders.one_hot_encoder, WORDS, {"cats_int64s": [1]}, "categories must be of the input's kind, which is obj"),
        (encoders.one_hot_encoder, WORDS, {"cats_strings": ["a"], "zeros": 0}, "'b' is not among the categories"),
        (encoders.one_hot_encoder, WORDS, {}, "exactly one of the cats_\\* attributes"),
        (maps.zip_map, FLOATS, {"classlabels_int64s": [1]}, "a column for each of the 1 labels, got 3"),
        (maps.dict_vectorizer, {"a": 1.0}, {}, "exactly one vocabulary must be given"),
        (maps.cast_map, {1: 1.0}, {"cast_to": "TO_BOOL"}, "cast_to='TO_BOOL' .* must be what the specification lists"),
        (maps.cast_map, {-1: 1.0}, {"map_form": "SPARSE"}, "must not be negative, got -1"),
    ],
)
def test_reference_refuses(reference: Callable[..., Any], x: Any, attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reference(x, **attributes)


def test_inputs_of_unequal_height() -> None:
    with pytest.raises(ValueError, match=r"all inputs must have as many rows, got \[2, 1\]"):
        scaling.feature_vectorizer(FLOATS, FLOATS[:1])


@pytest.mark.parametrize("operator", ["Normalizer", "LinearRegressor", "SVMRegressor"])
def test_shape_rule_refuses_more_than_rows(operator: str) -> None:
    record = lookup("ai.onnx.ml", operator, 1)
    with pytest.raises(ValueError, match=r"must be \(rows, features\) or one row, got the shape \(2, 3, 1\)"):
        record.infer([(np.dtype(np.float32), (2, 3, 1))], {}, [None])


def test_missing_keys_and_unknown_numbers() -> None:
    """Tables without entries, and positions outside the list of classes."""
    assert encoders.label_encoder_1(np.array([-5, 0, 7]), classes_strings=["a"]).tolist() == ["_Unused", "a", "_Unused"]
    assert encoders.category_mapper(np.array([3]), cats_strings=[], cats_int64s=[]).tolist() == ["_Unused"]


def test_sparse_map_leaves_out_what_lies_behind_its_end() -> None:
    row = maps.cast_map({0: 1.5, 9: 2.5}, map_form="SPARSE", max_map=3)
    np.testing.assert_array_equal(row, np.array([[1.5, 0, 0]], np.float32))


def test_values_of_maps_name_the_type() -> None:
    vocabulary = {"string_vocabulary": ["a", "b"]}
    assert maps.dict_vectorizer({"a": np.float64(2)}, **vocabulary).dtype == np.float64
    assert maps.dict_vectorizer({"a": 2.0}, **vocabulary).dtype == np.float32
    assert maps.dict_vectorizer({}, **vocabulary).tolist() == [[0.0, 0.0]]
