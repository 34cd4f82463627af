"""Metrics are scikit-learn's, in any batches, over everything or over the last items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from sklearn import metrics as judge

import toolkit as tk
from tests.training.small import classifier, clusters
from toolkit.errors import InputError
from toolkit.training.metrics import Metric

M = tk.metrics
random = np.random.default_rng(3)
LABELS = random.integers(0, 4, 90)
SCORES = (random.standard_normal((90, 4)) + 1.2 * np.eye(4)[LABELS]).astype(np.float32).round(1)  # with ties
SHARES = np.exp(SCORES) / np.exp(SCORES).sum(1, keepdims=True)
YES = (random.random(90) < 0.4).astype(np.float32)
CHANCE = (0.5 * YES + 0.7 * random.random(90)).astype(np.float32).round(2)
TARGETS = (random.standard_normal((90, 3)) * [1, 5, 0.2] + 1000).astype(np.float32)
ANSWERS = (TARGETS + random.standard_normal((90, 3))).astype(np.float32)
TAKEN = SCORES.argmax(1)
NAMES = list("abcd")
GIVEN = {
    "classes": (SCORES, LABELS),
    "shares": (SHARES, LABELS),
    "chance": (CHANCE[:, None], YES[:, None]),
    "targets": (ANSWERS, TARGETS),
}


def by_average(function: Callable[..., Any], average: str | None) -> Callable[..., Any]:
    return lambda scores, labels: function(labels, scores.argmax(1), average=average, labels=range(4), zero_division=0)


def by_class(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda scores, labels: dict(zip(NAMES, by_average(function, None)(scores, labels), strict=True))


def top(k: int) -> Callable[..., Any]:
    def judged(scores: np.ndarray, labels: np.ndarray) -> float:
        first = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return float((first == labels[:, None]).any(1).mean())

    return judged


ROWS: dict[str, tuple[Callable[..., Any], str, Callable[..., Any]]] = {
    "accuracy": (M.Accuracy, "classes", lambda s, y: judge.accuracy_score(y, s.argmax(1))),
    "confusion": (M.ConfusionMatrix, "classes", lambda s, y: judge.accuracy_score(y, s.argmax(1))),
    "top 1": (lambda **o: M.TopK(1, **o), "classes", top(1)),
    "top 2": (lambda **o: M.TopK(2, **o), "classes", top(2)),
    "binary accuracy": (M.Accuracy, "chance", lambda s, y: judge.accuracy_score(y, s > 0.5)),
    "binary F1": (lambda **o: M.F1("binary", **o), "chance", lambda s, y: judge.f1_score(y, s > 0.5)),
    "AUC": (M.RocAuc, "chance", lambda s, y: judge.roc_auc_score(y, s)),
    "AUC of classes": (M.RocAuc, "shares", lambda s, y: judge.roc_auc_score(y, s, multi_class="ovr")),
    "AUC weighted": (
        lambda **o: M.RocAuc("weighted", **o),
        "shares",
        lambda s, y: judge.roc_auc_score(y, s, multi_class="ovr", average="weighted"),
    ),
    "MSE": (M.MeanSquaredError, "targets", lambda s, y: judge.mean_squared_error(y, s)),
    "RMSE": (M.RootMeanSquaredError, "targets", lambda s, y: judge.mean_squared_error(y, s) ** 0.5),
    "MAE": (M.MeanAbsoluteError, "targets", lambda s, y: judge.mean_absolute_error(y, s)),
    "R2": (M.R2, "targets", lambda s, y: judge.r2_score(y, s)),
    "R2 of each": (
        lambda **o: M.R2(per_output=True, **o),
        "targets",
        lambda s, y: {str(i): v for i, v in enumerate(judge.r2_score(y, s, multioutput="raw_values"))},
    ),
    **{
        f"{kind.__name__} {average}": (
            lambda kind=kind, average=average, **o: kind(average, NAMES, **o),
            "classes",
            by_class(function) if average is None else by_average(function, average),
        )
        for kind, function in (
            (M.Precision, judge.precision_score),
            (M.Recall, judge.recall_score),
            (M.F1, judge.f1_score),
        )
        for average in ("macro", "micro", "weighted", None)
    },
}


@pytest.mark.parametrize("window", [None, 40, 500], ids=["whole", "rolling", "rolling over more than there is"])
@pytest.mark.parametrize("name", ROWS)
def test_figures_are_those_of_scikit_learn_in_any_batches(name: str, window: int | None) -> None:
    make, given, formula = ROWS[name]
    metric = make(window=window)
    assert isinstance(metric, Metric)
    output, labels = GIVEN[given]
    for _ in range(2):  # started again, nothing is left
        metric.start()
        for rows in (slice(0, 50), slice(50, 51), slice(51, 90)):
            metric.update(output[rows], labels[rows])
    last = slice(-window if window is not None and window < 90 else None, None)
    expected = formula(output[last].astype(np.float64), labels[last])
    assert metric.result() == pytest.approx(expected, rel=1e-6)


def test_the_matrix_counts_and_is_printed():
    matrix = M.ConfusionMatrix(NAMES)
    matrix.update(SCORES, LABELS)
    np.testing.assert_array_equal(matrix.counts, judge.confusion_matrix(LABELS, TAKEN))
    expected = judge.precision_recall_fscore_support(LABELS, TAKEN)[:3]
    np.testing.assert_allclose(matrix.scores(), expected)
    for average in ("macro", "weighted", "micro"):
        assert matrix.precision(average) == pytest.approx(judge.precision_score(LABELS, TAKEN, average=average))
        assert matrix.recall(average) == pytest.approx(judge.recall_score(LABELS, TAKEN, average=average))
        assert matrix.f1(average) == pytest.approx(judge.f1_score(LABELS, TAKEN, average=average))
    np.testing.assert_allclose(matrix.f1(None), expected[2])
    text = str(matrix)
    assert "precision" in text and "recall" in text and f"{expected[0][2]:.4f}" in text
    assert all(str(count) in text for count in matrix.counts.reshape(-1))
    console = Console(width=200, record=True, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    console.print(matrix)
    assert console.export_text().count("\n") >= 4 + len(NAMES)


def test_missing_labels_and_other_axes():
    matrix = M.ConfusionMatrix(axis=-1, ignore_index=2)
    scores, labels = SCORES.reshape(9, 10, 4), np.where(np.arange(90) % 5 == 0, -1, LABELS).reshape(9, 10)
    matrix.update(scores, labels)
    assert matrix.counts.sum() == np.count_nonzero((labels >= 0) & (labels != 2))
    soft = M.Accuracy()
    soft.update(SCORES, np.eye(4, dtype=np.float32)[LABELS])
    assert soft.result() == pytest.approx((TAKEN == LABELS).mean())
    gaps = np.where(np.arange(270).reshape(90, 3) % 7 == 0, np.float32(np.nan), TARGETS)
    for kind, formula in ((M.MeanAbsoluteError, np.abs), (M.MeanSquaredError, np.square)):
        metric = kind()
        metric.update(ANSWERS, gaps)
        assert metric.result() == pytest.approx(np.nanmean(formula(ANSWERS.astype(np.float64) - gaps)))


def test_nothing_seen_is_no_number():
    for make, _, _ in ROWS.values():
        found = make().result()
        assert found == {} or np.isnan(found)
    area = M.RocAuc(None)
    area.update(SCORES[LABELS != 3], LABELS[LABELS != 3])
    assert np.isnan(area.result()["3"]) and area.result()["0"] > 0.5
    area.start()
    area.update(CHANCE, np.ones_like(CHANCE))
    assert np.isnan(area.result())


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (lambda: M.ConfusionMatrix(window=0), "window requires a whole number"),
        (lambda: M.TopK(0), "k requires a whole number"),
        (lambda: M.F1("median"), "average requires 'binary' or one of"),
        (lambda: M.RocAuc("micro"), "RocAuc: average requires one of"),
        (lambda: M.ConfusionMatrix().f1("all"), "average requires one of"),
        (lambda: M.Accuracy().update(SCORES, LABELS[:5]), "requires an output .* on axis 1"),
        (lambda: M.Accuracy().update(SCORES[:, :2], LABELS), "metric of 2 classes requires labels below 2"),
        (lambda: M.Accuracy().update(CHANCE, YES[:5]), "yes or no requires a label for each element"),
        (lambda: M.RocAuc().update(CHANCE, YES[:5]), "RocAuc requires a label for each score"),
        (lambda: M.R2().update(ANSWERS, TARGETS[:, :2]), "R2 requires targets of the shape of the output"),
    ],
)
def test_what_does_not_fit_is_named(what: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        what()


def test_trainers_use_them():
    x, labels = clusters(90)
    trainer = tk.Trainer(classifier(), loss=tk.losses.SoftmaxCrossEntropy(), optimizer=tk.optimizers.Adam(1e-2))
    matrix = M.ConfusionMatrix()
    chosen = {"matrix": matrix, "recall": M.Recall(None), "area": M.RocAuc(), "same": M.accuracy}
    history = trainer.fit(
        (x[:60], labels[:60]), 2, (x[60:], labels[60:]), batch_size=16, metrics=chosen, progress=False
    )
    assert matrix.counts.sum() == 30, "what was validated last is what the object holds"
    assert set(history.epochs[0].training) == {"loss", "matrix", "recall.0", "recall.1", "recall.2", "area", "same"}
    assert history["matrix"] == pytest.approx(history["same"])
    found = trainer.evaluate((x, labels), batch_size=32, metrics=chosen)
    taken = trainer.network.run(x)["y"].argmax(1)
    assert found["same"] == found["matrix"] == pytest.approx((taken == labels).mean())
    np.testing.assert_array_equal(matrix.counts, judge.confusion_matrix(labels, taken))
