"""What the estimators share: training a copy of the model, and predictions that do not depend on each other."""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from toolkit.estimators.model import Runtime, judged_output, network_of, outputs, shaped, widened
from toolkit.graph import Network
from toolkit.training import Trainer
from toolkit.training.data import Batches
from toolkit.training.losses import Loss
from toolkit.training.optimizers import Adam


class Estimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """The common part; what is learnt, and how a target becomes labels, is the subclasses' own."""

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
        output: str | None = None,
        backend: Any = "cpu",
        threads: int | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.hidden = hidden
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.output = output
        self.backend = backend
        self.threads = threads
        self.random_state = random_state
        self.verbose = verbose

    network_: Network
    _trainer: Trainer | None

    def _validated(self, X: Any, y: Any = "no_validation", reset: bool = True, **options: Any) -> Any:
        return validate_data(self, X, y, reset=reset, allow_nd=self.model is not None, **options)

    @property
    def _runtime(self) -> Runtime:
        """Where the network runs. The products of a perceptron are so small that threads would wait for each other."""
        return {"backend": self.backend, "threads": 1 if self.threads is None and self.model is None else self.threads}

    def _start(self, X: np.ndarray, width: int, targets: np.ndarray | None = None) -> np.ndarray:
        """Make ``network_`` and its trainer; returns the features as the network takes them."""
        seed = int(check_random_state(self.random_state).randint(2**31))
        network = network_of(self.model, X, width, self.hidden, seed, targets)
        features = shaped(network, X)
        self.output_ = judged_output(network, self.output)
        self.network_ = widened(network, features, self.output_, width, seed, self._runtime)
        self._prepare(features)
        self._seed = seed
        self._trainer = self._new_trainer()
        return features

    def _prepare(self, features: np.ndarray) -> None:
        """Learn what the subclass needs to know of the network before training."""

    def _loss(self) -> Loss:
        raise NotImplementedError

    def _new_trainer(self) -> Trainer:
        optimizer = Adam(self.learning_rate) if self.optimizer is None else copy.deepcopy(self.optimizer)
        loss = self._loss() if self.loss is None else copy.deepcopy(self.loss)
        return Trainer(self.network_, loss=loss, optimizer=optimizer, seed=self._seed, **self._runtime)

    def _train(self, features: np.ndarray, labels: np.ndarray, epochs: int, weights: np.ndarray | None = None) -> Self:
        trainer = getattr(self, "_trainer", None) or self._new_trainer()
        data = Batches((features, labels), min(self.batch_size, len(labels)), weights=weights)
        self.history_ = trainer.fit(data, epochs, progress=bool(self.verbose), keep_best=False)
        self._trainer = trainer
        return self

    def _finish(self) -> Self:
        """Let go of what only training needs."""
        self._trainer = None
        return self

    def _outputs(self, X: Any) -> np.ndarray:
        """The learnt output for all items in float64, (items, width)."""
        check_is_fitted(self, "network_")
        features = shaped(self.network_, self._validated(X, reset=False))
        found = outputs(self.network_, features, self.output_, self.batch_size, self._runtime)
        return found.reshape(len(found), -1).astype(np.float64)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_trainer"}
