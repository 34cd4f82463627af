"""``OnnxRegressor``: a network as a regressor of scikit-learn."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import column_or_1d

from toolkit.estimators.estimator import Estimator
from toolkit.estimators.model import outputs, shaped
from toolkit.training.losses import Loss, MeanSquaredError


class OnnxRegressor(RegressorMixin, Estimator):  # type: ignore[misc]  # scikit-learn has no types
    """Fine-tunes a copy of an ONNX model, or trains a perceptron, on X (items, features) and real targets.

    Targets are (items,) or (items, targets). The parameters are those of ``OnnxClassifier`` without ``class_weight``;
    the loss is the mean squared error by default. After ``fit``: ``network_``, which ``exporters.save`` writes, and
    ``history_``. A perceptron (``model=None``) standardises X and scales its outputs itself. Raises ``InputError`` (a
    ``ValueError``) for data and models that do not fit.
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Train a fresh copy of the model for ``epochs`` passes."""
        X, targets = self._checked(X, y, reset=True)
        features = self._start(X, targets.shape[1], targets)
        return self._train(features, self._as_output(targets), self.epochs)._finish()

    def partial_fit(self, X: Any, y: Any) -> Self:
        """One pass that goes on from where the estimator is."""
        first = not hasattr(self, "network_")
        X, targets = self._checked(X, y, reset=first)
        features = self._start(X, targets.shape[1], targets) if first else shaped(self.network_, X)
        return self._train(features, self._as_output(targets), 1)

    def _checked(self, X: Any, y: Any, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        X, y = self._validated(X, y, reset=reset, multi_output=True, y_numeric=True)
        self._is_flat = y.ndim == 1 or y.shape[1] == 1
        y = column_or_1d(y, warn=True) if self._is_flat else y
        return X, y.reshape(len(y), -1)

    def _prepare(self, features: np.ndarray) -> None:
        """Note how the model shapes what it gives for an item: a number, or a row."""
        self._unit_shape = outputs(self.network_, features[:1], self.output_, 1, self._runtime).shape[1:]

    def _as_output(self, targets: np.ndarray) -> np.ndarray:
        return targets.reshape(len(targets), *self._unit_shape)

    def _loss(self) -> Loss:
        return MeanSquaredError(output=self.output_)

    def predict(self, X: Any) -> np.ndarray:
        """The prediction for every item as float64, (items,) or (items, targets) as the targets were."""
        found = self._outputs(X)
        return found[:, 0] if self._is_flat else found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
