"""Metrics: figures beside the loss, given to ``fit`` and ``evaluate`` as ``metrics={"name": metric}``."""

from toolkit.training.metrics.classification import F1, Accuracy, ConfusionMatrix, Precision, Recall, TopK
from toolkit.training.metrics.metric import (
    AnyMetric,
    MeanMetric,
    Metric,
    accuracy,
    binary_accuracy,
    mean_absolute_error,
)
from toolkit.training.metrics.ranking import RocAuc
from toolkit.training.metrics.regression import R2, MeanAbsoluteError, MeanSquaredError, RootMeanSquaredError

__all__ = [
    "F1",
    "R2",
    "Accuracy",
    "AnyMetric",
    "ConfusionMatrix",
    "MeanAbsoluteError",
    "MeanMetric",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "Recall",
    "RocAuc",
    "RootMeanSquaredError",
    "TopK",
    "accuracy",
    "binary_accuracy",
    "mean_absolute_error",
]
