"""Inference of one node: what it refuses, in which words, and that hostile nodes never reach native code."""

from __future__ import annotations

import time

import numpy as np
import pytest

from toolkit.compiler.program import Variable
from toolkit.errors import ShapeError, UnsupportedOperatorError
from toolkit.operators import infer_types, not_differentiable, operator, since_version
from toolkit.operators.inference import explicit_attributes
from toolkit.operators.record import REGISTRY
from toolkit.operators.schema import attribute_defaults

FLOAT = np.dtype(np.float32)


def floats(name: str, *shape: int) -> Variable:
    return Variable(name, FLOAT, shape)


def fixed(name: str, *content: int) -> Variable:
    array = np.array(content, dtype=np.int64)
    return Variable(name, array.dtype, array.shape, constant=array)


def test_result_has_one_type_per_output() -> None:
    types = infer_types("", "Split", 18, [floats("x", 2, 7)], {"axis": 1, "num_outputs": 3}, 3, "cut")
    assert types == [(FLOAT, (2, 3)), (FLOAT, (2, 3)), (FLOAT, (2, 1))]


def test_outputs_left_out_need_no_shape() -> None:
    heads = [floats(name, 2, 3, 4, 8) for name in "qkv"]
    y, _, _, scores = infer_types("", "Attention", 23, heads, {}, ["y", "", "", "scores"], "attend")
    assert (y, scores) == ((FLOAT, (2, 3, 4, 8)), (FLOAT, (2, 3, 4, 4)))


@pytest.mark.parametrize(
    ("op_type", "version", "inputs", "attributes", "outputs", "message"),
    [
        (
            "MatMul",
            13,
            [floats("x", 2, 3), floats("w", 4, 5)],
            {},
            1,
            "MatMul-13 'here': Incompatible dimensions.*'w' float32",
        ),
        ("Add", 13, [floats("x", 2), fixed("k", 1, 2)], {}, 1, "input 'B' must be float32 .* Insert a Cast"),
        ("Add", 13, [floats("x", 2)], {}, 1, "takes 2 to 2 inputs, got 1"),
        ("Concat", 13, [], {"axis": 0}, 1, r"takes 1\+ inputs, got 0"),
        ("Add", 13, [floats("x", 2), None], {}, 1, "input 'B' is required; got .* nothing. Connect it"),
        ("Concat", 13, [floats("x", 2)], {}, 1, "attribute 'axis' is required"),
        ("Relu", 13, [floats("x", 2, -3)], {}, 1, "every size of 'x' must be 0 or more"),
        ("NonZero", 13, [floats("x", 2)], {}, 1, "depends on the data .* Make the inputs that determine it constants"),
        ("Split", 18, [floats("x", 6)], {"num_outputs": 1}, 2, "num_outputs must equal its 2 outputs"),
        ("Split", 18, [floats("x", 6)], {"num_outputs": 0}, 1, "num_outputs must be positive, got 0"),
        (
            "LayerNormalization",
            17,
            [floats("x", 2, 3), floats("s", 3)],
            {"axis": 7},
            3,
            r"axis must lie in \[-2, 1\], got 7",
        ),
        ("Einsum", 12, [floats("x", 2, 3)], {"equation": "ij$->i"}, 1, "an equation consists of letters"),
        ("Einsum", 12, [floats("x", 2, 3)], {"equation": b"i;j->i"}, 1, "an equation consists of letters"),
        (
            "Slice",
            13,
            [floats("x", 4), fixed("starts", 0), fixed("ends", 2), fixed("axes", 5)],
            {},
            1,
            "axis 5 must lie in",
        ),
        (
            "Slice",
            13,
            [floats("x", 4), fixed("s", 0), fixed("e", 2), fixed("a", 0), fixed("d", 0)],
            {},
            1,
            "must not be 0",
        ),
        ("Slice", 13, [floats("x", 4), fixed("starts", 0, 1), fixed("ends", 2)], {}, 1, "must be equally long"),
        ("Slice", 13, [floats("x", -4), fixed("starts", 0), fixed("ends", 2)], {}, 1, "must be 0 or more"),
        ("GatherND", 12, [floats("x", 4), fixed("i", 1, 2, 3)], {}, 1, "the last axis of indices"),
        ("GatherND", 12, [floats("x", 4), fixed("i", 1)], {"batch_dims": -3}, 1, "the last axis of indices"),
        ("Reshape", 13, [floats("x", 4, 3), fixed("shape", 5, -1)], {}, 1, "12 elements cannot be given the shape"),
        ("Reshape", 13, [floats("x", 4, 3), fixed("shape", 12, 1, 0)], {}, 1, "copies a size of an axis"),
        ("Reshape", 13, [floats("x", 4, 3), Variable("shape", np.dtype(np.int64), (2,))], {}, 1, "depends on the data"),
        ("OneHot", 11, [fixed("i", 1), fixed("depth", 3), floats("v", 2)], {"axis": 4}, 1, "axis must lie in"),
        ("Range", 11, [fixed("a", 0), fixed("b", 2), fixed("c", 0)], {}, 1, "the step must not be 0"),
        ("Constant", 13, [], {}, 1, "exactly one attribute must hold the value"),
        ("Reshape", 13, [floats("x", 4), fixed("shape", 4)], {}, 2, "it has 1 outputs, not 2"),
        ("Concat", 13, [floats("x", 2)], {"axis": "one"}, 1, "Concat-13 'here'"),
    ],
)
def test_misfits_are_named(op_type, version, inputs, attributes, outputs, message) -> None:
    with pytest.raises(ShapeError, match=message):
        infer_types("", op_type, version, inputs, attributes, outputs, "here")


