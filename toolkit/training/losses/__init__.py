"""Losses: what a training run makes small. ``Loss`` says what one is, and how to write one of your own."""

from toolkit.training.losses.binary import BinaryCrossEntropy
from toolkit.training.losses.combined import Combined
from toolkit.training.losses.cross_entropy import NegativeLogLikelihood, SoftmaxCrossEntropy
from toolkit.training.losses.ctc import CTC
from toolkit.training.losses.custom import Custom
from toolkit.training.losses.dice import Dice
from toolkit.training.losses.distillation import Distillation
from toolkit.training.losses.divergence import KLDivergence
from toolkit.training.losses.embedding import Cosine, Triplet
from toolkit.training.losses.focal import Focal
from toolkit.training.losses.hinge import Hinge
from toolkit.training.losses.loss import Loss, OutputLoss
from toolkit.training.losses.model_output import ModelOutput
from toolkit.training.losses.targets import L1, Huber, MeanSquaredError, TargetLoss

__all__ = [
    "CTC",
    "L1",
    "BinaryCrossEntropy",
    "Combined",
    "Cosine",
    "Custom",
    "Dice",
    "Distillation",
    "Focal",
    "Hinge",
    "Huber",
    "KLDivergence",
    "Loss",
    "MeanSquaredError",
    "ModelOutput",
    "NegativeLogLikelihood",
    "OutputLoss",
    "SoftmaxCrossEntropy",
    "TargetLoss",
    "Triplet",
]
