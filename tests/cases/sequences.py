"""Cases of ``toolkit.operators.standard.sequences``."""

from onnx import TensorProto, parser

from tests.support.case import Case, constant, integers, sequence, uniform

ROWS = sequence(uniform("N", 3), uniform("N", 2), uniform("N", 3))
SQUARES = sequence(uniform("N", 3), uniform("N", 3))
BODY = parser.parse_graph(
    "body (float[a, b] x, float[a, b] z) => (float[a, b] total, float[b, a] turned) "
    "{ total = Add(x, z)  turned = Transpose(x) }"
)
DOUBLE = parser.parse_graph("body (float[a, b] x) => (float[a, b] y) { y = Add(x, x) }")

CASES = [
    Case("SequenceConstruct", [uniform("N", 3), uniform(2), uniform("N", 1)], version=11),
    Case("SequenceConstruct", [integers("N", 3, low=0, high=5)], version=11, note="integers"),
    Case("SequenceEmpty", [], version=11),
    Case("SequenceEmpty", [], {"dtype": TensorProto.INT64}, version=11, note="integers"),
    Case("SequenceInsert", [ROWS, uniform(2, "N")], version=11, note="at the end"),
    Case("SequenceInsert", [ROWS, uniform(2, "N"), constant(1)], version=11, note="in between"),
    Case("SequenceInsert", [ROWS, uniform(2, "N"), constant(-1)], version=11, note="from the back"),
    Case("SequenceInsert", [sequence(), uniform(2, "N"), constant(0)], version=11, note="into nothing"),
    Case("SequenceErase", [ROWS], version=11, note="the last"),
    Case("SequenceErase", [ROWS, constant(0)], version=11, note="the first"),
    Case("SequenceErase", [ROWS, constant(-2, "int32")], version=11, note="from the back"),
    Case("SequenceAt", [ROWS, constant(1)], version=11),
    Case("SequenceAt", [ROWS, constant(-3, "int32")], version=11, note="from the back"),
    Case("SequenceLength", [ROWS], version=11),
    Case("SequenceLength", [sequence()], version=11, note="of nothing"),
    Case("SplitToSequence", [uniform(3, "N")], version=11, note="slices"),
    Case("SplitToSequence", [uniform("N", 3)], {"axis": -1, "keepdims": 0}, version=11, note="without the axis"),
    Case("SplitToSequence", [uniform("N", 5), constant(2)], {"axis": 1}, version=11, note="a remainder"),
    Case(
        "SplitToSequence",
        [uniform("N", 6), constant(2, "int32")],
        {"axis": 1, "keepdims": 0},
        version=24,
        note="one size",
    ),
    Case("SplitToSequence", [uniform("N", 5), constant([1, 0, 4])], {"axis": -1}, version=11, note="sizes"),
    Case("SplitToSequence", [uniform("N", 0), constant([0, 0])], {"axis": 1}, version=11, note="nothing"),
    Case("ConcatFromSequence", [ROWS], {"axis": 1}, version=11),
    Case("ConcatFromSequence", [ROWS], {"axis": -1}, version=11, note="from the back"),
    Case("ConcatFromSequence", [SQUARES], {"axis": 1, "new_axis": 1}, version=11, note="new axis"),
    Case("ConcatFromSequence", [SQUARES], {"axis": -1, "new_axis": 1}, version=11, note="new last axis"),
    Case("SequenceMap", [ROWS], {"body": DOUBLE}, version=17),
    Case("SequenceMap", [sequence()], {"body": DOUBLE}, version=17, note="over nothing"),
    Case("SequenceMap", [SQUARES, uniform("N", 3)], {"body": BODY}, version=17, outputs=2, note="a tensor goes along"),
    Case("SequenceMap", [SQUARES, SQUARES], {"body": BODY}, version=17, outputs=2, note="a sequence goes along"),
]
