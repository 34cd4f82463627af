"""What case rows cannot say: errors of references and shared parts, and corners of element types."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.interpret import apply
from toolkit.errors import ShapeError
from toolkit.operators import wire
from toolkit.operators.axes import known, normalised
from toolkit.operators.record import DataDependentError
from toolkit.operators.standard.cast import convert


def test_axes_out_of_range_and_repeated_are_refused() -> None:
    assert normalised([-1, 0], 3) == (2, 0)
    with pytest.raises(ValueError, match=r"axis 3 must lie in \[-3, 2\]"):
        normalised([3], 3)
    with pytest.raises(ValueError, match="must differ from each other"):
        normalised([0, -3], 3)


def test_a_shape_from_unknown_content_is_refused() -> None:
    with pytest.raises(DataDependentError, match="input 'axes' is not constant"):
        known(None, "axes")


def test_split_without_sizes_or_number_is_refused() -> None:
    with pytest.raises(ValueError, match="sizes of the parts or their number"):
        apply("", "Split", 13, [np.zeros(4)], {})


def test_pads_of_wrong_length_are_refused() -> None:
    with pytest.raises(ValueError, match="pads must hold 2 numbers, got 1"):
        apply("", "Pad", 13, [np.zeros(4), np.array([1])], {})


def test_element_types_onnx_lacks_are_refused() -> None:
    with pytest.raises(ShapeError, match="no element type 'datetime64"):
        wire.element_type(np.dtype("datetime64[s]"))


def test_graph_attributes_are_refused_by_the_wire() -> None:
    with pytest.raises(TypeError, match="attribute 'body' holds a graph"):
        wire.node("Loop", ["m"], ["y"], {"body": object()}, {"body": 5})


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "float4_e2m1fn"])
def test_narrow_floats_saturate(name: str) -> None:
    dtype = wire.element_dtype({"float8_e4m3fn": 17, "float8_e5m2": 19, "float4_e2m1fn": 23}[name])
    values = convert(np.array([1e9, -1e9, 1.0], np.float32), dtype).astype(np.float32)
    assert np.isfinite(values).all()
    assert values[0] == -values[1] > 4
    assert values[2] == 1


def test_numbers_and_text_convert_both_ways() -> None:
    text = convert(np.array([1.5, -2.0], np.float32), np.dtype(object))
    assert text.tolist() == ["1.5", "-2"]
    np.testing.assert_array_equal(convert(text, np.dtype(np.float32)), np.array([1.5, -2.0], np.float32))
    assert convert(np.zeros((0, 2), object), np.dtype(np.int64)).shape == (0, 2)


def test_references_of_half_precision_keep_their_type() -> None:
    half = np.array([[0.5, 2.0], [1.0, 4.0]], np.float16)
    for op_type in ("Sqrt", "Erf", "Neg", "ReduceMean", "ReduceLogSumExp"):
        assert apply("", op_type, 18, [half], {})[0].dtype == np.float16
