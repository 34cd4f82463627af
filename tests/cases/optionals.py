"""Cases of ``toolkit.operators.standard.optionals``."""

from onnx import TensorProto, helper

from tests.support.case import Case, optional, sequence, uniform

TENSOR = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
SEQUENCE = "seq(tensor(float))"
ROWS = sequence(uniform("N", 3), uniform("N", 2))

CASES = [
    Case("Optional", [uniform("N", 3)], version=15),
    Case("Optional", [ROWS], version=15, note="a sequence"),
    Case("Optional", [], {"type": TENSOR}, version=15, note="nothing"),
    Case("OptionalHasElement", [optional(uniform("N", 3))], version=15),
    Case("OptionalHasElement", [optional(None)], version=15, note="nothing"),
    Case("OptionalHasElement", [optional(ROWS, SEQUENCE)], version=18, note="a sequence"),
    Case("OptionalHasElement", [optional(None, SEQUENCE)], version=18, note="no sequence"),
    Case("OptionalHasElement", [uniform("N", 3)], version=18, note="a tensor"),
    Case("OptionalHasElement", [ROWS], version=18, note="a plain sequence"),
    Case("OptionalHasElement", [], version=18, note="no input"),
    Case("OptionalHasElement", [None], version=18, note="an input left out"),
    Case("OptionalGetElement", [optional(uniform("N", 3))], version=15),
    Case("OptionalGetElement", [optional(ROWS, SEQUENCE)], version=18, note="a sequence"),
    Case("OptionalGetElement", [uniform("N", 3)], version=18, note="a tensor"),
]
