"""Cases of ``operators.standard.random_values``; what they draw is tested in tests/operators/test_random_values.py."""

from onnx import TensorProto

from tests.support.case import Case, booleans, integers, uniform

CASES = [
    Case("RandomNormal", [], lambda batch: {"shape": [batch, 3]}),
    Case("RandomUniform", [], lambda batch: {"shape": [batch], "dtype": TensorProto.DOUBLE}, version=1),
    Case("RandomNormal", [], {"shape": [], "dtype": TensorProto.BFLOAT16, "seed": 1.0}, version=22, note="a scalar"),
    Case("RandomUniform", [], {"shape": [0, 2], "dtype": TensorProto.FLOAT16}, version=22, note="nothing"),
    Case("RandomNormalLike", [uniform("N", 3, dtype="float16")]),
    Case("RandomNormalLike", [booleans("N", 2)], {"dtype": TensorProto.DOUBLE}, version=1, note="double"),
    Case("RandomUniformLike", [uniform("N", 3, dtype="bfloat16")], version=22, note="bfloat16"),
    Case("RandomUniformLike", [integers("N", 3, low=0, high=2)], {"dtype": TensorProto.FLOAT}, version=1),
    Case("Bernoulli", [uniform("N", 3, low=0, high=1)], version=15),
    Case("Bernoulli", [uniform("N", 3, low=0, high=1)], {"dtype": TensorProto.INT64}, version=22, note="integers"),
    Case("Bernoulli", [uniform("N", 3, low=0, high=1)], {"dtype": TensorProto.BOOL}, version=15, note="truth values"),
    Case("Multinomial", [uniform("N", 4)], {"sample_size": 5}, version=7),
    Case("Multinomial", [uniform("N", 4, dtype="float16")], {"dtype": TensorProto.INT64}, version=22, note="int64"),
]
