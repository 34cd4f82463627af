"""com.microsoft helpers of text generation and alignment: NGramRepeatBlock and DynamicTimeWarping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.composed import argument
from toolkit.operators.expression import Expression, emit, where
from toolkit.operators.microsoft.quantization import MICROSOFT
from toolkit.operators.record import Call, TensorType, data_dependent, not_differentiable, operator


def _block_repeats(tokens: np.ndarray, scores: np.ndarray, *, ngram_size: int) -> np.ndarray:
    """``scores`` with -inf for every token that would complete an n-gram that is there already."""
    if ngram_size < 1:
        raise ValueError(f"ngram_size must be positive, got {ngram_size}")
    y, length = scores.copy(), tokens.shape[1]
    if length < ngram_size:
        return y
    grams = np.lib.stride_tricks.sliding_window_view(tokens, ngram_size, axis=1)
    ending = tokens[:, length - ngram_size + 1 :]
    sample, place = np.nonzero((grams[:, :, :-1] == ending[:, None]).all(axis=-1))
    y[sample, grams[sample, place, -1]] = -np.inf
    return y


def _infer_scores(inputs: Sequence[TensorType | None], _: dict[str, Any], __: Any) -> list[TensorType]:
    scores = inputs[1]
    assert scores is not None
    return [scores]


def _scores_gradient(call: Call, g: Expression) -> list[Expression | None]:
    """What was not blocked passes."""
    scores = argument(call, 1)
    assert scores is not None
    same = emit("Equal", call.y, scores)
    return [None, where(same, g, 0.0)]


def _warp(costs: np.ndarray) -> np.ndarray:
    """The cheapest path (2, steps) from the first element to the last, by steps down, right, or both."""
    rows, columns = int(costs.shape[-2]), int(costs.shape[-1])
    matrix = costs.reshape(rows, columns)
    total = np.full((rows + 1, columns + 1), np.inf, dtype=np.float32)
    step = np.zeros((rows + 1, columns + 1), dtype=np.int8)
    total[0, 0] = 0.0
    for diagonal in range(2, rows + columns + 1):
        i = np.arange(max(1, diagonal - columns), min(rows, diagonal - 1) + 1)
        j = diagonal - i
        both, down, right = total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]
        is_both = (both < down) & (both < right)
        is_down = ~is_both & (down < both) & (down < right)
        step[i, j] = np.where(is_both, 0, np.where(is_down, 1, 2))
        total[i, j] = matrix[i - 1, j - 1] + np.where(is_both, both, np.where(is_down, down, right))
    step[0, :], step[:, 0] = 2, 1
    path = []
    at = [rows, columns]
    while at[0] > 0 or at[1] > 0:
        path.append((at[0] - 1, at[1] - 1))
        taken = step[at[0], at[1]]
        at[0] -= int(taken != 2)
        at[1] -= int(taken != 1)
    return np.asarray(path[::-1], dtype=np.int32).T.copy()


operator("NGramRepeatBlock", domain=MICROSOFT, reference=_block_repeats, gradient=_scores_gradient, infer=_infer_scores)
operator(
    "DynamicTimeWarping",
    domain=MICROSOFT,
    reference=_warp,
    gradient=not_differentiable("its result is positions"),
    infer=data_dependent("how long the cheapest path is"),
)
