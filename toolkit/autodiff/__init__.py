"""Reverse-mode differentiation of programs, and the checking of gradients."""

from toolkit.autodiff.gradients import differentiate

__all__ = ["differentiate"]
