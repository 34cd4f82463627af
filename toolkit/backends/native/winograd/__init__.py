"""Convolutions with windows of 3 x 3 by Winograd's minimal filtering.

``transforms`` is the arithmetic, ``tiles`` how a convolution is cut and what that costs, ``functions`` what kernels of
all shapes have in common, ``filters`` the layout of weights, ``convolution`` the kernel.
"""

from toolkit.backends.native.winograd.convolution import is_winograd

__all__ = ["is_winograd"]
