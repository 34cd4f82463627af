"""Labels of classifiers: int64 or string, whichever attribute the node has; and the shape rule of classifiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.operators.ml.rows import FLOAT
from toolkit.operators.record import TensorType

Strings = Sequence[str] | None
Integers = Sequence[int] | None


def labels_of(strings: Strings, integers: Integers) -> np.ndarray:
    """All labels in the order of the classes. Raises ``ValueError`` unless exactly one of the two is given."""
    if bool(strings) == bool(integers):
        raise ValueError("exactly one of the classlabels attributes must be given and not be empty")
    return np.array(strings, dtype=object) if strings else np.array(integers, dtype=np.int64)


def classified(rows: int, labels: np.ndarray, columns: int) -> list[TensorType]:
    """The types of a classifier's outputs: a label per row, ``columns`` scores per row."""
    return [(labels.dtype, (rows,)), (FLOAT, (rows, columns))]


def one_of(attributes: Mapping[str, Any], strings: str, integers: str) -> np.ndarray:
    """``labels_of`` the two attributes of those names."""
    return labels_of(attributes.get(strings), attributes.get(integers))
