"""The best weights of a run so far: a copy of every parameter that training may change."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from toolkit.errors import TrainingError
from toolkit.graph.network import Network

MODES = (None, "min", "max")
FALLING = ("loss", "error", "mae", "mse", "rmse", "divergence", "distance", "perplexity")
PLACE = "best/"  # what precedes the names of its arrays in a checkpoint


def rises(figure: str) -> bool:
    """Whether a figure of this name is better the larger it is: all but losses, their terms, and errors."""
    name = figure.lower()
    return not (name.startswith("loss.") or name.endswith(FALLING))


def sign_of(option: str, monitor: str, mode: str | None) -> float:
    """What makes the figure ``monitor`` better the smaller it is: 1, or -1. ``mode`` is "min" or "max" where given."""
    if mode not in MODES:
        raise TrainingError(f"{option}: mode requires 'min' or 'max', got {mode!r}. Leave it out to go by the name.")
    return -1.0 if (rises(monitor) if mode is None else mode == "max") else 1.0


def monitored(option: str, monitor: str, figures: Mapping[str, float]) -> float:
    """The figure called ``monitor``. Raises ``TrainingError`` when it is not among them."""
    if monitor not in figures:
        raise TrainingError(
            f"{option}: monitor must be one of the figures {list(figures)}, got {monitor!r}. Pass monitor='loss'."
        )
    return figures[monitor]


class BestWeights:
    """Remembers the parameters of ``network`` from the epoch with the best figure.

    ``monitor`` names the figure; losses and errors should be small, everything else large, unless ``mode`` ("min",
    "max") says otherwise. Of equal figures the one with the smaller loss is better.
    """

    def __init__(self, network: Network, monitor: str, mode: str | None = None) -> None:
        self.network = network
        self.monitor = monitor
        self.epoch: int | None = None
        self._sign = sign_of("fit", monitor, mode)
        self._rank = (math.nan, math.nan)
        self._arrays: dict[str, np.ndarray] = {}

    def offer(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Keep the present weights if ``figures`` are the best so far.

        Raises ``TrainingError`` when the monitored figure is not among them.
        """
        rank = (self._sign * monitored("fit", self.monitor, figures), figures.get("loss", 0.0))
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

    # for a checkpoint ---------------------------------------------------------------------------------------------

    def state(self, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
        """What goes into a checkpoint; the weights are put into ``arrays``."""
        arrays |= {PLACE + name: array for name, array in self._arrays.items()}
        return {"epoch": self.epoch, "rank": list(self._rank)}

    def recall(self, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Take over what ``state`` gave."""
        self.epoch, self._rank = state["epoch"], (float(state["rank"][0]), float(state["rank"][1]))
        self._arrays = {name.removeprefix(PLACE): array for name, array in arrays.items() if name.startswith(PLACE)}
