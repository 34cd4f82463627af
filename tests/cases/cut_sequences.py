"""Cases of ``toolkit.operators.standard.cut_sequences``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.case import Case, uniform, variable


def sequence_by_sequence(y: Any, lengths: Any) -> tuple[np.ndarray, np.ndarray]:
    """Copies of what counts."""
    cut, last = np.zeros_like(y), np.zeros_like(y[0])
    for number, length in enumerate(lengths):
        cut[:length, number] = y[:length, number]
        if length:
            last[number] = y[length - 1, number]
    return cut, last


def row(note: str, *lengths: int, dtype: str = "int32") -> Case:
    """Sequences of four steps."""
    given = [uniform(4, "N", 3), variable(lambda batch: list(lengths[:batch]), dtype)]
    return Case(
        "CutSequences",
        given,
        version=1,
        domain="toolkit",
        outputs=2,
        judge=sequence_by_sequence,
        note=note,
    )


CASES = [row("shorter", 2, 4, 1), row("empty", 0, 3, 0), row("whole", 4, 4, 4, dtype="int64")]
