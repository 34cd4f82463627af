"""Reverse-mode differentiation of programs, and the checking of gradients."""

from toolkit.autodiff.gradient_operator import expand_gradients
from toolkit.autodiff.gradients import differentiate

__all__ = ["differentiate", "expand_gradients"]
