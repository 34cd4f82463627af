"""Cases of ``toolkit.operators.standard.temporal_classification``, judged by the sum over all paths."""

from __future__ import annotations

from itertools import groupby, product
from typing import Any

import numpy as np

from tests.cases.loss import log_probabilities
from tests.support.case import Case, Given, uniform
from tests.support.numeric import numeric_gradients

STEPS, CLASSES, LONGEST = 4, 3, 2


def spelt(targets: list[list[int]]) -> Given:
    """A target for each item, in turn."""
    return Given(lambda _, batch: np.array([targets[item % len(targets)] for item in range(batch)], np.int64))


def lengths(*numbers: int) -> Given:
    """A length for each item, in turn."""
    return Given(lambda _, batch: np.array([numbers[item % len(numbers)] for item in range(batch)], np.int64))


def merged(path: tuple[int, ...], blank: int) -> list[int]:
    return [symbol for symbol, _ in groupby(path) if symbol != blank]


def brute(scores: Any, targets: Any, steps: Any, symbols: Any, blank: int = 0, zero_infinity: int = 0) -> Any:
    """Every path that becomes the target."""
    found = []
    for row, target, step, count in zip(scores, targets, steps, symbols, strict=True):
        wanted = target[:count].tolist() if count <= len(target) else None
        paths = [path for path in product(range(row.shape[1]), repeat=int(step)) if merged(path, blank) == wanted]
        chance = sum(np.exp(sum(row[time, symbol] for time, symbol in enumerate(path))) for path in paths)
        found.append(-np.log(chance) if paths else 0.0 if zero_infinity else np.inf)
    return np.array(found, scores.dtype)


def brute_gradient(g: Any, scores: Any, *rest: Any, **attributes: Any) -> Any:
    """By differences, those without a path left out."""
    possible = np.isfinite(brute(scores, *rest, **attributes))
    return numeric_gradients(
        lambda x: np.where(possible, brute(x, *rest, **{**attributes, "zero_infinity": 1}), 0.0), [scores], g
    )[0]


def rows(note: str, targets: list[list[int]], steps: Given, symbols: Given, **attributes: int) -> list[Case]:
    inputs = [log_probabilities("N", STEPS, CLASSES), spelt(targets), steps, symbols]
    given: dict[str, Any] = {"version": 1, "domain": "toolkit", "note": note}
    return [
        Case("CTCLoss", inputs, attributes, judge=brute, **given),
        Case("CTCLossGradient", [uniform("N"), *inputs], attributes, tolerance=1e-4, judge=brute_gradient, **given),
    ]


CASES = [
    *rows("whole", [[1, 2], [2, 1]], lengths(4), lengths(2)),
    *rows("a repetition needs a blank", [[1, 1], [2, 2]], lengths(4, 3), lengths(2)),
    *rows("lengths", [[1, 2], [2, -1], [-1, -1]], lengths(3, 4, 2), lengths(2, 1, 0)),
    *rows("another blank", [[0, 1], [1, 0]], lengths(4, 3), lengths(2, 1), blank=2),
    *rows("impossible ones", [[1, 1], [1, 2]], lengths(2, 4, 0), lengths(2, 2, 1), zero_infinity=1),
]
