"""Exactness of integer sums, rounding at ties, and what quantised operators refuse."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto

from toolkit.compiler.program import Program, Variable
from toolkit.errors import ShapeError
from toolkit.operators import lookup
from toolkit.operators.standard.quantization import (
    dynamic_range,
    quantize,
    quantize_linear,
    quantize_linear_with_precision,
)
from toolkit.operators.standard.quantized_convolution import conv_integer
from toolkit.operators.standard.quantized_linear import DOUBLE, SINGLE, exact_type, matmul_integer, qlinear_matmul

MICROSOFT = "com.microsoft"


def reference(name: str) -> Any:
    """The reference of an operator of com.microsoft."""
    record = lookup(MICROSOFT, name, 1)
    assert record is not None and record.reference is not None
    return record.reference


def append(
    name: str, shapes: list[tuple[str, tuple[int, ...]] | None], domain: str = MICROSOFT, **attributes: Any
) -> Any:
    """A node on inputs of these types."""
    program = Program(layer="case")
    made: list[Variable | None] = []
    for index, item in enumerate(shapes):
        variable = None if item is None else Variable(f"x{index}", np.dtype(item[0]), item[1])
        made.append(variable)
        if variable is not None:
            program.inputs[variable.name] = variable
    return program.append(name, made, attributes, domain=domain, version=1 if domain else 21, outputs=1)


def scale_of(*values: float) -> np.ndarray:
    return np.array(values if len(values) > 1 else values[0], np.float32)


def test_ties_go_to_the_even_integer() -> None:
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5], np.float32)
    assert quantize(x, scale_of(1), np.int8(10).reshape(())).tolist() == [10, 12, 12, 10, 8]


def test_old_quotients_are_single_and_new_ones_are_of_the_type_of_the_scale() -> None:
    x, scale = np.array([2.501], np.float16), np.array(1.0, np.float16) - np.float16(2.0**-11)
    assert float(x[0]) / float(scale) > 2.5
    narrow = np.float16(float(x[0]) / float(scale))
    old = quantize_linear(x, scale.reshape(()))
    new = quantize_linear_with_precision(x, scale.reshape(()), precision=TensorProto.FLOAT16)
    assert old.tolist() == [round(float(x[0]) / float(scale))]
    assert new.tolist() == [round(float(narrow))]


def test_sums_leave_single_precision_only_when_they_may() -> None:
    x, weight = np.full((1, 500), 255, np.float32), np.full((500, 1), 131, np.float32)
    assert exact_type(x, weight, 0) == SINGLE
    assert exact_type(x, weight * 2, 0) == DOUBLE
    assert exact_type(x, weight, 0, np.array([1 << 23])) == DOUBLE


def test_sums_beyond_32_bits_wrap_around() -> None:
    a, b = np.full((1, 70000), 255, np.uint8), np.full((70000, 1), 255, np.uint8)
    assert matmul_integer(a, b).tolist() == [[70000 * 255 * 255 - (1 << 32)]]
    x, w = a.reshape(1, 70000, 1), b.reshape(1, 70000, 1)
    assert conv_integer(x, w).tolist() == [[[70000 * 255 * 255 - (1 << 32)]]]


def test_odd_sums_beyond_single_precision_are_exact() -> None:
    a, b = np.full((1, 900), 255, np.uint8), np.full((900, 1), 255, np.uint8)
    a[0, 0], b[0, 0] = 1, 1
    assert matmul_integer(a, b).tolist() == [[899 * 255 * 255 + 1]]


def test_range_of_nothing_but_zeros_has_scale_one() -> None:
    scale, zero_point = dynamic_range(np.zeros((2, 3), np.float32))
    assert (float(scale), int(zero_point)) == (1.0, 0)


def test_not_a_number_becomes_the_smallest() -> None:
    assert quantize(np.float32([np.nan]), scale_of(1), np.int8(3).reshape(())).tolist() == [-128]


@pytest.mark.parametrize(
    ("scale", "options", "message"),
    [
        ((4,), {"axis": 1}, r"one number, or \(3,\) for axis 1, got \(4,\)"),
        ((2, 3), {"axis": 0, "block_size": 2}, r"or \(1, 3\) for blocks of 2 along axis 0, got \(2, 3\)"),
        ((3,), {"axis": 2}, r"axis must lie in \[-2, 1\], got 2"),
    ],
)
def test_scale_must_fit(scale: tuple[int, ...], options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quantize_linear(np.ones((2, 3), np.float32), np.ones(scale, np.float32), **options)
    with pytest.raises(ShapeError, match=message):
        append("DequantizeLinear", [("int8", (2, 3)), ("float32", scale)], "", **options)


def test_output_dtype_must_be_that_of_the_zero_point() -> None:
    with pytest.raises(ValueError, match="output_dtype int16 must be the zero point's type int8"):
        quantize_linear(np.ones(2, np.float32), scale_of(1), np.int8(0).reshape(()), output_dtype=TensorProto.INT16)


def test_float8_factors_need_no_integers() -> None:
    eight = np.dtype(ml_dtypes.float8_e5m2)
    a, zero, one = np.array([[1.5, 2.0]]).astype(eight), np.zeros((), eight), scale_of(1)
    y = qlinear_matmul(a, one, zero, a.reshape(2, 1), one, zero, scale_of(0.5), zero)
    assert (y.dtype, float(y[0, 0])) == (eight, 12.0)


@pytest.mark.parametrize(
    ("name", "shapes", "attributes", "message"),
    [
        ("QLinearAdd", [("int8", (2,)), None, None, ("int8", (3,))], {}, "broadcast"),
        ("QGemm", [("int8", (2, 3)), None, None, ("int8", (4, 5))], {}, "as long as the rows"),
        ("QGemm", [("int8", (2,)), None, None, ("int8", (4, 5))], {}, "must be matrices"),
        (
            "QLinearConcat",
            [("float32", ()), ("int8", ()), ("int8", (2, 3)), ("float32", ()), ("int8", ()), ("int8", (2, 3))],
            {"axis": 0},
            "three inputs a tensor",
        ),
        (
            "QLinearConcat",
            [None, None, ("int8", (2, 3)), None, None, ("int8", (2, 4)), None, None],
            {"axis": 0},
            "must agree off axis 0",
        ),
        (
            "QAttention",
            [("uint8", (1, 2, 4)), ("uint8", (4, 11)), ("float32", (11,))],
            {"num_heads": 2},
            "3 \\* 2 heads",
        ),
        ("QEmbedLayerNormalization", [("int32", (1, 9)), None, ("int8", (7, 4)), ("int8", (5, 4)), *[None] * 4,
                                      ("float32", ())], {}, "at most 5 positions"),
        (
            "DynamicQuantizeLSTM",
            [("float32", (3, 1, 4)), ("int8", (1, 5, 8)), ("int8", (1, 2, 8))],
            {},
            "X, W and R must be",
        ),
        ("MatMulNBits", [("float32", (1, 30)), ("uint8", (2, 2, 8)), ("float32", (2, 2))],
         {"N": 2, "K": 32, "block_size": 16}, "last axis of A must be K=32"),
        ("MatMulNBits", [("float32", (1, 32)), ("uint8", (2, 2, 8)), ("float32", (2, 2))],
         {"N": 2, "K": 32, "block_size": 16, "weight_prepacked": 1}, "weight_prepacked must be 0"),
        ("MatMulNBits", [("float32", (1, 32)), ("uint8", (2, 2, 8)), ("float32", (2, 2))],
         {"N": 2, "K": 32, "block_size": 16, "bits": 5}, "bits must be 2, 4 or 8, got 5"),
        ("MatMulBnb4", [("float32", (1, 32)), ("uint8", (32,)), ("float32", (4,))],
         {"N": 2, "K": 32, "block_size": 16, "quant_type": 2}, "quant_type must be 0"),
        ("GatherBlockQuantized", [("uint8", (5, 8)), ("int64", (1,)), ("float32", (5, 1))],
         {"gather_axis": 1, "quantize_axis": 0}, "must not be the last axis"),
    ],
)  # fmt: skip
def test_shapes_must_fit(name: str, shapes: list[Any], attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        append(name, shapes, **attributes)


def test_attention_of_other_layouts_is_refused() -> None:
    inputs = [
        np.ones((1, 2, 4), np.uint8),
        np.ones((4, 12), np.uint8),
        np.zeros(12, np.float32),
        scale_of(1),
        scale_of(1),
    ]
    with pytest.raises(ValueError, match="do_rotary and past_present_share_buffer must be 0"):
        reference("QAttention")(*inputs, num_heads=2, do_rotary=1)
    with pytest.raises(ValueError, match="must have 1, 2 or 3 axes"):
        reference("QAttention")(*inputs, np.ones((1, 1, 2, 2), np.int32), num_heads=2)


def test_embedding_has_no_row_for_every_word() -> None:
    table, row, one, zero = np.ones((3, 2), np.uint8), np.ones(2, np.uint8), scale_of(1), np.uint8(0).reshape(())
    with pytest.raises(IndexError, match=r"input_ids must lie in \[0, 2\]"):
        reference("QEmbedLayerNormalization")(
            np.array([[3]], np.int32), None, table, table, None, row, row, None,
            one, one, None, one, one, zero, zero, None, zero, zero,
        )  # fmt: skip
