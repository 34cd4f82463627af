"""Cases of ``toolkit.operators.selection``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.case import Case, booleans, constant, integers, uniform, variable


def judge_unique(x: Any, *, axis: int | None = None, sorted: int = 1) -> Any:
    """By looking at every slice once."""
    slices = list(x.reshape(-1)) if axis is None else [np.take(x, i, axis=axis) for i in range(x.shape[axis])]
    keys = [tuple(np.ravel(item).tolist()) for item in slices]
    distinct = list(dict.fromkeys(keys))
    if sorted:
        distinct.sort()
    first = [keys.index(key) for key in distinct]
    values = np.array([slices[place] for place in first], x.dtype)
    values = values if axis is None else np.moveaxis(values, 0, axis)
    inverse, counts = [distinct.index(key) for key in keys], [keys.count(key) for key in distinct]
    return values, *(np.array(item, np.int64) for item in (first, inverse, counts))


def unique(*inputs: Any, version: int = 11, note: str, **attributes: Any) -> Case:
    """One row with all outputs."""
    return Case(
        "Unique",
        inputs,
        attributes,
        version=version,
        outputs=4,
        judge=judge_unique,
        note=note,
        is_data_dependent=True,
    )


NUMBERS = integers("N", 5, low=0, high=3)

CASES = [
    Case("Compress", [uniform("N", 4), constant([True, False, True, True])], {"axis": 1}, version=9),
    Case("Compress", [uniform("N", 4), constant([False, True])], {"axis": -1}, version=11, note="short"),
    Case("Compress", [uniform("N", 3), constant([False, True, True])], version=11, note="flat"),
    Case("Compress", [uniform("N", 3), constant([False, False])], {"axis": 1}, version=11, note="nothing"),
    Case("Compress", [uniform("N", 3, dtype="bfloat16"), constant([False, True])], {"axis": 1}, version=28,
         judge=lambda x, condition, axis: x[:, 1:2], note="bfloat16"),
    Case("Compress", [uniform("N", 4), booleans(4)], {"axis": 1}, note="data dependent", is_data_dependent=True,
         differentiable=()),
    unique(NUMBERS, note="sorted"),
    unique(NUMBERS, sorted=0, note="as they come"),
    unique(variable([[1, 0, 0], [2, 3, 4], [1, 0, 0]]), axis=0, note="rows"),
    unique(variable([[2.0, 1.0, 2.0, 0.5], [1.0, 1.0, 1.0, 7.0]]), axis=-1, sorted=0, note="columns as they come"),
    unique(variable([["b", "a", "b"]], "object"), version=28, note="text"),
]  # fmt: skip
