"""The reception of batches: what a user hands in becomes what a compiled step takes, and what does not fit is refused.

A batch of the same arrays as the last one, by name, element type and shape, passes without being looked at again; its
labels are checked every time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.compiler.bind import bind
from toolkit.errors import DataDependentShapeError
from toolkit.graph.network import Network
from toolkit.operators.record import TensorType
from toolkit.runtime.door import Door
from toolkit.runtime.feeds import arrayed, sizes
from toolkit.runtime.training_program import Labels
from toolkit.training.data import feeds_of
from toolkit.training.losses import Loss
from toolkit.training.prediction import indices_of_names

Arrays = dict[str, np.ndarray]
Types = dict[str, TensorType]


class Reception:
    """Receives batches for the outputs ``judged`` of a network by a loss."""

    def __init__(self, network: Network, loss: Loss, judged: Sequence[str]) -> None:
        self._network, self._loss, self._judged = network, loss, judged
        self._types: dict[str, Types] = {}
        self._door: Door[Types] = Door()

    def received(self, x: Any, labels: Any) -> tuple[Arrays, Labels]:
        """Feeds by input name, and labels as the loss wants them. Raises ``InputError`` for what does not fit."""
        if labels.__class__ is not np.ndarray and hasattr(labels, "__dlpack__"):
            labels = arrayed(labels)
        x, labels = self._loss.feeds(x, labels, list(self._network.inputs))
        if labels.__class__ is not np.ndarray or labels.dtype.kind in "UO":
            labels = indices_of_names(self._network, labels, self._judged)
        types, feeds = self._door.passed(x, self._network.revision) or self._looked_at(x)
        return feeds, self._loss.accepted(labels, types, feeds)

    def _looked_at(self, x: Any) -> tuple[Types, Arrays]:
        feeds = feeds_of(self._network, x)
        batch, dims = sizes(self._network, feeds)
        key = repr((self._network.revision, batch, dims))
        self._door.close()
        if key not in self._types:
            try:
                outputs = bind(self._network, batch, dims, outputs=self._judged).outputs
            except DataDependentShapeError:  # this batch tells, another of its size may tell something else
                given = self._network.run(feeds, outputs=self._judged)
                return {name: (given[name].dtype, given[name].shape) for name in self._judged}, feeds
            self._types[key] = {name: (outputs[name].dtype, outputs[name].shape) for name in self._judged}
        self._door.open(self._network, feeds, self._types[key], self._network.revision)
        return self._types[key], feeds
