"""Cases of ``toolkit.operators.ml.encoders``."""

from functools import partial

import numpy as np

from tests.support.case import Case, integers, variable

Row = partial(Case, domain="ai.onnx.ml", version=1)

NAMES = ["ant", "bee", "cat"]
WORDS = variable(lambda batch: [["bee", "dog", "ant", "cat"]] * batch, "object")
NUMBERS = integers("N", 5, low=-1, high=5)
FLOATS = variable([[1.5, np.nan, -2.0, 0.0, 7.0]])
KEYS = {
    "strings": ("keys_strings", NAMES),
    "int64s": ("keys_int64s", [3, 1, 2]),
    "floats": ("keys_floats", [1.5, -2.0, 0.0]),
}
VALUES = {
    "strings": ("values_strings", ["x", "y", "z"]),
    "int64s": ("values_int64s", [30, 10, 20]),
    "floats": ("values_floats", [0.3, 0.1, 0.2]),
}
INPUTS = {"strings": WORDS, "int64s": NUMBERS, "floats": FLOATS}
DEFAULTS = {"strings": {"default_string": "?"}, "int64s": {"default_int64": -7}, "floats": {"default_float": 0.5}}


def encoder(
    version: int, keys: str, values: str, note: str = "", judge: str | None = None, **attributes: object
) -> object:
    given = dict([KEYS[keys], VALUES[values]])
    note = f"{keys} to {values} {note}".strip()
    return Row("LabelEncoder", [INPUTS[keys]], {**given, **attributes}, version=version, note=note, judge=judge)


def tensors(
    x: object, keys: np.ndarray, values: np.ndarray, default: np.ndarray | None = None, **more: object
) -> object:
    attributes = {"keys_tensor": keys, "values_tensor": values, "default_tensor": default}
    given = {name: value for name, value in attributes.items() if value is not None}
    return Row("LabelEncoder", [x], given, version=4, **more)


CASES = [
    Row("LabelEncoder", [WORDS], {"classes_strings": NAMES}, note="strings"),
    Row("LabelEncoder", [NUMBERS], {"classes_strings": NAMES, "default_string": "?"}, note="integers"),
    *(
        encoder(2, keys, values)
        for keys, values in (
            ("strings", "int64s"),
            ("strings", "floats"),
            ("int64s", "strings"),
            ("int64s", "floats"),
            ("floats", "strings"),
            ("floats", "int64s"),
        )
    ),
    *(encoder(4, keys, values, "default", **DEFAULTS[values]) for keys in KEYS for values in VALUES),
    encoder(4, "floats", "int64s", "missing", keys_floats=[1.5, np.nan, 0.0]),
    encoder(4, "strings", "int64s", "repeated", judge="onnx.reference", keys_strings=["bee", "ant", "bee"]),
    encoder(4, "int64s", "strings", "repeated", judge="onnx.reference", keys_int64s=[1, 2, 1]),
    tensors(
        variable([[1.0, 2.5, np.nan]], "float64"),
        np.array([2.5, 1.0, np.nan]),
        np.array([1.25, 2.25, 3.25]),
        np.array([0.5]),
        note="double tensors",
    ),
    tensors(
        WORDS,
        np.array(NAMES, dtype=object),
        np.array([5, 6, 7], np.int16),
        np.array([1], np.int16),
        note="strings to int16",
    ),
    tensors(
        integers("N", 4, low=0, high=4, dtype="int32"),
        np.array([1, 3], np.int32),
        np.array([0.5, 1.5]),
        judge=lambda x, **_: np.select([x == 1, x == 3], [0.5, 1.5], -0.0),
        note="int32 to double",
    ),
    Row("CategoryMapper", [WORDS], {"cats_strings": NAMES, "cats_int64s": [4, 2, 9]}, judge="onnxruntime"),
    Row(
        "CategoryMapper",
        [NUMBERS],
        {"cats_strings": NAMES, "cats_int64s": [4, 2, 9], "default_string": "?"},
        judge="onnxruntime",
        note="integers",
    ),
    Row("OneHotEncoder", [WORDS], {"cats_strings": NAMES}, note="strings"),
    Row("OneHotEncoder", [NUMBERS], {"cats_int64s": [4, 2, 9]}),
    Row("OneHotEncoder", [variable([1.7, -1.2, 9.0, 2.0])], {"cats_int64s": [2, -1, 1]}, note="cut floats"),
    Row("OneHotEncoder", [integers("N", 2, low=0, high=3)], {"cats_int64s": [0, 1, 2], "zeros": 0}, note="strict"),
]
