"""Pruning by magnitude: ``prune`` zeroes single weights and keeps them zero, ``prune_units`` takes whole units out.

``Gradual`` says how the share of zeros grows while a network is trained; ``sparsity`` reports what is zero.
"""

from toolkit.training.pruning.masks import Pruning, prune
from toolkit.training.pruning.report import Sparsity, sparsity
from toolkit.training.pruning.schedule import Gradual
from toolkit.training.pruning.units import prune_units

__all__ = ["Gradual", "Pruning", "Sparsity", "prune", "prune_units", "sparsity"]
