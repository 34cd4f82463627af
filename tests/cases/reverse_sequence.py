"""Cases of ``toolkit.operators.standard.reverse_sequence``."""

from tests.support.case import Case, constant, integers, uniform

CASES = [
    Case("ReverseSequence", [uniform(4, "N", 2), integers("N", low=0, high=5)], version=10),
    Case(
        "ReverseSequence",
        [uniform("N", 4), constant(lambda n: [4, 1, 2][:n])],
        {"batch_axis": 0, "time_axis": 1},
        version=10,
        note="batch first",
    ),
]
