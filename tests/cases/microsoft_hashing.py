"""Cases of ``toolkit.operators.microsoft.hashing``."""

from __future__ import annotations

import numpy as np

from tests.support.case import Case, Given, integers, uniform, variable

WORDS = variable(np.asarray(["", "a", "ab", "abc", "abcd", "a longer key"], dtype=object))


def row(given: Given, note: str, **attributes: int) -> Case:
    return Case("MurmurHash3", [given], attributes, version=1, domain="com.microsoft", note=note)


CASES = [
    row(integers("N", 3, low=-100, high=100, dtype="int32"), "int32"),
    row(integers("N", 3, low=-100, high=100), "int64", positive=0, seed=7),
    row(uniform("N", 3), "float32"),
    row(uniform("N", 3, dtype="float64"), "float64", seed=42),
    row(WORDS, "strings"),
    row(WORDS, "strings, signed", positive=0, seed=3),
]
