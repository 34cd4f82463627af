"""``OnnxClassifier``: a network as a classifier of scikit-learn."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from toolkit.errors import InputError
from toolkit.estimators.estimator import Estimator
from toolkit.estimators.model import outputs, shaped
from toolkit.training.losses import Loss, SoftmaxCrossEntropy


class OnnxClassifier(ClassifierMixin, Estimator):  # type: ignore[misc]  # scikit-learn has no types
    """Fine-tunes a copy of an ONNX model, or trains a perceptron, on X (items, features) and labels of any kind.

    - ``model``: a path, a file as bytes, a ``Network``, a function (features, classes) -> Network, or ``None`` for
      a perceptron with ``hidden`` widths that standardises X. Another number of classes replaces
      the last layer
    - ``loss``, ``optimizer``: of ``tk.losses`` and ``tk.optimizers``; by default cross-entropy, and Adam with
      ``learning_rate``
    - ``class_weight``: ``"balanced"`` or {label: weight}: items are drawn in that proportion
    - ``output``: which output gives scores or probabilities, where the model has several of real numbers
    - ``threads``: processors to use; by default one for a perceptron, all for other models
    - ``random_state`` decides fresh weights, order and dropout

    After ``fit``: ``network_``, which ``exporters.save`` writes, ``classes_`` in the order of its outputs, and
    ``history_``. Raises ``InputError`` (a ``ValueError``) for data and models that do not fit.
    """

    def __init__(
        self,
        model: Any = None,
        *,
        hidden: Any = (64,),
        loss: Any = None,
        optimizer: Any = None,
        learning_rate: float = 1e-2,
        epochs: int = 50,
        batch_size: int = 32,
        class_weight: Any = None,
        output: str | None = None,
        backend: Any = "cpu",
        threads: int | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            model,
            hidden=hidden,
            loss=loss,
            optimizer=optimizer,
            learning_rate=learning_rate,
            epochs=epochs,
            batch_size=batch_size,
            output=output,
            backend=backend,
            threads=threads,
            random_state=random_state,
            verbose=verbose,
        )
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any) -> Self:
        """Train a fresh copy of the model for ``epochs`` passes."""
        X, y = self._checked(X, y, reset=True)
        self.classes_ = np.unique(y)
        features = self._start(X, len(self.classes_))
        return self._train(features, self._indices(y), self.epochs, self._weights(y))._finish()

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """One pass that goes on from where the estimator is; ``classes`` lists all labels, needed in the first call."""
        first = not hasattr(self, "network_")
        X, y = self._checked(X, y, reset=first)
        if first:
            if classes is None:
                raise InputError("partial_fit needs classes=, all labels there will be, in the first call.")
            self.classes_ = np.unique(classes)
        features = self._start(X, len(self.classes_)) if first else shaped(self.network_, X)
        return self._train(features, self._indices(y), 1, self._weights(y))

    def _checked(self, X: Any, y: Any, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        X, y = self._validated(X, y, reset=reset)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        return X, y

    def _indices(self, y: np.ndarray) -> np.ndarray:
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise InputError(
                f"y holds {unknown[:5].tolist()}, which is not among the classes {self.classes_.tolist()}."
            )
        return np.searchsorted(self.classes_, y)

    def _weights(self, y: np.ndarray) -> np.ndarray | None:
        if self.class_weight is None:
            return None
        present = np.unique(y)
        weights = compute_class_weight(self.class_weight, classes=present, y=y)
        return weights[np.searchsorted(present, y)]

    def _prepare(self, features: np.ndarray) -> None:
        """Find out whether the model gives probabilities: none is negative and they sum to 1, as scores never do."""
        given = outputs(self.network_, features[: self.batch_size], self.output_, self.batch_size, self._runtime)
        is_row = given.ndim == 2 and given.shape[1] > 1
        self._gives_probabilities = bool(
            is_row and (given >= 0).all() and np.allclose(given.sum(1, dtype=np.float64), 1, atol=1e-4)
        )

    def _loss(self) -> Loss:
        return SoftmaxCrossEntropy(output=self.output_, probabilities=self._gives_probabilities)

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of every class, (items, classes), float64, in the order of ``classes_``."""
        scores = self._outputs(X)
        if not self._gives_probabilities:
            scores = np.exp(scores - scores.max(1, keepdims=True))
        return scores / scores.sum(1, keepdims=True)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """The logarithm of ``predict_proba``."""
        return np.log(self.predict_proba(X))

    def predict(self, X: Any) -> np.ndarray:
        """The most likely label of every item."""
        best = self._outputs(X).argmax(1)
        return self.classes_[best]
