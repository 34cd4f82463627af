"""Gradual unfreezing (Howard & Ruder 2018): the last layers learn first, and those before them join later.

Layers that have learnt much from other data are spared the wild gradients that a fresh head begins with.
"""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.errors import GraphError, TrainingError
from toolkit.graph.network import Network
from toolkit.graph.selection import Selection

Stage = str | int | Sequence[str]


class GradualUnfreezing:
    """What learns from which epoch on; hand it to ``Trainer.fit(unfreezing=...)``.

    ``stages`` are patterns, lists of patterns, or numbers: the last so many layers with weights. The first learns from
    the first epoch on, each further one joins ``epochs`` epochs after the one before; what no stage names stays frozen,
    settings (``Parameter.role``) always do. It depends on the trainer's count of epochs alone, so a resumed run goes on
    where it was. Raises ``TrainingError`` for stages that are none.
    """

    def __init__(self, stages: Sequence[Stage], *, epochs: int = 1) -> None:
        if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 1:
            raise TrainingError(
                f"GradualUnfreezing requires a whole number of epochs of at least 1 a stage, got {epochs!r}."
            )
        if isinstance(stages, str) or not stages:
            raise TrainingError(f"GradualUnfreezing requires a list of stages, got {stages!r}. Write ['head', '*'].")
        self.stages, self.epochs = list(stages), epochs

    def stage(self, epoch: int) -> int:
        """How many stages learn in an epoch, counted from 1."""
        return min((epoch - 1) // self.epochs + 1, len(self.stages))

    def apply(self, network: Network, epoch: int) -> None:
        """Freeze and unfreeze for an epoch, counted from 1. Raises ``GraphError`` for a pattern that meets nothing."""
        chosen = [self._select(network, stage) for stage in self.stages]
        learning = {id(item) for selection in chosen[: self.stage(epoch)] for item in selection.unfreezable().values()}
        for item in network.parameters.values():
            item.requires_grad = id(item) in learning

    def _select(self, network: Network, stage: Stage) -> Selection:
        if isinstance(stage, int):
            return network.select("*").last(stage)
        patterns = [stage] if isinstance(stage, str) else list(stage)
        if not patterns:
            raise GraphError("A stage of GradualUnfreezing requires a pattern, got an empty list.")
        return network.select(*patterns)
