"""Losses: what a training run makes small. ``Loss`` says what one is, and how to write one of your own."""

from toolkit.training.losses.cross_entropy import NegativeLogLikelihood, SoftmaxCrossEntropy
from toolkit.training.losses.loss import Loss, OutputLoss
from toolkit.training.losses.targets import L1, Huber, MeanSquaredError, TargetLoss

__all__ = [
    "L1",
    "Huber",
    "Loss",
    "MeanSquaredError",
    "NegativeLogLikelihood",
    "OutputLoss",
    "SoftmaxCrossEntropy",
    "TargetLoss",
]
