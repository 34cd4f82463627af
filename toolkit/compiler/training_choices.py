"""What a training may choose about the forms of its layers, beside what is frozen."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from toolkit.compiler.passes.batch_statistics import FORMS
from toolkit.compiler.passes.straight_through import StraightThrough, straight_through
from toolkit.errors import InputError
from toolkit.graph.network import Network

Asked = bool | str | Collection[str] | None


@dataclass(frozen=True)
class TrainingChoices:
    """The rounding that passes gradients, and which statistics BatchNormalization uses: of all layers, and by path."""

    straight_through: StraightThrough | None = None
    batch_statistics: str | None = None
    layers: Mapping[str, str] = field(default_factory=dict)


def training_choices(network: Network, asked: Asked = None, batch_statistics: str | None = None) -> TrainingChoices:
    """The choices of a user, with those that the layers of ``network`` have of their own. Raises ``InputError``."""
    if batch_statistics not in (None, *FORMS):
        raise InputError(
            f"batch_statistics must be 'batch', 'running' or None (as the file has it), got {batch_statistics!r}."
        )
    layers = {leaf.path: leaf.statistics for leaf in network.graph.leaves if leaf.statistics}
    return TrainingChoices(straight_through(asked), batch_statistics, layers)
