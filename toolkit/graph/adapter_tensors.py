"""What an adapter holds apart from any network: the form in which files carry it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

FIRST, SECOND, MAGNITUDE = "lora_A", "lora_B", "lora_magnitude_vector"


@dataclass(eq=False)
class AdapterTensors:
    """Matrices by layer, and what they are multiplied by.

    - ``kind``: ``lora`` or ``dora``
    - ``layers``: {path of a layer, or name of a module with dots: {``lora_A``: ..., ``lora_B``: ...,
      ``lora_magnitude_vector``: ...}}; products have A (in, rank) and B (rank, out), convolutions those of
      ``toolkit.training.adapters.branches``
    - ``modules``: the name of a layer as PyTorch would write it, by its path
    - the change of a weight is A B * ``alpha`` / ``rank``
    """

    kind: str
    rank: int
    alpha: float
    dropout: float = 0.0
    name: str = "default"
    layers: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    def inputs(self) -> Mapping[str, np.ndarray]:
        """The arrays by the names of the optional inputs of a model that exposes its adapters, the scale taken in."""
        found: dict[str, np.ndarray] = {}
        for path, matrices in self.layers.items():
            for name, array in matrices.items():
                scaled = array * array.dtype.type(self.scale) if name == SECOND else array
                found[f"{path.strip('/')}/{name}"] = np.ascontiguousarray(scaled)
        return found
