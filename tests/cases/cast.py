"""Cases of ``toolkit.operators.cast``."""

from onnx import TensorProto

from tests.support.case import Case, booleans, integers, uniform, variable

CASES = [
    Case("Cast", [uniform("N", 5)], {"to": TensorProto.INT32}, version=9, note="truncates", differentiable=()),
    Case("Cast", [integers("N", 5, low=-3, high=4)], {"to": TensorProto.FLOAT}, note="from integers"),
    Case("Cast", [uniform("N", 5, dtype="float64")], {"to": TensorProto.DOUBLE}, note="float"),
    Case("Cast", [uniform("N", 5)], {"to": TensorProto.FLOAT16}, note="half", differentiable=()),
    Case("Cast", [uniform("N", 5)], {"to": TensorProto.BFLOAT16}, note="bfloat16", judge="onnx.reference",
         differentiable=()),
    Case("Cast", [variable([[0.3, 500.0, -1e9, 17.3]])], {"to": TensorProto.FLOAT8E4M3FN}, version=19, note="float8",
         judge="onnx.reference", differentiable=()),
    Case("Cast", [uniform("N", 5)], {"to": TensorProto.BOOL}, version=13, note="truth", differentiable=()),
    Case("Cast", [integers("N", 3, low=-9, high=9)], {"to": TensorProto.STRING}, version=13, note="text"),
    Case("Cast", [variable([["1.5", "-2"]], "object")], {"to": TensorProto.FLOAT}, version=13, note="from text"),
    Case("CastLike", [booleans("N", 3), uniform(1)], version=15, note="from truth", differentiable=()),
    Case("CastLike", [uniform("N", 3, dtype="float64"), uniform(1, dtype="float64")], version=19, differentiable=[0]),
    Case("Identity", [uniform("N", 3)], version=1),
    Case("Identity", [integers("N", 3, low=0, high=9)], version=16, note="integers"),
]  # fmt: skip
