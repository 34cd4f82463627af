"""The best weights of a run so far: a copy of every parameter that training may change."""

from __future__ import annotations

import math

import numpy as np

from toolkit.errors import TrainingError
from toolkit.graph.network import Network

LARGER_IS_BETTER = ("accuracy",)


class BestWeights:
    """Remembers the parameters of ``network`` from the epoch with the best figure.

    ``monitor`` names the figure; accuracies should be large, everything else small.
    """

    def __init__(self, network: Network, monitor: str) -> None:
        self.network = network
        self.monitor = monitor
        self.epoch: int | None = None
        self._figure = math.nan
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
        if self.epoch is not None and not self._improves(figure):
            return
        self.epoch, self._figure = epoch, figure
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

    def _improves(self, figure: float) -> bool:
        if math.isnan(self._figure):
            return not math.isnan(figure)
        return figure > self._figure if self.monitor in LARGER_IS_BETTER else figure < self._figure
