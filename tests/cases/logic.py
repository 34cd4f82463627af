"""Cases of ``toolkit.operators.standard.logic``."""

import numpy as np

from tests.support.case import Case, booleans, constant, integers, uniform, variable

STRANGE = [[1.0, float("nan"), float("inf"), -float("inf"), 0.0]]

CASES = [
    Case("Equal", [integers("N", 9, low=0, high=3), integers(9, low=0, high=3)], version=7),
    Case("Equal", [uniform("N", 3), variable([[0.5, 1.0, 1.5]])], version=13, note="floats"),
    Case("Greater", [uniform("N", 3), uniform(3)], version=9),
    Case("Less", [integers("N", 9, low=0, high=3), integers(9, low=0, high=3)], version=13),
    Case("GreaterOrEqual", [integers("N", 9, low=0, high=3), integers(9, low=0, high=3)], version=12),
    Case("LessOrEqual", [integers("N", 9, low=0, high=3), integers(9, low=0, high=3)], version=16),
    Case("And", [booleans("N", 7), booleans(7)]),
    Case("Or", [booleans("N", 7), booleans(7)]),
    Case("Xor", [booleans("N", 7), booleans(7)]),
    Case("Not", [booleans("N", 7)]),
    Case("IsNaN", [variable(STRANGE)]),
    Case("IsInf", [variable(STRANGE)]),
    Case("IsInf", [variable(STRANGE)], {"detect_negative": 0}, version=10, note="positive"),
    Case("BitShift", [integers("N", 5, low=0, high=99, dtype="uint8"), constant([1, 2, 3, 0, 1], "uint8")],
         {"direction": "LEFT"}, version=11),
    Case("BitShift", [integers("N", 5, low=0, high=99, dtype="uint32"), constant([1, 2, 3, 0, 1], "uint32")],
         {"direction": "RIGHT"}, note="right"),
    Case("BitShift", [variable([[-9, -1, 5, 100, -7]], "int8"), constant([1, 2, -3, 9, 100], "int8")],
         {"direction": "RIGHT"}, version=28, note="signed right",
         judge=lambda x, amount, direction: np.array([[-5, -1, 0, 0, -1]], np.int8)),
    Case("BitShift", [variable([[-9, 65, 5, 100, -7]], "int8"), constant([1, 1, -3, 9, 0], "int8")],
         {"direction": "LEFT"}, version=28, note="signed left",
         judge=lambda x, amount, direction: np.array([[-18, -126, 0, 0, -7]], np.int8)),
    Case("BitwiseAnd", [integers("N", 5, low=0, high=99), integers(5, low=0, high=99)]),
    Case("BitwiseOr", [integers("N", 5, low=0, high=99), integers(5, low=0, high=99)]),
    Case("BitwiseXor", [integers("N", 5, low=0, high=99), integers(5, low=0, high=99)]),
    Case("BitwiseNot", [integers("N", 5, low=-99, high=99, dtype="int32")]),
    Case("Where", [booleans("N", 4), uniform("N", 4), uniform(4)], version=9),
    Case("Where", [booleans("N", 1), uniform(4), uniform()], version=16, note="broadcast"),
]  # fmt: skip
