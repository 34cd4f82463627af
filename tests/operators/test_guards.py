"""What a node must be before anything looks at it: inputs and attributes as the schema of its version has them."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.compiler.program import Variable
from toolkit.errors import ShapeError
from toolkit.graph import Graph, SparseTensor
from toolkit.operators import wire
from toolkit.operators.guards import check_form, is_possible
from toolkit.operators.inference import infer_types

FLOAT = np.dtype(np.float32)


def floats(*shape: int) -> Variable:
    return Variable("x", FLOAT, shape)


@pytest.mark.parametrize(
    ("op_type", "inputs", "attributes", "message"),
    [
        ("Add", [floats(2)], {}, "Add-13 'here': it takes 2 to 2 inputs, got 1"),
        ("Add", [floats(2), None], {}, "input 'B' is required; .* Connect it"),
        ("Concat", [floats(2)], {}, "attribute 'axis' is required"),
        ("If", [floats()], {"then_branch": Graph()}, "attribute 'else_branch' is required"),
        (
            "If",
            [floats()],
            {"then_branch": Graph(), "else_branch": 3.0},
            "'else_branch' must be of type graph, got float",
        ),
        ("Concat", [floats(2)], {"axis": [1]}, "attribute 'axis' must be of type int, got list"),
        ("Concat", [floats(2)], {"axis": 1.0}, "attribute 'axis' must be of type int, got float"),
        ("Transpose", [floats(2)], {"perm": 1}, "attribute 'perm' must be of type ints, got int"),
        ("Transpose", [floats(2)], {"perm": ["a"]}, "attribute 'perm' must be of type ints, got list"),
        ("LeakyRelu", [floats(2)], {"alpha": "a"}, "attribute 'alpha' must be of type float, got str"),
        ("ConstantOfShape", [floats(2)], {"value": "a"}, "attribute 'value' must be of type tensor, got str"),
        ("Constant", [], {"value_strings": [1]}, "attribute 'value_strings' must be of type strings, got list"),
        ("Constant", [], {"sparse_value": 1}, "attribute 'sparse_value' must be of type sparse tensor, got int"),
    ],
)
def test_form(op_type, inputs, attributes, message):
    with pytest.raises(ShapeError, match=message):
        check_form("", op_type, 13, inputs, attributes, "here")


def test_sparse_attributes_that_no_memory_holds():
    sparse = SparseTensor(np.ones(1, np.float32), np.array([0]), (10**12,))
    with pytest.raises(ShapeError, match=r"'sparse_value' has the shape .1000000000000,., which dense is above"):
        check_form("", "Constant", 13, [], {"sparse_value": sparse}, "here")


def test_what_numpy_and_python_call_a_number_is_one():
    check_form("", "Concat", 13, [floats(2)], {"axis": np.int64(0)}, "here")
    check_form("", "LeakyRelu", 13, [floats(2)], {"alpha": 1}, "here")
    check_form("", "Transpose", 13, [floats(2)], {"perm": np.array([0])}, "here")
    check_form("any.domain", "Nothing", 13, [], {"perm": 1}, "here")


@pytest.mark.parametrize("shape", [(1 << 62,), (1 << 30, 1 << 30), (-1,), (1,) * 65, (0, 1 << 62)])
def test_shapes_that_no_tensor_has(shape):
    assert not is_possible(shape)
    with pytest.raises(
        ShapeError, match=r"here': (every size of 'x' must be 0 or more|'x' has more elements than any)"
    ):
        infer_types("", "Relu", 13, [floats(*shape)], {}, 1, "here")


def test_results_that_no_tensor_has():
    large = Variable("n", np.dtype(np.int64), (2,), constant=np.array([1 << 40, 1 << 40]))
    with pytest.raises(ShapeError, match=r"output 0 would have the shape .*, which no tensor can have"):
        infer_types("", "ConstantOfShape", 9, [large], {}, 1, "here")


def test_element_types_that_onnx_has_not():
    with pytest.raises(ShapeError, match="ONNX has no element type number 77"):
        wire.element_dtype(77)
