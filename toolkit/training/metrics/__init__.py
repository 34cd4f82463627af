"""Metrics: figures beside the loss, given to ``fit`` and ``evaluate`` as ``metrics={"name": metric}``."""

from toolkit.training.metrics.metric import AnyMetric, MeanMetric, Metric, accuracy, mean_absolute_error

__all__ = ["AnyMetric", "MeanMetric", "Metric", "accuracy", "mean_absolute_error"]
