"""The area under the curve of true beside false alarms: how well scores order what is and what is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.errors import InputError
from toolkit.training.metrics.classification import by_item
from toolkit.training.metrics.window import Rows

AVERAGES = ("macro", "weighted", None)


class RocAuc:
    """The chance that an item of a class scores higher than one that is not; a tie counts one half.

    Output (batch,) or (batch, 1): the score of a yes, beside labels 0 and 1. Output (batch, ..., classes, ...) with
    classes on ``axis`` beside class indices: two classes are judged by the score of class 1, more of them one against
    the rest.

    - ``average``: over classes ``"macro"`` (each counts alike), ``"weighted"`` (by how often it occurs), or ``None``
      for each class by its number, or its name among ``names``. Classes that are absent, or alone, have no curve: they
      are left out, or NaN by name.
    - ``window``: judge the last so many items only, ``None`` for all, which keeps all scores
    """

    def __init__(
        self,
        average: str | None = "macro",
        names: Sequence[str] | None = None,
        *,
        axis: int = 1,
        ignore_index: int | None = None,
        window: int | None = None,
    ) -> None:
        if average not in AVERAGES:
            raise InputError(f"RocAuc: average requires one of {AVERAGES}, got {average!r}. Pass one of them.")
        self.average, self.names, self.axis, self.ignore_index = average, names, axis, ignore_index
        self._rows = Rows(window)

    def start(self) -> None:
        """Forget everything."""
        self._rows.clear()

    def update(self, output: np.ndarray, labels: np.ndarray) -> None:
        """Take in a batch."""
        if output.ndim < 2 or output.shape[self.axis] == 1:
            flat = labels.reshape(-1).astype(np.float64)
            real = ~np.isnan(flat) & (flat >= 0)
            if flat.size != output.size:
                raise InputError(
                    f"RocAuc requires a label for each score, got {output.shape} and {labels.shape}. "
                    "Pass labels of the shape of the output."
                )
            scores, actual = output.reshape(-1, 1)[real], flat[real] > 0.5
        else:
            scores, actual = by_item(output, labels, self.axis, self.ignore_index)
        self._rows.append(np.column_stack([scores.astype(np.float64), actual]))

    def result(self) -> Any:
        rows = self._rows.joined()
        if not len(rows):
            return float("nan")
        scores, actual = rows[:, :-1], rows[:, -1].astype(np.int64)
        if scores.shape[1] <= 2:
            return area_under_curve(scores[:, -1], actual == 1)
        areas = np.array([area_under_curve(column, actual == number) for number, column in enumerate(scores.T)])
        if self.average is None:
            titles = self.names or [str(number) for number in range(len(areas))]
            return dict(zip(titles, areas.tolist(), strict=True))
        weights = np.ones(len(areas)) if self.average == "macro" else np.bincount(actual, minlength=len(areas))
        known = ~np.isnan(areas)
        return float(np.average(areas[known], weights=weights[known])) if known.any() else float("nan")


def area_under_curve(scores: np.ndarray, is_yes: np.ndarray) -> float:
    """By ranks (Mann and Whitney, 1947), equal scores sharing theirs; NaN unless both answers occur."""
    yes = int(np.count_nonzero(is_yes))
    no = len(is_yes) - yes
    if not yes or not no:
        return float("nan")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return float((ranks[place][is_yes].sum() - yes * (yes + 1) / 2) / (yes * no))
