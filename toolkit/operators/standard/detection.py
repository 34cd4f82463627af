"""NonMaxSuppression: of boxes that overlap too much, only the one with the highest score."""

from __future__ import annotations

import numpy as np

from toolkit.operators.record import data_dependent, not_differentiable, operator


def _corners(boxes: np.ndarray, center_point_box: int) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper corners (boxes, 2) of boxes given as two opposite corners, or as center and size."""
    if center_point_box:
        half = boxes[:, 2:4] / 2
        return boxes[:, :2] - half, boxes[:, :2] + half
    return np.minimum(boxes[:, :2], boxes[:, 2:4]), np.maximum(boxes[:, :2], boxes[:, 2:4])


def _selected(low: np.ndarray, high: np.ndarray, candidates: np.ndarray, limit: int, threshold: float) -> list[int]:
    """The first of the candidates, the next that does not overlap it too much, and so on up to ``limit``."""
    area = (high - low).prod(axis=1)
    chosen: list[int] = []
    while candidates.size and len(chosen) < limit:
        best, candidates = int(candidates[0]), candidates[1:]
        chosen.append(best)
        common = np.minimum(high[best], high[candidates]) - np.maximum(low[best], low[candidates])
        shared = np.maximum(common, 0).prod(axis=1)
        union = area[best] + area[candidates] - shared
        has_size = (area[best] > 0) & (area[candidates] > 0) & (union > 0)
        overlap = np.where(has_size, shared / np.where(union > 0, union, 1), 0)
        candidates = candidates[(shared <= 0) | ~(overlap > threshold)]
    return chosen


def _scalar(content: np.ndarray | None) -> float | None:
    return None if content is None or content.size == 0 else content.reshape(-1)[0].item()


def non_max_suppression(
    boxes: np.ndarray,
    scores: np.ndarray,
    max_output_boxes_per_class: np.ndarray | None = None,
    iou_threshold: np.ndarray | None = None,
    score_threshold: np.ndarray | None = None,
    *,
    center_point_box: int = 0,
) -> np.ndarray:
    """Rows of (batch, class, box) for boxes (batch, boxes, 4) and scores (batch, classes, boxes)."""
    if boxes.ndim != 3 or boxes.shape[2] != 4 or scores.shape != (boxes.shape[0], *scores.shape[1:2], boxes.shape[1]):
        raise ValueError(
            f"boxes must be (batch, boxes, 4) and scores (batch, classes, boxes), got {boxes.shape} and {scores.shape}"
        )
    limit, threshold = int(_scalar(max_output_boxes_per_class) or 0), _scalar(iou_threshold) or 0.0
    if not 0 <= threshold <= 1:
        raise ValueError(f"iou_threshold must lie in [0, 1], got {threshold}")
    least = _scalar(score_threshold)
    rows = []
    for batch in range(boxes.shape[0]):
        low, high = _corners(boxes[batch], center_point_box)
        for number in range(scores.shape[1]):
            score = scores[batch, number]
            order = np.argsort(-score, kind="stable")
            candidates = order if least is None else order[score[order] > least]
            rows += [(batch, number, box) for box in _selected(low, high, candidates, limit, threshold)]
    return np.asarray(rows, np.int64).reshape(-1, 3)


operator(
    "NonMaxSuppression",
    since=10,
    reference=non_max_suppression,
    gradient=not_differentiable("its result is positions"),
    infer=data_dependent("how many boxes remain"),
)
