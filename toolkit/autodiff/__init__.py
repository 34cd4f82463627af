"""Reverse-mode differentiation of programs, and the checking of gradients."""

from toolkit.autodiff.gradient_operator import expand_gradients
from toolkit.autodiff.gradients import differentiate
from toolkit.autodiff.rematerialisation import Rematerialise, rematerialise, require_rematerialise
from toolkit.autodiff.stops import Gradients, Shortfall, Stop, told

__all__ = [
    "Gradients",
    "Rematerialise",
    "Shortfall",
    "Stop",
    "differentiate",
    "expand_gradients",
    "rematerialise",
    "require_rematerialise",
    "told",
]
