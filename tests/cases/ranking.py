"""Cases of ``toolkit.operators.standard.ranking``."""

from tests.support.case import Case, constant, integers, spread

CASES = [
    Case("ArgMax", [spread("N", 3, 4)], {"axis": 1}, version=11),
    Case("ArgMax", [integers("N", 9, low=0, high=3, dtype="int32")], {"axis": -1, "keepdims": 0}, note="ties"),
    Case("ArgMax", [integers("N", 9, low=0, high=3, dtype="int32")], {"axis": 1, "select_last_index": 1}, note="last"),
    Case("ArgMin", [spread("N", 3, 4)], version=13),
    Case("ArgMin", [integers("N", 9, low=0, high=3, dtype="int32")], {"axis": 1, "select_last_index": 1}, note="last"),
    Case("TopK", [spread("N", 6)], {"k": 2}, version=9, outputs=2),
    Case("TopK", [spread("N", 6, 2), constant([3])], {"axis": 1}, version=10, outputs=2),
    Case("TopK", [spread("N", 6), constant([2])], {"largest": 0}, version=11, outputs=2, note="smallest"),
    Case("TopK", [spread("N", 6), constant([0])], version=11, outputs=2, differentiable=[], note="nothing"),
    Case(
        "TopK",
        [spread("N", 6, dtype="bfloat16"), constant([4])],
        version=24,
        outputs=2,
        judge="onnx.reference",
        note="bfloat16",
    ),
    Case("ArgMax", [spread("N", 3, 4)], version=1, note="first axis"),
    Case(
        "ArgMin", [integers("N", 9, low=0, high=3, dtype="int32")], {"axis": -1, "keepdims": 0}, version=12, note="ties"
    ),
    Case("TopK", [integers("N", 9, low=0, high=4), constant([5])], version=11, outputs=2, note="ties"),
]
