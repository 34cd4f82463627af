"""Cases of ``toolkit.operators.ml.maps``."""

from functools import partial

import numpy as np

from tests.support.case import Case, plain, uniform

Row = partial(Case, domain="ai.onnx.ml", version=1, judge="onnxruntime")

WORDS = {"string_vocabulary": ["a", "b", "c", "a"]}
NUMBERS = {3: 1.75, 1: -2.5, 6: 4.0}

CASES = [
    Row("ZipMap", [uniform("N", 3)], {"classlabels_int64s": [5, 1, 9]}),
    Row("ZipMap", [uniform("N", 2)], {"classlabels_strings": ["no", "yes"]}, note="strings"),
    Row("ZipMap", [uniform(2)], {"classlabels_strings": ["no", "yes"]}, note="row"),
    Row("DictVectorizer", [plain({"b": 1.5, "a": -2.0})], WORDS),
    Row(
        "DictVectorizer",
        [plain({"b": 7, "z": 3})],
        WORDS,
        judge=lambda x, **_: np.array([[0, 7, 0, 0]]),
        note="to integers",
    ),
    Row(
        "DictVectorizer",
        [plain({4: "x"})],
        {"int64_vocabulary": [2, 4]},
        judge=lambda x, **_: np.array([["", "x"]], dtype=object),
        note="texts",
    ),
    Row("DictVectorizer", [plain({4: 0.5, 2: 0.25})], {"int64_vocabulary": [2, 9, 4]}, note="integer keys"),
    *(
        Row("CastMap", [plain(NUMBERS)], {"cast_to": kind, "map_form": form, "max_map": 5}, note=f"{kind} {form}")
        for kind in ("TO_FLOAT", "TO_INT64", "TO_STRING")
        for form in ("DENSE", "SPARSE")
    ),
    *(
        Row(
            "CastMap",
            [plain({3: "1.5", 1: "-2", 6: "40"})],
            {"cast_to": kind},
            judge=partial(lambda row, *_, **__: row, np.array([row], dtype)),
            note=f"texts {kind}",
        )
        for kind, row, dtype in (
            ("TO_FLOAT", [-2, 1.5, 40], "float32"),
            ("TO_INT64", [-2, 1, 40], "int64"),
            ("TO_STRING", ["-2", "1.5", "40"], "object"),
        )
    ),
]
