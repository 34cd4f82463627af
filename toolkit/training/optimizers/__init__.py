"""Optimizers, and the transforms that they are chained from.

``chain(ClipByGlobalNorm(1.0), AdamW(1e-3), ExponentialAverage(0.999))`` puts transforms around an optimizer;
``Optimizer(1e-3, Momentum(0.9), MyTransform())`` makes one from parts, where a part of one's own is a ``Transform``.
"""

from toolkit.runtime.update_part import Part
from toolkit.training.optimizers.adam import Adam, AdamW, NAdam, RAdam, ScaleByAdam, ScaleByNAdam, ScaleByRAdam
from toolkit.training.optimizers.adaptive import (
    Adadelta,
    Adagrad,
    RMSprop,
    ScaleByDelta,
    ScaleByMeanSquare,
    ScaleBySumOfSquares,
)
from toolkit.training.optimizers.averaging import ExponentialAverage, StochasticAverage
from toolkit.training.optimizers.clipping import ClipByGlobalNorm, ClipByValue
from toolkit.training.optimizers.layerwise import LAMB, Adafactor, ScaleByFactors, ScaleByTrustRatio
from toolkit.training.optimizers.momentum import SGD, Lion, Momentum, SignOfMomentum
from toolkit.training.optimizers.numbers import Moment
from toolkit.training.optimizers.preview import OnnxAdagrad, OnnxAdam, OnnxMomentum
from toolkit.training.optimizers.transform import AddDecayedWeights, Descend, Optimizer, Transform, chain

__all__ = [
    "LAMB",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "AddDecayedWeights",
    "ClipByGlobalNorm",
    "ClipByValue",
    "Descend",
    "ExponentialAverage",
    "Lion",
    "Moment",
    "Momentum",
    "NAdam",
    "OnnxAdagrad",
    "OnnxAdam",
    "OnnxMomentum",
    "Optimizer",
    "Part",
    "RAdam",
    "RMSprop",
    "ScaleByAdam",
    "ScaleByDelta",
    "ScaleByFactors",
    "ScaleByMeanSquare",
    "ScaleByNAdam",
    "ScaleByRAdam",
    "ScaleBySumOfSquares",
    "ScaleByTrustRatio",
    "SignOfMomentum",
    "StochasticAverage",
    "Transform",
    "chain",
]
