"""Cases of ``toolkit.operators.standard.constant``."""

import numpy as np
from onnx import TensorProto

from tests.support.case import Case, constant, integers, uniform
from toolkit.graph.sparse import SparseTensor


def stepped(start: np.ndarray, limit: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """One number after the other, in single precision."""
    found: list[np.float32] = []
    while (float(start) + len(found) * float(delta) - float(limit)) * np.sign(float(delta)) < 0:
        found.append(np.float32(start) + np.float32(len(found)) * np.float32(delta))
    return np.array(found, dtype=start.dtype)


CASES = [
    Case("Constant", [], {"value": np.arange(6, dtype=np.float32).reshape(2, 3)}, version=9),
    Case("Constant", [], {"value_float": 1.5}, version=12, note="float"),
    Case("Constant", [], {"value_floats": [1.5, 2.5]}, version=12, note="floats"),
    Case("Constant", [], {"value_int": 7}, version=13, note="int"),
    Case("Constant", [], {"value_ints": [7, 8]}, version=13, note="ints"),
    Case("Constant", [], {"value_strings": ["a", "b"]}, version=13, note="strings"),
    Case(
        "Constant",
        [],
        {"sparse_value": SparseTensor(np.array([1.5, 2.5], np.float32), np.array([1, 5]), (2, 3))},
        version=13,
        note="sparse",
        judge=lambda sparse_value: np.array([[0, 1.5, 0], [0, 0, 2.5]], np.float32),
    ),
    Case("ConstantOfShape", [constant(lambda batch: [batch, 3])], version=9),
    Case("ConstantOfShape", [constant([], "int64")], {"value": np.array([4], np.int64)}, version=20, note="scalar"),
    Case("Range", [constant(1), constant(10), constant(3)], version=11),
    Case("Range", [constant(2.0), constant(-1.0), constant(-0.4)], note="floats"),
    Case(
        "Range", [constant(0.0, "float16"), constant(2.0, "float16"), constant(0.5, "float16")], version=27, note="half"
    ),
    Case(
        "Range",
        [constant(0.0, "bfloat16"), constant(-500.0, "bfloat16"), constant(-1.5, "bfloat16")],
        version=27,
        note="bfloat16",
        judge=stepped,
    ),
    Case("Range", [constant(5, "int16"), constant(-4, "int16"), constant(-2, "int16")], version=11, note="down"),
    Case("Range", [constant(3, "int32"), constant(3, "int32"), constant(1, "int32")], version=11, note="nothing"),
    Case("Range", [constant(0.1, "float64"), constant(1.0, "float64"), constant(0.3, "float64")], note="double"),
    Case("Range", [uniform(), uniform(), uniform()], note="data dependent", is_data_dependent=True),
    Case("EyeLike", [uniform("N", 4)], version=9),
    Case(
        "EyeLike", [integers(3, 4, low=0, high=9)], {"dtype": TensorProto.DOUBLE, "k": 1}, version=22, note="diagonal"
    ),
    Case("Shape", [uniform("N", 4, 2)], version=13),
    Case("Shape", [uniform("N", 4, 2)], {"start": -2, "end": 2}, version=15, note="part"),
    Case("Size", [uniform("N", 4, 2)], version=13),
]
