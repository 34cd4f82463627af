"""Reverse-mode differentiation of programs, and the checking of gradients."""

from toolkit.autodiff.gradient_operator import expand_gradients
from toolkit.autodiff.gradients import differentiate
from toolkit.autodiff.stops import Gradients, Shortfall, Stop, told

__all__ = ["Gradients", "Shortfall", "Stop", "differentiate", "expand_gradients", "told"]
