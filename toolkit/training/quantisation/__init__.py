"""Quantisation: networks that compute on grids of few bits, as DequantizeLinear and QuantizeLinear say it in files.

``quantise`` makes one of a float network and typical data, ``quantise_dynamically`` without data; ``prepare`` makes one
that is trained with its grids. Observers say how ranges are found.
"""

from toolkit.training.quantisation.aware import QuantisationAware, prepare
from toolkit.training.quantisation.calibration import Calibration, calibrate
from toolkit.training.quantisation.dynamic import quantise_dynamically
from toolkit.training.quantisation.observers import (
    Entropy,
    MeanSquaredError,
    MinMax,
    MovingAverage,
    Observer,
    Percentile,
)
from toolkit.training.quantisation.post_training import quantise

__all__ = [
    "Calibration",
    "Entropy",
    "MeanSquaredError",
    "MinMax",
    "MovingAverage",
    "Observer",
    "Percentile",
    "QuantisationAware",
    "calibrate",
    "prepare",
    "quantise",
    "quantise_dynamically",
]
