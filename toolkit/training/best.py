"""The best weights of a run so far: a copy of every parameter that training may change."""

from __future__ import annotations

import math

import numpy as np

from toolkit.errors import TrainingError
from toolkit.graph.network import Network

LARGER_IS_BETTER = ("accuracy",)


class BestWeights:
    """Remembers the parameters of ``network`` from the epoch with the best figure.

    ``monitor`` names the figure; accuracies should be large, everything else small. Of equal figures the one with the
    smaller loss is better.
    """

    def __init__(self, network: Network, monitor: str) -> None:
        self.network = network
        self.monitor = monitor
        self.epoch: int | None = None
        self._rank = (math.nan, math.nan)
        self._arrays: dict[str, np.ndarray] = {}

    def offer(self, epoch: int, figures: dict[str, float]) -> None:
        """Keep the present weights if ``figures`` are the best so far.

        Raises ``TrainingError`` when the monitored figure is not among them.
        """
        if self.monitor not in figures:
            raise TrainingError(
                f"monitor must be one of the figures {list(figures)}, got {self.monitor!r}. Pass monitor='loss'."
            )
        figure = figures[self.monitor]
        rank = (-figure if self.monitor in LARGER_IS_BETTER else figure, figures.get("loss", 0.0))
        if self.epoch is not None and not (rank < self._rank or math.isnan(self._rank[0])):
            return
        self.epoch, self._rank = epoch, rank
        # A parameter's array is never written in place, so holding on to it is a copy of the weights.
        self._arrays = {
            name: item.array for name, item in self.network.parameters.items() if item.array.dtype.kind != "O"
        }

    def restore(self) -> None:
        """Give the network the best weights; what did not change since is left alone."""
        for name, array in self._arrays.items():
            parameter = self.network.parameters[name]
            if parameter.array is not array:
                parameter.assign(array)
