"""Cases of ``toolkit.operators.standard.selection``."""

from tests.support.case import Case, booleans, constant, integers, uniform, variable

STRINGS = variable(["b", "a", "b", "", "c", "a"], "object")
SLICES = variable(lambda batch: [[[1.0, 1], [0, 1], [2, 1], [0, 1]]] * batch)

CASES = [
    Case("Compress", [uniform("N", 4), constant([False, True, True, False])], {"axis": 1}, version=9),
    Case("Compress", [uniform("N", 4), constant([False, True])], {"axis": -1}, version=11, note="a short condition"),
    Case("Compress", [uniform("N", 2, 3), constant([False, True])], {"axis": 1}, version=11, note="middle axis"),
    Case("Compress", [uniform("N", 4), constant([True, False, True])], version=11, note="elements"),
    Case("Compress", [uniform("N", 4), constant([False] * 4)], {"axis": 1}, version=11, note="nothing"),
    Case("Compress", [uniform("N", 4), booleans(4)], {"axis": 1}, version=11, note="unknown", is_data_dependent=True),
    *(
        Case(
            "Unique", [integers("N", 6, low=0, high=5)], {"sorted": order}, version=11, outputs=4, note=f"order {order}"
        )
        for order in (0, 1)
    ),
    Case("Unique", [uniform("N", 3)], version=11, note="one output"),
    Case("Unique", [integers("N", 4, low=0, high=2)], {"axis": 0}, version=11, outputs=4, note="rows"),
    Case("Unique", [integers(2, 7, low=0, high=2)], {"axis": -1, "sorted": 0}, version=11, outputs=4, note="columns"),
    Case("Unique", [SLICES], {"axis": 1}, version=11, outputs=4, note="slices"),
    Case("Unique", [SLICES], {"axis": 1, "sorted": 0}, version=11, outputs=4, note="unsorted slices"),
    Case("Unique", [STRINGS], version=11, outputs=4, note="strings"),
    Case("Unique", [STRINGS], {"axis": 0, "sorted": 0}, version=11, outputs=4, note="unsorted strings"),
    Case(
        "Unique",
        [integers(8, low=0, high=3, dtype="bfloat16")],
        version=28,
        outputs=4,
        judge="onnx.reference",
        note="bfloat16",
    ),
]