@pytest.mark.parametrize(("domain", "name"), [("", "NoSuchThing"), ("my.domain", "Relu"), ("toolkit", "NoSuchFusion")])
def test_unknown_operator_is_named(domain: str, name: str) -> None:
    with pytest.raises(UnsupportedOperatorError, match=f"{name}-13 'here': neither a record nor ONNX knows"):
        infer_types(domain, name, 13, [floats("x", 2)], {}, 1, "here")


def test_a_record_with_a_rule_serves_a_domain_onnx_does_not_have() -> None:
    operator(
        "Halve",
        domain="test.inference",
        reference=lambda x: x[::2],
        gradient=not_differentiable("it is here for its rule"),
        infer=lambda types, attributes, constants: [(types[0][0], (types[0][1][0] // 2,))],
    )
    try:
        assert infer_types("test.inference", "Halve", 1, [floats("x", 6)], {}, 1, "here") == [(FLOAT, (3,))]
    finally:
        del REGISTRY["test.inference", "Halve"]


def test_defaults_are_those_of_the_version() -> None:
    assert attribute_defaults("", "Softmax", 11)["axis"] == 1
    assert attribute_defaults("", "Softmax", 13)["axis"] == -1
    assert attribute_defaults("", "LeakyRelu", 6)["alpha"] == pytest.approx(0.01)
    assert attribute_defaults("", "NoSuchThing", 6) == {}


def test_since_version_is_that_in_force() -> None:
    assert since_version("", "Reshape", 12) == 5
    assert since_version("ai.onnx", "Reshape", 13) == 13
    assert since_version("", "Upsample", 9) == 9
    assert since_version("", "Upsample", 10) is None
    assert since_version("", "NoSuchThing", 10) is None


def test_split_writes_out_the_number_of_its_parts() -> None:
    x, sizes = floats("x", 6), fixed("split", 2, 4)
    assert explicit_attributes("Split", [x], {"axis": 0}, 3) == {"axis": 0, "num_outputs": 3}
    assert explicit_attributes("Split", [x, None], {}, 2) == {"num_outputs": 2}
    assert explicit_attributes("Split", [x, sizes], {}, 2) == {}
    assert explicit_attributes("Split", [x], {"split": [2, 4]}, 2) == {"split": [2, 4]}
    assert explicit_attributes("Relu", [x], {}, 1) == {}


def test_one_node_takes_microseconds() -> None:
    inputs = [floats("x", 1, 3, 32, 32), floats("w", 8, 3, 3, 3)]
    attributes = {"pads": [1, 1, 1, 1], "strides": [1, 1]}
    best = min(_seconds(inputs, attributes) for _ in range(5))
    assert best < 1e-3  # about 15 microseconds; the margin is for loaded machines


def _seconds(inputs: list[Variable], attributes: dict[str, list[int]]) -> float:
    start = time.perf_counter()
    for _ in range(20):
        infer_types("", "Conv", 11, inputs, attributes, 1, "here")
    return (time.perf_counter() - start) / 20
